"""SEDD's experiments refuse what makes no sense, and what they have no data for, before anything runs."""

import re
from pathlib import Path

import pytest

from common.harness.cli.main import main
from common.harness.runs.plan import plan
from common.harness.studies.errors import UsageError
from papers.sedd.paper import PAPER
from papers.sedd.studies.languages import look_at


@pytest.mark.parametrize(
    ("experiment", "fields", "message"),
    [
        ("exact_bound", {"vocab": "1"}, "vocab is at least 2, not 1"),
        ("sampled_bound", {"errors": "0,-1"}, "errors is at least 0, not -1.0"),
        ("masked_identity", {"n": "0"}, "n is at least 1, not 0"),
        ("sampler_error", {"graph": "star"}, "graph is one of uniform, absorb, not 'star'"),
        ("sampler_error", {"noise": "cosine"}, "noise is one of loglinear, geometric, not 'cosine'"),
        ("quality", {"sampler": "heun"}, "sampler is one of euler, tweedie, not 'heun'"),
        ("infilling", {"steps": "8,0"}, "steps is at least 1, not 0"),
        ("long_infilling", {"length": "4"}, "length is at least 5, not 4"),
        ("race", {"dtype": "float8"}, "dtype is one of float16, bfloat16, float32, float64, not 'float8'"),
        ("race", {"p_over_h": "0"}, "p_over_h is (0.0,); it must be positive"),
        ("truncation", {"law": "0.5,0.4"}, "law is (0.5, 0.4); it must be positive with sum 1"),
        ("training", {"model": "gan"}, "model is one of ar, sedd-absorb, sedd-uniform"),
        ("training", {"language": "latin"}, "language is one of markov, tinyshakespeare, tinyshakespeare27, text8"),
        ("training", {"width": "7"}, "width 7 cannot be shared by 2 heads: it must be a multiple"),
        ("training", {"width": "6"}, "a head is 3 wide; rotary embedding needs an even width"),
        ("training", {"length": "1"}, "length is at least 2, not 1"),
        ("generation", {"top_p": "0"}, "top_p lies in (0, 1], not 0.0"),
        ("generation", {"model": "csm-absorb"}, "model is one of ar, sedd-absorb, sedd-uniform, not 'csm-absorb'"),
        ("sentence", {"shown": "1"}, "shown is at least 2, not 1"),
    ],
)
def test_a_field_that_makes_no_sense_is_bad_input(experiment: str, fields: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        plan(PAPER, "quick", only=[experiment], overrides=fields)


def test_missing_text_is_bad_input_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REPRO_OFFLINE", "1")
    monkeypatch.setenv("REPRO_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path / "runs"))
    look_at.cache_clear()
    assert main(["run", "sedd", "--preset", "small", "--only", "training", "--device", "cpu", "--offline"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "data" / "tinyshakespeare") in line
    assert list(tmp_path.iterdir()) == []
