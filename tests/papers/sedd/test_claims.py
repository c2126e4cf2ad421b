"""SEDD's claims on run tables made by hand: what is true holds, and what is planted wrong fails."""

import math
from itertools import product

import pandas as pd
import pytest

from common.harness.studies.claims import judge
from common.harness.studies.experiment import PRESETS
from papers.sedd.paper import PAPER
from papers.sedd.published import TEXT8_BPC

SEEDS = range(3)
CLAIMS = {claim.id: claim for claim in PAPER.claims}
Tables = dict[str, pd.DataFrame]


def _wobble(seed: int) -> float:
    """Seeds differ by a per cent, so that intervals have a width."""
    return 1 + 0.01 * (seed - 1)


def _bound(
    gap: float = 1e-9, sampled: float = 1.0, graph: str = "uniform", wrong: float = 0.1, z: float = -1
) -> Tables:
    """One graph as told; the other is right."""
    exact = [
        {"graph": g, "error": error, "relative_gap": value * _wobble(seed), "seed": seed}
        for g, seed in product(("absorb", "uniform"), SEEDS)
        for error, value in ((0.0, gap if g == graph else -1e-9), (0.3, wrong if g == graph else 0.2))
    ]
    draws = [
        {"graph": g, "error": error, "over_entropy": value + 0.001 * seed, "z": z if g == graph else 1, "seed": seed}
        for g, seed in product(("absorb", "uniform"), SEEDS)
        for error, value in ((0.0, sampled if g == graph else 1.0), (0.3, 1.5))
    ]
    return {"exact_bound": pd.DataFrame(exact), "sampled_bound": pd.DataFrame(draws)}


def _bits(language: str = "markov", **bpc: float) -> Tables:
    published = {name.replace("-", "_"): value for name, value in TEXT8_BPC.items()} | {"csm_absorb": 2.0}
    rows = [
        # Seeds differ much more than models do: only pairing them shows the order.
        {
            "model": model.replace("_", "-"), "language": language, "seed": seed, "z": 3.0,
            "bpc": value * 2**seed * _wobble(seed + len(model) % 2), "invalid": 0.05 if model == "csm_absorb" else 0.0,
        }
        for (model, value), seed in product({**published, **bpc}.items(), SEEDS)
    ]  # fmt: skip
    return {"training": pd.DataFrame(rows)}


def _edited(tables: Tables, column: str, value: float, **where: object) -> Tables:
    (name,) = tables
    table = tables[name].copy()
    chosen = pd.Series(True, index=table.index)
    for key, wanted in where.items():
        chosen &= table[key] == wanted
    assert chosen.any()
    table.loc[chosen, column] = value
    return {name: table}


def _sampler_error(**euler: float) -> Tables:
    """TV of 1/steps and KL of 1/steps², of Euler so many times as much on each graph and noise."""
    rows = [
        {
            "graph": graph, "noise": noise, "sampler": sampler, "n_steps": n, "tv": 1 / n, "seed": seed,
            "kl": _wobble(seed) * (factor if sampler == "euler" else 1) / n**2,
        }
        for graph, noise, sampler, n, seed in product(
            ("absorb", "uniform"), ("loglinear", "geometric"), ("euler", "tweedie"), (8, 16, 32), SEEDS
        )
        for factor in (euler.get(f"{graph}_{noise}", 1.0 if (graph, noise) == ("absorb", "loglinear") else 1.5),)
    ]  # fmt: skip
    return {"sampler_error": pd.DataFrame(rows)}


def _quality(order: float = 1.0, departure: float = 0.01, bend: float = 0.0) -> Tables:
    rows = [
        {
            "graph": graph, "sampler": sampler, "n_steps": n, "entropy": 1.5, "token_entropy_ratio": 1 - departure,
            "nll": 1.5 + _wobble(seed) * (n**-order + bend * (n == 16)), "seed": seed,
        }
        for (graph, sampler), n, seed in product(
            (("absorb", "tweedie"), ("uniform", "tweedie"), ("uniform", "euler")), (4, 8, 16, 32), SEEDS
        )
    ]  # fmt: skip
    # Departures of 1 % beside the one that is largest.
    rows = [row | {"token_entropy_ratio": 1.001} if row["n_steps"] != 8 else row for row in rows]
    return {"quality": pd.DataFrame(rows)}


def _order(order: float) -> Tables:
    table = _sampler_error()["sampler_error"]
    return {"sampler_error": table.assign(tv=table["n_steps"] ** -order), **_quality()}


def _generation(
    meets_at: float, departure: float = 0.0, euler: float = 1.1, slope: float = 0.2, language: str = "tinyshakespeare27"
) -> Tables:
    """SEDD's nats fall by `slope` with each doubling, to the autoregressive 2.0 at `meets_at` evaluations of 64."""
    rows: list[dict[str, object]] = []
    for seed, top_p in product(SEEDS, (1.0, 0.9)):
        rows.append({"model": "ar", "sampler": "tweedie", "top_p": top_p, "nfe": 64, "nll": 1 + top_p, "seed": seed})
    for graph, sampler, n, seed in product(("absorb", "uniform"), ("tweedie", "euler"), (4, 8, 16, 32, 64), SEEDS):
        nll = 2.0 + slope * math.log2(meets_at / n)
        rows.append(
            {
                "model": f"sedd-{graph}", "sampler": sampler, "top_p": 1.0, "nfe": n, "seed": seed,
                "nll": nll * (euler * _wobble(seed) if sampler == "euler" else 1),
                "token_entropy_ratio": 1 - (departure if n == 64 else 0) - 1e-4 * seed,
            }
        )  # fmt: skip
    return {"generation": pd.DataFrame(rows).assign(language=language)}


def _infilling(tv: dict[str, float], order: float = 1.0, over: float = 1.0) -> Tables:
    rows = [
        {
            "graph": graph,
            "pattern": pattern,
            "n_steps": n,
            "tv": value * _wobble(seed) * (128 / n) ** order,
            "seed": seed,
        }
        for (graph, value), pattern, n, seed in product(tv.items(), ("end", "both ends"), (8, 32, 128), SEEDS)
    ]
    long = [{"tv": 0.09 * over * _wobble(seed), "floor": 0.09, "seed": seed} for seed in SEEDS]
    return {"infilling": pd.DataFrame(rows), "long_infilling": pd.DataFrame(long)}


def _precision(
    half: float = 1.0, single: float = 0.31, double: float = 1.0, lost: float = 1.0, kept: float = 1.0
) -> Tables:
    derived = {0.5: 0.313, 1.0: 0.582}
    races = [
        {"dtype": "float16", "ratio": ratio, "rate": half * value * _wobble(seed), "derived": value, "seed": seed}
        for (ratio, value), seed in product(derived.items(), SEEDS)
    ]
    for dtype, rate, ratio in (("float32", single, 0.5), ("float64", double, 2.0**42)):
        races += [
            {"dtype": dtype, "ratio": ratio, "rate": rate * _wobble(seed), "derived": 1.0, "seed": seed}
            for seed in SEEDS
        ]
    samples = []
    for seed, n in product(SEEDS, (12, 192)):
        common = {"n_steps": n, "entropy": 1.0, "seed": seed}
        loss = 0.1 * lost * _wobble(seed)
        samples.append({"dtype": "float16", "derived_entropy": 0.9, "drawn_entropy": 1 - loss, **common})
        samples.append({"dtype": "float64", "derived_entropy": 1.0, "drawn_entropy": kept + 1e-4 * seed, **common})
    return {"race": pd.DataFrame(races), "truncation": pd.DataFrame(samples)}


def _masked(loss: float, gradient: float) -> Tables:
    rows = [{"loss_difference": loss, "gradient_difference": gradient * _wobble(seed), "seed": seed} for seed in SEEDS]
    return {"masked_identity": pd.DataFrame(rows)}


SMALL = "tinyshakespeare27"
CASES = [
    ("bound", _bound(), "holds"),
    ("bound", _bound(gap=1e-3), "fails"),
    ("bound", _bound(gap=-1e-3, graph="absorb"), "fails"),
    ("bound", _bound(sampled=1.05), "fails"),
    ("bound", _bound(sampled=0.95, graph="absorb"), "fails"),
    ("bound-below", _bound(), "holds"),
    ("bound-below", _bound(wrong=-0.01), "fails"),
    ("bound-below", _bound(z=-9), "fails"),
    ("bound-trained", _bits(), "holds"),
    ("bound-trained", _edited(_bits(), "z", -9.0, model="d3pm-uniform"), "fails"),
    ("masked", _masked(1e-15, 1e-15), "holds"),
    ("masked", _masked(1e-3, 1e-15), "fails"),
    ("masked", _masked(1e-15, 1e-3), "fails"),
    ("bits", _bits(), "holds"),
    ("bits", _bits(ar=1.5), "fails"),
    ("bits", _bits(sedd_uniform=1.3), "fails"),
    ("d3pm", _bits(), "holds"),
    ("d3pm", _bits(d3pm_absorb=1.3), "fails"),
    (f"d3pm-{SMALL}", _bits(SMALL), "holds"),
    (f"d3pm-{SMALL}", _bits(SMALL, d3pm_uniform=1.4), "fails"),
    ("concrete-score", _bits(), "holds"),
    ("concrete-score", _bits(csm_absorb=1.2), "fails"),
    (f"bits-{SMALL}", _bits(SMALL), "holds"),
    (f"concrete-score-{SMALL}", _bits(SMALL), "holds"),
    (f"concrete-score-{SMALL}", _edited(_bits(SMALL), "invalid", 0.0), "fails"),
    (f"concrete-score-{SMALL}", _edited(_bits(SMALL), "invalid", 0.01), "fails"),
    ("bits-ratios", _bits(SMALL), "holds"),
    ("bits-ratios", _bits(SMALL, ar=1.0), "fails"),
    ("bits-ratios", _bits(SMALL, sedd_uniform=1.38), "fails"),
    ("bits-tinyshakespeare", _bits("tinyshakespeare"), "holds"),
    ("bits-tinyshakespeare", _bits("tinyshakespeare", sedd_absorb=1.1), "fails"),
    ("steps", _order(1.0), "holds"),
    ("steps", _order(0.5), "fails"),
    ("steps", _order(2.0), "fails"),
    ("steps", {**_order(1.0), **_quality(bend=3.0)}, "fails"),
    ("steps", {**_order(1.0), **_quality(order=-1.0)}, "fails"),
    ("entropy", _quality(), "holds"),
    ("entropy", _quality(departure=0.05), "fails"),
    ("tweedie", _sampler_error(), "holds"),
    ("tweedie", _sampler_error(uniform_loglinear=0.9), "fails"),
    ("tweedie", _sampler_error(absorb_geometric=0.9), "fails"),
    ("tweedie", _sampler_error(absorb_loglinear=1.01), "fails"),
    ("tweedie-geometric", _sampler_error(), "holds"),
    ("tweedie-geometric", _sampler_error(uniform_geometric=0.6), "fails"),
    (f"economy-{SMALL}", _generation(16.0), "holds"),
    (f"economy-{SMALL}", _generation(48.0), "fails"),
    (f"economy-{SMALL}", _generation(100.0), "fails"),
    (f"steps-{SMALL}", _generation(16.0), "holds"),
    (f"steps-{SMALL}", _generation(16.0, departure=0.03), "fails"),
    (f"steps-{SMALL}", _generation(16.0, euler=0.9), "fails"),
    (f"steps-{SMALL}", _generation(16.0, slope=-0.2), "fails"),
    ("infilling", _infilling({"absorb": 0.001, "uniform": 0.1}), "holds"),
    ("infilling", _infilling({"absorb": 0.05, "uniform": 0.1}), "fails"),
    ("infilling", _infilling({"absorb": 0.001, "uniform": 0.1}, order=0.0), "fails"),
    ("infilling", _infilling({"absorb": 0.001, "uniform": 0.1}, over=1.4), "fails"),
    ("infilling-uniform", _infilling({"absorb": 0.001, "uniform": 0.001}), "holds"),
    ("infilling-uniform", _infilling({"absorb": 0.001, "uniform": 0.1}), "fails"),
    ("precision", _precision(), "holds"),
    ("precision", _precision(half=1.5), "fails"),
    ("precision", _precision(single=1.0), "fails"),
    ("precision", _precision(double=0.8), "fails"),
    ("precision", _precision(lost=0.2), "fails"),
    ("precision", _precision(kept=0.9), "fails"),
]


@pytest.mark.parametrize(("claim", "tables", "verdict"), CASES)
def test_verdicts(claim: str, tables: Tables, verdict: str) -> None:
    assert judge(CLAIMS[claim], tables).verdict == verdict


def test_every_claim_that_quick_or_small_judges_has_a_true_and_a_false_table() -> None:
    judged = {claim.id for claim in PAPER.claims if set(claim.presets) & {"quick", "small"}}
    assert {claim for claim, _, verdict in CASES if verdict == "holds"} >= judged
    assert {claim for claim, _, verdict in CASES if verdict == "fails"} >= judged - {f"bits-{SMALL}"}


def test_fewer_evaluations_are_those_of_the_crossing() -> None:
    measured, _ = judge(CLAIMS[f"economy-{SMALL}"], _generation(16.0)).measurements
    assert measured.values == pytest.approx(dict.fromkeys(SEEDS, 4.0))
    unreached, _ = judge(CLAIMS[f"economy-{SMALL}"], _generation(100.0)).measurements
    assert "is not on a curve" in unreached.error


def test_published_values_are_those_of_the_paper() -> None:
    bits = {q.name: q.published for q in CLAIMS["bits-table"].quantities}
    assert sorted(value for value in bits.values() if value) == [1.23, 1.39, 1.45, 1.47, 1.61]
    assert bits["SEDD absorbing"] == 1.39
    assert bits["D3PM uniform"] == 1.61
    ratios = {q.name: q.published for q in CLAIMS["bits"].quantities}
    assert ratios == {"SEDD absorbing over autoregressive": 1.13, "SEDD uniform over SEDD absorbing": 1.058}


@pytest.mark.parametrize("preset", PRESETS)
def test_every_claim_has_runs_in_the_presets_that_judge_it(preset: str) -> None:
    for claim in PAPER.claims:
        for quantity in claim.quantities:
            assert claim.source
            assert claim.statement.endswith(".")
            assert quantity.criterion.reason
            if preset in claim.presets:
                grid = quantity.experiment.presets[preset]
                assert grid.seeds >= 3, "an interval over fewer seeds says nothing"
                assert grid.configs


def test_experiments_have_names_of_their_own() -> None:
    assert len(PAPER.experiments) == sum(len(study.experiments) for study in PAPER.load().values())
