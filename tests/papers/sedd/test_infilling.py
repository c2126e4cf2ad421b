"""SEDD's infilling at tiny settings, by cases whose answer is known."""

from dataclasses import replace

import pytest
import torch

from papers.sedd.graph import Absorbing, Uniform
from papers.sedd.studies.bound import random_law
from papers.sedd.studies.infilling import (
    InfillingConfig,
    LongInfillingConfig,
    infilling,
    long_infilling,
    start_given,
)
from tests.papers.sedd.cases import generator


@pytest.mark.parametrize("graph", [Uniform(3), Absorbing(3)])
@pytest.mark.parametrize("given", [(True, False, True), (False, False, True), (False, False, False)])
def test_infilling_starts_from_the_given_tokens_and_the_base(graph, given):
    p0 = random_law(3, 3, generator())
    start = start_given(p0, graph, given)
    assert start.shape == (graph.dim,) * 3
    known = tuple(i for i, there in enumerate(given) if there)
    free = tuple(i for i in range(3) if i not in known)
    context = start.sum(dim=free)[(slice(0, 3),) * len(known)] if free else start
    torch.testing.assert_close(context, p0.sum(dim=free) if free else p0)
    others = start.sum(dim=known) if known else start
    torch.testing.assert_close(others, torch.ones(()).double() * _product(graph.base(), len(free)))


def _product(law, times):
    result = torch.ones((), dtype=torch.float64)
    for _ in range(times):
        result = result[..., None] * law
    return result


def test_infilling_halves_its_error_on_the_absorbing_graph_only(run):
    def gain(graph):
        rows = infilling(InfillingConfig(graph, steps=(8, 16)), 0, run)
        coarse, fine = (sum(float(row["tv"]) for row in rows if row["n_steps"] == n) for n in (8, 16))
        return coarse / fine

    assert gain("absorb") == pytest.approx(2, rel=0.05)
    assert gain("uniform") < 1.3


def test_every_second_token_given_leaves_nothing_to_get_wrong(run):
    """Given both neighbours, or the one there is, a Markov chain's tokens are independent."""
    rows = infilling(InfillingConfig("absorb", steps=(2,)), 0, run)
    assert {r["pattern"]: float(r["tv"]) for r in rows}["every second"] < 1e-12


def test_long_infilling_is_at_its_floor_and_a_single_step_is_not(run):
    config = LongInfillingConfig(length=7, contexts=1, n=400, n_steps=32, repeats=4)
    (fine,) = long_infilling(config, 0, run)
    (coarse,) = long_infilling(replace(config, n_steps=1), 0, run)
    assert float(fine["tv"]) / float(fine["floor"]) < 1.3
    assert float(coarse["tv"]) / float(coarse["floor"]) > 1.5
