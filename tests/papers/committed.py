"""The rows of a committed report, as claims and figures see them: a control that a study has is judged by its claim."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from common.harness.reports.rejudge import tables_from
from common.harness.studies.experiment import Experiment
from common.harness.studies.paper import discover

REPORTS = Path(__file__).parents[2] / "reports"


def committed(slug: str, preset: str, experiment: Experiment) -> pd.DataFrame:
    return tables_from(REPORTS / slug / preset / "runs.csv", discover()[slug])[experiment.name]
