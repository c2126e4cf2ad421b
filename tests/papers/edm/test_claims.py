"""EDM's claims on tables made by hand, in every preset: the truth holds, and what a claim excludes fails."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from math import isfinite

import pandas as pd
import pytest

from common.harness.studies.claims import KINDS, Claim, judge
from common.harness.studies.experiment import PRESETS
from papers.edm import published
from papers.edm.paper import PAPER
from papers.edm.published import BASELINE_NFE
from papers.edm.studies.official import official_fid
from tests.papers.edm.tables import Plant, Row, table, wobble

CLAIMS = {claim.id: claim for claim in PAPER.claims}


@dataclass(frozen=True)
class Planted:
    """What makes a claim hold, the value that each of its quantities then has (seed 1), and what makes it fail."""

    true: Plant
    measured: tuple[float, ...]
    false: Mapping[str, Plant] = field(default_factory=dict)


def orders(euler: float, heun: float) -> Plant:
    order = {"euler": euler, "heun": heun}
    return lambda row, seed: {"error": 3 * row["n_steps"] ** (-order[row["solver"]] - 0.01 * (seed - 1))}


def speed(**times: float) -> Plant:
    """Heun's error falls as NFE^-2; each baseline has, at its published NFE, that of Heun at so many times fewer."""

    def plant(row: Row, seed: int) -> Mapping[str, float]:
        if row["sampler"] == "edm":
            return {"error": row["nfe"] ** -2.0}
        at_published = row["nfe"] == BASELINE_NFE[row["sampler"]]
        return {"error": (row["nfe"] / times[row["sampler"]] / wobble(seed)) ** -2.0} if at_published else {}

    return plant


def sweep(error: Mapping[float, float], fd: Mapping[float, float], elsewhere: float = 9.0) -> Plant:
    """By rho; `elsewhere` is fd_digits at any other rho. Seeds scale both."""
    return lambda row, seed: {
        **({"error": error[row["rho"]] * wobble(seed)} if row["rho"] in error else {}),
        "fd_digits": fd.get(row["rho"], elsewhere) * 2**seed * wobble(seed),
    }


def bends(vp: float, ve: float, edm80: float, edm5: float) -> Plant:
    """Curvature on digits by schedule; up to sigma 5 VP and VE have a tenth. The plane, and the cosine, are decoys."""

    def plant(row: Row, seed: int) -> Mapping[str, float]:
        values = {"vp": vp, "ve": ve, "edm": 10 * edm5} if row["sigma_max"] == 5 else {"vp": vp, "ve": ve, "edm": edm80}
        if row["field"] != "digits" or row["schedule"] == "cosine":
            return {}
        return {"curvature": values[row["schedule"]] / (10 if row["sigma_max"] == 5 else 1)}

    return plant


def unit(var_input: float = 1.002, var_target: float = 0.996, effective_weight: float = 1.001) -> Plant:
    """EDM's rows: 1 but for one noise level."""
    off = {"var_input": var_input, "var_target": var_target, "effective_weight": effective_weight}

    def plant(row: Row, seed: int) -> Mapping[str, float]:
        if row["precond"] != "edm":
            return {}
        return off if row["sigma"] == 10.0 else dict.fromkeys(off, 1.0)

    return plant


def fid(fd: Mapping[str, float], dataset: str = "") -> Plant:
    """By letter, on one data set if one is named. Seeds differ more than letters do: only pairing shows the order."""

    def plant(row: Row, seed: int) -> Mapping[str, float]:
        if dataset not in ("", row["dataset"]):
            return {}
        return {"fd": fd[row["letter"]] * 2**seed}

    return plant


def churned(letter: str, none: float, moderate: float, excessive: float) -> Plant:
    fd = {"none": none, "moderate": moderate, "excessive": excessive}
    return lambda row, seed: {"fd": fd[row["amount"]] * 2**seed * wobble(seed)} if row["letter"] == letter else {}


def exact(none: float = 0.3, moderate: float = 0.25, spread: float = 1.02) -> Plant:
    """The floor is 0.1 throughout; excessive churn is a decoy."""

    def plant(row: Row, seed: int) -> Mapping[str, float]:
        if row["denoiser"] != "exact" or row["amount"] == "excessive":
            return {"floor": 0.1}
        if row["amount"] == "none":
            return {"fd": none + 0.001 * (seed - 1), "floor": 0.1}
        return {"fd": moderate, "spread": spread + 0.001 * (seed - 1), "floor": 0.1}

    return plant


def networks(cond: float, uncond: float) -> Plant:
    return lambda row, seed: {"fid": (uncond if "uncond" in row["file"] else cond) + 0.001 * (seed - 1)}


# Table 2, unconditional: the order of the letters in the paper.
TABLE_2 = {"A": 3.01, "B": 2.51, "C": 2.31, "D": 2.29, "E": 2.05, "F": 1.97}
RHO = {1.0: 60.0, 3.0: 1.3, 7.0: 1.0}

PLANTED = {
    "heun-order": Planted(
        orders(1.0, 2.0),
        (1.0, 2.0, 1.0, 2.0),
        {"Euler for Heun": orders(1.0, 1.0), "Heun for Euler": orders(2.0, 2.0), "third order": orders(1.0, 3.0)},
    ),
    "nfe": Planted(
        speed(vp=5.0, ve=40.0, iddpm=4.0),
        (5.0, 40.0, 4.0),
        {"Euler on the EDM steps": speed(vp=2.5, ve=8.0, iddpm=2.7), "one of three": speed(vp=5.0, ve=40.0, iddpm=2.0)},
    ),
    "rho-uniform": Planted(
        sweep(RHO, {3.0: 4.0, 7.0: 2.0}),
        (60.0, 2.0),
        {
            "no difference": sweep(dict.fromkeys(RHO, 1.0), dict.fromkeys(RHO, 2.0)),
            "rho 3 the better": sweep(RHO, {3.0: 2.0, 7.0: 4.0}),
            "uniform no failure": sweep({**RHO, 1.0: 3.0}, {3.0: 4.0, 7.0: 2.0}),
        },
    ),
    "rho-best": Planted(
        sweep({40.0: 0.001}, {7.0: 2.0}),
        (7.0,),
        {"uniform steps": sweep({7.0: 0.001}, {1.0: 2.0}), "ever shorter": sweep({7.0: 0.001}, {40.0: 2.0})},
    ),
    "linear": Planted(
        bends(1.0, 3.0, edm80=0.01, edm5=0.005),
        (100.0, 300.0, 20.0, 60.0),
        {
            "VP for EDM up to 80": bends(1.0, 3.0, edm80=1.0, edm5=0.005),
            "VP for EDM up to 5": bends(1.0, 3.0, edm80=0.01, edm5=0.1),
        },
    ),
    "preconditioning": Planted(
        unit(),
        (0.002, 0.004, 0.001),
        # What VP, VE and iDDPM have at low noise and at high: data of variance ¼, a target and a weight that are off.
        {
            "VP's input": unit(var_input=0.25),
            "VE's input": unit(var_input=6400.0),
            "target": unit(var_target=0.98),
            "weight": unit(effective_weight=4.0),
        },
    ),
    "training-total": Planted(
        fid(TABLE_2),
        (3.01 / 1.97,),
        {"A for F": fid({**TABLE_2, "F": 3.01}), "F worse": fid({**TABLE_2, "F": 3.2})},
    ),
    "training-cifar10": Planted(
        fid(TABLE_2, "cifar10"),
        (2.29 / 2.05, 3.01 / 1.97),
        {"D for E": fid({**TABLE_2, "E": 2.29}, "cifar10"), "A for F": fid({**TABLE_2, "F": 3.01}, "cifar10")},
    ),
    "training": Planted(
        fid(TABLE_2),
        (2.29 / 2.05,),
        {"D for E": fid({**TABLE_2, "E": 2.29}), "E worse": fid({**TABLE_2, "E": 2.4})},
    ),
    "training-preconditioning": Planted(
        fid(TABLE_2),
        (2.31 / 2.29,),
        {
            "as large as A to F": fid({**TABLE_2, "D": 2.31 / 1.53}),
            "the other way": fid({**TABLE_2, "D": 2.31 * 1.53}),
        },
    ),
    "churn": Planted(
        churned("C", 3.0, 2.0, 5.0),
        (1.5, 2.5),
        {
            "churn changes nothing": churned("C", 2.0, 2.0, 2.0),
            "churn harms": churned("C", 2.0, 2.3, 4.0),
            "too much does not": churned("C", 3.0, 2.3, 2.0),
        },
    ),
    "churn-edm": Planted(
        churned("E", 2.0, 3.0, 4.0),
        (1.5,),
        {"churn helps, as in Section 4": churned("E", 3.0, 2.3, 4.0), "no change": churned("E", 2.0, 2.0, 2.0)},
    ),
    "churn-exact": Planted(
        exact(),
        (0.5, 1.02),
        {
            "churn mends": exact(moderate=0.15),
            "S_noise = 1.1": exact(spread=1.12),
            "less spread than the data": exact(spread=0.92),
        },
    ),
    "fid": Planted(
        networks(1.79, 1.97),
        (1.79, 1.97),
        {
            "configuration D": networks(2.09, 2.29),
            "one of two": networks(1.79, 2.29),
            "exchanged": networks(1.97, 1.79),
        },
    ),
}


def judged(claim: Claim, preset: str, plant: Plant) -> dict[str, pd.DataFrame]:
    experiments = {quantity.experiment for quantity in claim.quantities}
    return {experiment.name: table(experiment, preset, plant) for experiment in experiments}


IN_PRESETS = [(claim.id, preset) for claim in PAPER.claims for preset in claim.presets]


@pytest.mark.parametrize(("claim", "preset"), IN_PRESETS)
def test_what_is_true_holds_and_what_is_excluded_fails(claim: str, preset: str) -> None:
    planted = PLANTED[claim]
    found = judge(CLAIMS[claim], judged(CLAIMS[claim], preset, planted.true))
    assert found.verdict == "holds"
    # Seed 1 is the one that does not wobble: the very rows that the claim names are read.
    values = [measurement.values[1] for measurement in found.measurements]
    assert values == pytest.approx(planted.measured, rel=0.003)
    assert planted.false
    for name, plant in planted.false.items():
        assert judge(CLAIMS[claim], judged(CLAIMS[claim], preset, plant)).verdict == "fails", name


@pytest.mark.parametrize(("claim", "preset"), IN_PRESETS)
def test_decoys_alone_support_no_claim(claim: str, preset: str) -> None:
    tables = judged(CLAIMS[claim], preset, lambda row, seed: {})
    assert judge(CLAIMS[claim], tables).verdict != "holds"


def test_every_claim_says_what_it_is_and_what_it_excludes() -> None:
    assert set(PLANTED) == set(CLAIMS)
    for claim in PAPER.claims:
        assert claim.kind in KINDS
        assert claim.excludes, claim.id
        assert claim.source, claim.id
        assert claim.statement.endswith("."), claim.id
        for quantity in claim.quantities:
            assert quantity.criterion.reason, quantity.name
            assert quantity.metric, quantity.name
            tolerance = quantity.tolerance or quantity.experiment.tolerance or 1e-4
            assert tolerance <= 0.08, "a factor of 1.1 must be caught"


def test_kinds_and_headlines_are_those_of_the_paper() -> None:
    """The abstract has the FID of all improvements together, and faster and better samples of earlier networks."""
    assert {claim.id for claim in PAPER.claims if claim.headline} == {
        "nfe", "training-total", "training-cifar10", "churn", "fid",
    }  # fmt: skip
    assert {claim.id for claim in PAPER.claims if claim.kind == "theorem"} == {"heun-order", "preconditioning"}
    assert {claim.id for claim in PAPER.claims if claim.kind == "ours"} == {"churn-exact"}
    for study in PAPER.load().values():
        headlines = [claim.headline for claim in study.claims]
        assert headlines == sorted(headlines, reverse=True), "headlines first"


# A second copy of the paper's numbers: Section 3 with Figure 2 (NFE at which each sampler is done, and ratios), and
# Table 2 (CIFAR-10, 35 NFE: conditional, then unconditional, VP and VE).
SECTION_3 = {"vp": (256, 35, 7.3), "ve": (8192, 27, 303.0), "iddpm": (250, 79, 3.2)}
TABLE_2_FULL = {
    "VP": ("2.48 2.18 2.08 2.09 1.88 1.79", "3.01 2.51 2.31 2.29 2.05 1.97"),
    "VE": ("3.11 2.48 2.52 2.64 1.86 1.79", "3.77 2.94 2.83 3.10 1.99 1.98"),
}


def test_published_numbers_are_those_of_the_paper() -> None:
    assert {name: nfe for name, (nfe, _, _) in SECTION_3.items()} == published.BASELINE_NFE
    assert {name: ratio for name, (_, _, ratio) in SECTION_3.items()} == published.NFE_RATIO
    for theirs, ours, ratio in SECTION_3.values():
        assert theirs / ours == pytest.approx(ratio, rel=0.015)
    assert published.RHO == 7
    assert published.BEST_RHO == (5, 10)
    for name, (conditional, unconditional) in TABLE_2_FULL.items():
        cells = zip("ABCDEF", conditional.split(), unconditional.split(), strict=True)
        copy = {letter: published.FID(float(c), float(u)) for letter, c, u in cells}
        assert getattr(published, f"{name}_FID") == copy


def test_claims_quote_published_numbers_and_keep_derived_ones_apart() -> None:
    quoted = {q.name: q.published for c in PAPER.claims for q in c.quantities if q.published is not None}
    assert quoted == {
        "NFE ratio, VP": 7.3, "NFE ratio, VE": 303.0, "NFE ratio, iDDPM (DDIM)": 3.2, "best rho by fd_digits": 7.0,
        "FID, conditional": 1.79, "FID, unconditional": 1.97,
    }  # fmt: skip
    expected = {q.name: q.expected for c in PAPER.claims for q in c.quantities if q.expected is not None}
    assert expected == pytest.approx(
        {
            "order of Euler, mixture": 1, "order of Heun, mixture": 2,
            "order of Euler, digits": 1, "order of Heun, digits": 2,
            "largest |variance of the input - 1|": 0, "largest |variance of the target - 1|": 0,
            "largest |effective weight - 1|": 0,
            "A over F": 3.01 / 1.97, "D over E": 2.29 / 2.05, "C over D": 2.31 / 2.29,
        }
    )  # fmt: skip


def test_criteria_are_as_they_were_stated() -> None:
    """A second copy of every bound: the least and the greatest value that a claim allows."""
    bounds = {q.name: (q.criterion.lower, q.criterion.upper) for c in PAPER.claims for q in c.quantities}
    finite = {name: tuple(bound for bound in pair if isfinite(bound)) for name, pair in bounds.items()}
    above_one = (1 + 2**-52,)
    assert finite == {
        **{f"order of Euler, {law}": (0.9, 1.1) for law in ("mixture", "digits")},
        **{f"order of Heun, {law}": (1.85, 2.15) for law in ("mixture", "digits")},
        **{f"NFE ratio, {name}": (3.0,) for name in ("VP", "VE", "iDDPM (DDIM)")},
        "error, rho 1 over rho 7": (20.0,),
        "fd_digits, rho 3 over rho 7": above_one,
        "best rho by fd_digits": (5.0, 10.0),
        **{f"curvature up to sigma {top}, {s} over EDM": (2.0,) for top, s in product((80, 5), ("VP", "VE"))},
        **{
            f"largest |{name} - 1|": (0.01,)
            for name in ("variance of the input", "variance of the target", "effective weight")
        },
        **dict.fromkeys(("A over F", "D over E", "none over moderate", "excessive over moderate"), above_one),
        "moderate over none": above_one,
        "C over D": (0.8, 1.25),
        "fd_digits saved by moderate churn, in floors": (1.0,),
        "spread about the digits with moderate churn": (0.95, 1.05),
        "FID, conditional": (pytest.approx(1.89),),
        "FID, unconditional": (pytest.approx(2.07),),
    }


def test_two_configurations_that_seeds_do_not_tell_apart_are_inconclusive() -> None:
    """Ratios of 0.95, 1.05 and 1 in turn."""

    def plant(row: Row, seed: int) -> Mapping[str, float]:
        return {"fd": 2.0 if row["letter"] != "E" else (2.1, 1.9, 2.0)[seed % 3]}

    assert judge(CLAIMS["training"], judged(CLAIMS["training"], "quick", plant)).verdict == "inconclusive"


@pytest.mark.parametrize("preset", PRESETS)
def test_every_claim_has_runs_in_the_presets_that_judge_it(preset: str) -> None:
    for claim in PAPER.claims:
        for quantity in claim.quantities:
            if preset in claim.presets:
                grid = quantity.experiment.presets[preset]
                assert grid.configs
                if quantity.experiment is not official_fid or grid.seeds:  # its files are not on every machine
                    assert grid.seeds >= 3, "an interval over fewer seeds says nothing"
