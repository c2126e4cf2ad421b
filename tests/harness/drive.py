"""Launch the toy in a process of its own, for the tests that kill it: `python drive.py '{"workers": 2, ...}'`.

Prints what became of the runs as JSON on standard output; exits with 0, 1 where runs failed, 2 for bad input, 130 for
Ctrl-C.
"""

from __future__ import annotations

import json
import resource
import sys

from toy.paper import PAPERS

from common.harness.runs.launch import launch
from common.harness.runs.plan import plan
from common.harness.runs.store import Store
from common.harness.studies.errors import UsageError


def main() -> int:
    wish = json.loads(sys.argv[1])
    if limit := wish.get("file_size_limit"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    wishes = {name: wish[name] for name in ("only", "seeds", "overrides") if name in wish}
    papers = [PAPERS[name] for name in wish.get("papers", ["toy"])]
    specs = [spec for paper in papers for spec in plan(paper, wish.get("preset", "quick"), **wishes)]
    try:
        outcome = launch(
            specs, Store(), workers=wish.get("workers", 0), address=wish.get("address"), command="repro run toy"
        )
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    words = {
        "finished": [spec.address for spec in outcome.finished],
        "reused": [spec.address for spec in outcome.reused],
        "failed": {failure.spec.address: failure.message for failure in outcome.failed},
    }
    print(json.dumps(words))
    return 1 if outcome.failed else 0


if __name__ == "__main__":
    sys.exit(main())
