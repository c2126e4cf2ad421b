"""What each claim of SEDD excludes, planted in a world where the claim is true: one cell or a few, and no other."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from math import log2

import pandas as pd

from papers.sedd.graph import GRAPHS
from papers.sedd.studies.models import TRAINED
from tests.papers.sedd.planted import MEETS, Edit, constant, copied, exchanged, planted, scaled

Named = tuple[str, Edit]
MOST_DRAWN = {"quick": 8, "small": 16, "gpu": 16}
"""The most steps that sequences are drawn in, by preset."""


def _bound(preset: str) -> Iterator[Named]:
    for graph in GRAPHS:
        for experiment, column in (("exact_bound", "relative_gap"), ("sampled_bound", "over_entropy")):
            edit = copied(experiment, column, into={"error": 0.0}, source={"error": 0.3}, graph=graph)
            yield f"wrong ratios, {graph}, {column}", edit
        yield f"below, {graph}", constant("exact_bound", "relative_gap", -1e-3, graph=graph, error=0.0)
        yield f"sampled below, {graph}", constant("sampled_bound", "over_entropy", 0.95, graph=graph, error=0.0)


def _bound_below(preset: str) -> Iterator[Named]:
    for graph in GRAPHS:
        yield f"enumerated, {graph}", scaled("exact_bound", "relative_gap", -0.1, graph=graph, error=0.3)
        for error in (0.0, 0.3):
            yield f"{graph}, {error}", constant("sampled_bound", "z", -9.0, graph=graph, error=error)


def _bound_trained(preset: str) -> Iterator[Named]:
    for model in ("ar", "sedd-absorb", "sedd-uniform", "d3pm-absorb", "csm-absorb"):
        yield model, constant("training", "z", -9.0, model=model)


def _masked(preset: str) -> Iterator[Named]:
    for column in ("loss_difference", "gradient_difference"):
        yield column, constant("masked_identity", column, 1e-3)


def _order(language: str) -> Iterator[Named]:
    for better, worse in pairwise(("ar", "sedd-absorb", "sedd-uniform")):
        yield (
            f"{better} and {worse}",
            exchanged("training", "bpc", {"model": better}, {"model": worse}, language=language),
        )


def _d3pm(language: str, *graphs: str) -> Iterator[Named]:
    for graph in graphs:
        pair = ({"model": f"sedd-{graph}"}, {"model": f"d3pm-{graph}"})
        yield graph, exchanged("training", "bpc", *pair, language=language)


def _bits_ratios(preset: str) -> Iterator[Named]:
    text = {"language": "tinyshakespeare27"}
    yield "twice the distance", scaled("training", "bpc", 1.12, model="sedd-absorb", **text)
    yield "a tie", copied("training", "bpc", {"model": "sedd-uniform"}, {"model": "sedd-absorb"}, **text)
    yield "three times the distance", scaled("training", "bpc", 1.13, model="sedd-uniform", **text)


def _bits_table(preset: str) -> Iterator[Named]:
    for method in ("sedd", "d3pm"):
        yield method, exchanged("training", "bpc", {"model": f"{method}-absorb"}, {"model": f"{method}-uniform"})
    yield "autoregression", copied("training", "bpc", {"model": "ar"}, {"model": "sedd-absorb"})


def _losses(language: str) -> Iterator[Named]:
    pair = ({"model": "csm-absorb"}, {"model": "sedd-absorb"})
    yield "losses exchanged", exchanged("training", "bpc", *pair, language=language)


def _ratios_that_are_none(language: str) -> Iterator[Named]:
    yield from _losses(language)
    yield "all positive", constant("training", "invalid", 0.0, model="csm-absorb", language=language)
    yield "some not", constant("training", "invalid", 0.01, model="sedd-absorb", language=language)


def _power(order: float) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda rows: rows["n_steps"].astype(float) ** -order


def _steps(preset: str) -> Iterator[Named]:
    for graph in GRAPHS:
        cells = {"graph": graph, "noise": "loglinear", "sampler": "tweedie"}
        for order in (0.5, 2):
            yield f"order {order}, {graph}", planted("sampler_error", "tv", _power(order), **cells)
        drawn = {"graph": graph, "sampler": "tweedie"}
        yield f"stops, {graph}", scaled("quality", "nll", 1.3, n_steps=MOST_DRAWN[preset], **drawn)
        yield f"rises, {graph}", planted("quality", "nll", lambda rows: 1.5 + 0.01 * rows["n_steps"], **drawn)


def _entropy(preset: str) -> Iterator[Named]:
    for graph in GRAPHS:
        for n in (2, MOST_DRAWN[preset]):
            cells = {"graph": graph, "sampler": "tweedie", "n_steps": n}
            yield f"{graph}, {n} steps", scaled("quality", "token_entropy_ratio", 0.95, **cells)


def _tweedie(preset: str) -> Iterator[Named]:
    pair = ({"sampler": "euler"}, {"sampler": "tweedie"})
    for graph, noise in (("uniform", "loglinear"), ("absorb", "geometric")):
        for n in (8, 32):
            yield f"{graph}, {n}", exchanged("sampler_error", "kl", *pair, graph=graph, noise=noise, n_steps=n)
    for sampler in ("euler", "tweedie"):
        cells = {"graph": "absorb", "noise": "loglinear", "n_steps": 16, "sampler": sampler}
        yield f"not one step, {sampler}", scaled("sampler_error", "kl", 1.001, **cells)


def _tweedie_geometric(preset: str) -> Iterator[Named]:
    pair = ({"sampler": "euler"}, {"sampler": "tweedie"})
    yield "exchanged", exchanged("sampler_error", "kl", *pair, graph="uniform", noise="geometric", n_steps=16)


def _less_variety(language: str, *graphs: str) -> Iterator[Named]:
    for graph in graphs:
        cells = {"model": f"sedd-{graph}", "sampler": "tweedie", "language": language, "nfe": 33}
        yield f"less variety, {graph}", scaled("generation", "token_entropy_ratio", 0.95, **cells)


def _economy(language: str) -> Iterator[Named]:
    absorbing = {"model": "sedd-absorb", "sampler": "tweedie", "language": language}
    at = 0.75 * TRAINED[language].length
    later = planted("generation", "nll", lambda rows: rows["nll"] + 0.2 * log2(at / MEETS), **absorbing)
    yield "three quarters of the evaluations", later
    yield "never", planted("generation", "nll", lambda rows: rows["nll"] + 5, **absorbing)
    yield "a likelier baseline", scaled("generation", "nll", 0.65, model="ar", top_p=1.0, language=language)
    yield from _less_variety(language, "absorb")


def _likelihood(language: str) -> Iterator[Named]:
    for graph in GRAPHS:
        cells = {"model": f"sedd-{graph}", "sampler": "tweedie", "language": language}
        yield f"rises, {graph}", planted("generation", "nll", lambda rows: 5 - rows["nll"], **cells)
        bent = planted("generation", "nll", lambda rows: rows["nll"].where(rows["nfe"] < 17, 3.0), **cells)
        yield f"turns, {graph}", bent
    pair = ({"sampler": "euler"}, {"sampler": "tweedie"})
    yield "samplers", exchanged("generation", "nll", *pair, model="sedd-uniform", language=language)
    yield from _less_variety(language, *GRAPHS)


def _infilling(preset: str) -> Iterator[Named]:
    absorbing = {"graph": "absorb"}
    yield "no order", constant("infilling", "tv", 5e-3, **absorbing)
    yield "order 2", planted("infilling", "tv", _power(2), **absorbing)
    yield "an error that stays", planted("infilling", "tv", lambda rows: 10 * rows["tv"] + 0.03, **absorbing)
    yield "draws", scaled("long_infilling", "tv", 1.4)


def _infilling_uniform(preset: str) -> Iterator[Named]:
    yield "an error that stays", planted("infilling", "tv", lambda rows: rows["tv"] + 0.07, graph="uniform")


def _precision(preset: str) -> Iterator[Named]:
    for ratio in (0.5, 1.0):
        yield f"right, {ratio}", constant("race", "rate", 1.0, dtype="float16", ratio=ratio)
    yield "float32 for float64", constant("race", "rate", 0.313, dtype="float64")
    cells = {"n_steps": 192}
    none = planted("truncation", "drawn_entropy", lambda rows: rows["entropy"], dtype="float16", **cells)
    yield "none lost in float16", none
    yield "some lost in float64", scaled("truncation", "drawn_entropy", 0.9, dtype="float64", **cells)


def _precision_float32(preset: str) -> Iterator[Named]:
    yield "right", constant("race", "rate", 1.0, dtype="float32")


def alternatives(claim: str, preset: str) -> dict[str, Edit]:
    """By name, edits of which each makes the claim false."""
    by_claim = {
        "bound": _bound, "bound-below": _bound_below, "bound-trained": _bound_trained, "masked": _masked,
        "bits-ratios": _bits_ratios, "bits-table": _bits_table, "steps": _steps, "entropy": _entropy,
        "tweedie": _tweedie, "tweedie-geometric": _tweedie_geometric, "infilling": _infilling,
        "infilling-uniform": _infilling_uniform, "precision": _precision,
        "precision-float32": _precision_float32,
    }  # fmt: skip
    if claim in by_claim:
        return dict(by_claim[claim](preset))
    about, _, language = claim.partition("-")
    if about == "concrete":
        language = language.removeprefix("score").removeprefix("-")
        return dict(_ratios_that_are_none(language) if language else _losses("markov"))
    by_language = {
        "bits": lambda: _order(language or "markov"),
        "d3pm": lambda: _d3pm(language or "markov", *(("absorb", "uniform") if language else ("absorb",))),
        "economy": lambda: _economy(language),
        "steps": lambda: _likelihood(language),
    }
    return dict(by_language[about]())
