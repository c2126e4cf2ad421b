"""SEDD's claims on planted rows: where all is as the paper says each holds, and what it excludes makes it fail."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from common.harness.studies.claims import Claim, Judgement, judge
from common.harness.studies.experiment import PRESETS
from papers.sedd.paper import PAPER
from tests.papers.sedd.alternatives import alternatives
from tests.papers.sedd.planted import Tables, world

CLAIMS = {claim.id: claim for claim in PAPER.claims}
JUDGED = [(claim, preset) for claim in PAPER.claims for preset in PRESETS if preset in claim.presets]
IDS = [f"{claim.id}-{preset}" for claim, preset in JUDGED]


def _verdicts(judgement: Judgement) -> dict[str, str]:
    return {measured.quantity.name: measured.verdict for measured in judgement.measurements}


@pytest.mark.parametrize(("claim", "preset"), JUDGED, ids=IDS)
def test_a_claim_holds_where_all_is_as_the_paper_says(claim: Claim, preset: str) -> None:
    assert set(_verdicts(judge(claim, world(preset))).values()) == {"holds"}


@pytest.mark.parametrize(("claim", "preset"), JUDGED, ids=IDS)
def test_what_a_claim_excludes_makes_it_fail(claim: Claim, preset: str) -> None:
    """Each alternative alone; and no number of the claim is there for show: one of them is not met by each."""
    kept = {quantity.name for quantity in claim.quantities}
    for name, edit in alternatives(claim.id, preset).items():
        judgement = judge(claim, edit(world(preset)))
        assert judgement.verdict == "fails", f"it holds all the same: {name}"
        kept -= {quantity for quantity, verdict in _verdicts(judgement).items() if verdict != "holds"}
    assert not kept, "no alternative makes these fail"


@pytest.mark.parametrize(("claim", "preset"), JUDGED, ids=IDS)
def test_a_claim_reads_no_other_cell_than_it_says(claim: Claim, preset: str) -> None:
    """Every number that its quantities do not say they read is planted wrong, and nothing changes."""
    for quantity in claim.quantities:
        tables = world(preset)
        alone = replace(claim, quantities=(quantity,))
        before = judge(alone, tables).measurements[0].values
        after = judge(alone, _ruined(tables, quantity.experiment.name, quantity.measure)).measurements[0].values
        assert after == before


def _ruined(tables: Tables, experiment: str, measure) -> Tables:
    table = tables[experiment].copy()
    read = pd.Series(False, index=table.index)
    for pick in measure.picks:
        read |= np.logical_and.reduce([table[column] == value for column, value in pick.items()] or [read | True])
    for column in PAPER.experiments[experiment].columns:
        if column in table and pd.api.types.is_numeric_dtype(table[column]):
            table[column] = table[column].astype(float)
            table.loc[~read | (column not in measure.reads and column not in _picked(measure)), column] = -1e6
    return {experiment: table}


def _picked(measure) -> set[str]:
    return {column for pick in measure.picks for column in pick}


PUBLISHED = {
    # Lou et al. 2024, Table 1, bits per character on text8: the numbers themselves, and their ratios.
    "SEDD absorbing": 1.39,
    "SEDD uniform": 1.47,
    "D3PM absorbing": 1.45,
    "D3PM uniform": 1.61,
    "autoregressive": 1.23,
    # Abstract: "similar quality with 32× fewer network evaluations".
    "evaluations, autoregressive over SEDD": 32.0,
}
EXPECTED = {
    "D3PM absorbing over SEDD absorbing": 1.043,  # 1.45 / 1.39
    "D3PM uniform over SEDD uniform": 1.095,  # 1.61 / 1.47
    "SEDD absorbing over autoregressive": 1.13,  # 1.39 / 1.23
    "SEDD uniform over SEDD absorbing": 1.058,  # 1.47 / 1.39
    "largest |bound / entropy − 1|, enumerated": 0.0,
    "bound over entropy, absorbing, sampled": 1.0,
    "bound over entropy, uniform, sampled": 1.0,
    "relative difference of the losses": 0.0,
    "relative difference of the gradients": 0.0,
    "share of ratios not positive, score entropy": 0.0,
    "order in the step, absorbing": 1.0,
    "order in the step, uniform": 1.0,
    "largest |KL ratio − 1|, absorbing, loglinear noise": 0.0,
    "total variation at 128 steps, absorbing": 0.0,
    "total variation at 128 steps, uniform": 0.0,
    "total variation of draws over its floor, absorbing": 1.0,
    "drawn over derived at p = 0.5 h, float16": 1.0,
    "drawn over derived at p = 1 h, float16": 1.0,
    "drawn over right at p = h/2, float32": 0.313,  # 2/(e² − 1)
    "drawn over right at p = h of float16, float64": 1.0,
    "entropy lost over derived loss, float16, 192 steps": 1.0,
    "entropy over the law's, float64, 192 steps": 1.0,
}


def test_published_values_are_those_of_the_paper_and_no_others() -> None:
    quantities = [quantity for claim in PAPER.claims for quantity in claim.quantities]
    for name in ("published", "expected"):
        of_all = {q.name: getattr(q, name) for q in quantities if getattr(q, name) is not None}
        assert of_all == {"published": PUBLISHED, "expected": EXPECTED}[name]
    assert not [q.name for q in quantities if q.published is not None and q.expected is not None]


def test_fewer_evaluations_are_those_of_the_crossing() -> None:
    for language, preset, times in (("tinyshakespeare27", "small", 64 / 16), ("text8", "gpu", 256 / 16)):
        claim = CLAIMS[f"economy-{language}"]
        measured, _ = judge(claim, world(preset)).measurements
        assert list(measured.values.values()) == pytest.approx([times] * len(measured.values), rel=0.05)
        unreached, _ = judge(claim, alternatives(claim.id, preset)["never"](world(preset))).measurements
        assert "is not on a curve" in unreached.error


def test_headlines_are_those_of_the_abstract_and_come_first() -> None:
    """SEDD beats other diffusion, competes with autoregression, trades compute for quality, fills in anywhere."""
    headlines = {claim.id.split("-")[0] for claim in PAPER.claims if claim.headline}
    assert headlines == {"bits", "d3pm", "concrete", "economy", "steps", "infilling"}
    for study in PAPER.load().values():
        of_study = [claim.headline for claim in study.claims]
        assert of_study == sorted(of_study, reverse=True)
    first = [study for study in PAPER.load().values() if study.claims]
    has = [any(claim.headline for claim in study.claims) for study in first]
    assert has == sorted(has, reverse=True)


@pytest.mark.parametrize("claim", PAPER.claims, ids=lambda claim: claim.id)
def test_a_claim_says_all_that_a_reader_asks(claim: Claim) -> None:
    assert claim.statement.endswith(".")
    assert claim.source
    assert claim.excludes
    assert claim.deviation.endswith(".")
    for quantity in claim.quantities:
        assert quantity.criterion.reason
        assert quantity.metric
        for preset in claim.presets:
            assert quantity.experiment.presets[preset].seeds >= 3, "an interval over fewer seeds says nothing"


def test_a_tenth_more_on_a_headline_is_more_than_its_tolerance() -> None:
    """But for departures of entropy, which are chance: half a per cent, within a margin of two."""
    for claim in PAPER.claims:
        for quantity in claim.quantities:
            stated = (quantity.tolerance, quantity.experiment.tolerance)
            tolerance = next((each for each in stated if each is not None), 1e-4)
            chance = "departure" in quantity.name or "not positive" in quantity.name
            assert tolerance <= 0.08 or chance or not claim.headline, (claim.id, quantity.name)
            assert quantity.zero <= 0.1 * min(abs(quantity.criterion.lower), abs(quantity.criterion.upper), 1)


def test_experiments_have_names_of_their_own() -> None:
    assert len(PAPER.experiments) == sum(len(study.experiments) for study in PAPER.load().values())
