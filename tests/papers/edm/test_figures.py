"""EDM's figures on made-up results: each is drawn, labelled, and shows the numbers that it was given."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest

from common.harness.studies.experiment import Experiment
from common.harness.studies.figure import Figure
from papers.edm.paper import PAPER
from papers.edm.published import BASELINE_NFE
from papers.edm.studies.churn import churn
from papers.edm.studies.convergence import convergence
from papers.edm.studies.cost import sampling_cost
from papers.edm.studies.curvature import CURVES, curvature
from papers.edm.studies.rho import rho_sweep
from papers.edm.studies.training import _tiles, training

FIGURES = [figure for study in PAPER.load().values() for figure in study.figures]
BY_NAME = {figure.name: figure for figure in FIGURES}
LETTERS = "ABCDEF"


class MadeUp:
    def __init__(self) -> None:
        seeds = range(3)
        fd = {letter: 10.0 - i for i, letter in enumerate(LETTERS)}
        steps = (64, 128)
        training_rows = [
            {"letter": letter, "dataset": "mnist", "fd": fd[letter] + 0.1 * seed, "floor": 0.3, "n": 1000, "seed": seed}
            for letter, seed in product(LETTERS, seeds)
        ]
        convergence_rows = [
            {"field": "digits", "solver": solver, "nfe": n, "error": n**-order + 1e-6 * seed, "seed": seed}
            for (solver, order), n, seed in product({"euler": 1.0, "heun": 2.0}.items(), steps, seeds)
        ]
        cost_rows = [
            {"sampler": sampler, "nfe": n, "error": 1 / n, "seed": seed}
            for (sampler, published), seed in product({**BASELINE_NFE, "edm": 35}.items(), seeds)
            for n in (published // 2, published)
        ]
        rho_rows = [
            {"rho": rho, "error": 1 / rho + 0.01 * seed, "fd_digits": 1 / rho, "seed": seed}
            for rho, seed in product((1.0, 7.0, 40.0), seeds)
        ]
        curvature_rows = [
            {"field": field, "schedule": schedule, "sigma_max": 80.0, "curvature": 1.0 + seed, "seed": seed}
            for field, schedule, seed in product(("mixture", "digits"), CURVES, seeds)
        ]
        churn_rows = [
            {
                "denoiser": "network" if letter else "exact", "letter": letter, "dataset": "digits", "amount": amount,
                "fd": 3.0 + seed, "floor": 0.3, "n": 9, "seed": seed,
            }
            for letter, amount, seed in product(("C", "E", ""), ("none", "moderate", "excessive"), seeds)
        ]  # fmt: skip
        self.tables: Mapping[Experiment, pd.DataFrame] = {
            training: pd.DataFrame(training_rows),
            convergence: pd.DataFrame(convergence_rows),
            sampling_cost: pd.DataFrame(cost_rows),
            rho_sweep: pd.DataFrame(rho_rows),
            curvature: pd.DataFrame(curvature_rows),
            churn: pd.DataFrame(churn_rows),
        }

    def table(self, experiment: Experiment) -> pd.DataFrame:
        return self.tables[experiment]

    def arrays(self, experiment: Experiment, **where: Any) -> list[tuple[Mapping[str, Any], Mapping[str, np.ndarray]]]:
        sigma = np.geomspace(0.01, 80, 5)
        if experiment is curvature:
            curves = {f"{axis}_{schedule}": np.ones((5, 30)) for axis, schedule in product("x", CURVES)}
            times = {f"t_{schedule}": sigma for schedule in CURVES}
            return [(where, {"sigma": sigma, "unscaled": np.ones((5, 40, 2)), **curves, **times})]
        loss = {"loss_initial": np.ones(5), "loss_final": np.full(5, 0.5)}
        return [(where, {"sigma": sigma, "samples": np.zeros((32, 1, 8, 8)), **loss})]


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_every_panel_says_what_it_shows(figure: Figure) -> None:
    drawn = figure.draw(MadeUp())
    assert figure.alt.endswith(".")
    assert figure.caption.endswith(".")
    for axes in drawn.axes:
        assert axes.get_title() or axes.get_xlabel()
        if axes.axison:
            assert axes.get_xlabel()


def test_ablation_shows_every_letter_with_its_mean_and_the_published_fid() -> None:
    ours, published = BY_NAME["ablation"].draw(MadeUp()).axes
    assert [label.get_text()[0] for label in ours.get_yticklabels()] == list(LETTERS)
    assert ours.get_xlabel() == "fd_mnist, n = 1000, 35 NFE"
    shown = sorted(float(x) for line in ours.lines for x in np.atleast_1d(line.get_xdata()))
    for i in range(6):
        assert any(abs(x - (10.1 - i)) < 1e-9 for x in shown)
    texts = [text.get_text() for text in published.texts]
    assert texts == ["3.01", "2.51", "2.31", "2.29", "2.05", "1.97"]


def test_published_nfe_are_circled_where_the_baselines_stand() -> None:
    _, right = BY_NAME["error-against-nfe"].draw(MadeUp()).axes
    circled = {tuple(np.round(np.asarray(c.get_offsets())[0], 9)) for c in right.collections}
    assert circled == {(float(nfe), round(1 / nfe, 9)) for nfe in BASELINE_NFE.values()}


def test_tiles_keep_images_in_reading_order() -> None:
    images = np.arange(8.0)[:, None, None, None] * np.ones((8, 1, 2, 2))
    tiled = _tiles(images, columns=4)
    assert tiled.shape == (8, 16)
    assert tiled[1::4, 1::4].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert (tiled[0] == -1).all()
