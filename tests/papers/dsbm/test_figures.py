"""DSBM's figures on made-up results: each is drawn, labelled, and shows the numbers that it was given."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from scipy.stats import gmean

from common.harness.studies.experiment import Experiment
from common.harness.studies.figure import Figure
from papers.dsbm.paper import PAPER
from papers.dsbm.published import GAUSSIAN_KL, PLANE_W2
from papers.dsbm.studies.energy import plane_sigma
from papers.dsbm.studies.estimator import gaussian_floor
from papers.dsbm.studies.exact import exact_iterates
from papers.dsbm.studies.gaussian import GAUSSIAN_METHODS, gaussian
from papers.dsbm.studies.iterates import exact_euler
from papers.dsbm.studies.limits import LINES, exact_limits
from papers.dsbm.studies.methods import LOOKS
from papers.dsbm.studies.plan import plan_distance
from papers.dsbm.studies.plane import ALL_TASKS, plane, plane_floor
from papers.dsbm.studies.transfer import transfer

FIGURES = [figure for study in PAPER.load().values() for figure in study.figures]
ORDER = list(LOOKS)
BY_NAME = {figure.name: figure for figure in FIGURES}
SDE = ("DSB", "DSBM-IPF", "DSBM-IMF", "DSBM-IMF+")


class MadeUp:
    """Each number says where it belongs: its method, pass, dimension or task, and seed."""

    def __init__(self, dims: tuple[int, ...] = (5, 20, 50)) -> None:
        seeds = range(3)
        gaussian_rows = [
            {
                "method": method, "dim": dim, "pass_number": n, "direction": "b" if n % 2 else "f",
                "kl_diagonal": dim * (1 + place) + 0.1 * seed, "kl_full": 1000.0 * dim * (1 + place),
                "final": n == (1 if method == "SB-CFM" else 4),
                "correlation": 0.1 * n + place + 0.01 * seed, "exact_correlation": 0.1 * n,
                "var_0": 100.0 + n, "var_1": 200.0 + n, "exact_var_0": 100.0, "exact_var_1": 200.0, "seed": seed,
            }
            for (place, method), dim, seed in product(enumerate(GAUSSIAN_METHODS), dims, seeds)
            for n in ((1,) if method == "SB-CFM" else (1, 2, 3, 4))
        ]  # fmt: skip
        floor = [
            {"dim": dim, "floor_diagonal": dim / 10, "floor_full": 500.0 * dim, "seed": seed}
            for dim, seed in product(dims, seeds)
        ]
        iterates = [
            {
                "pair": pair, "sigma": sigma, "method": method, "iterate": n, "kl": 10.0**-n,
                "entropic_cost": 10.0 - n if method == "imf" else np.nan,
                "kl_projection": 0.7 * 10.0**-n if method == "imf" and n < 3 else np.nan,
                "kl_markov": 0.3 * 10.0**-n if method == "imf" and n < 3 else np.nan, "seed": 0,
            }
            for pair, sigma, method, n in product(("unit", "general"), (0.5, 1.0), ("imf", "ipf"), range(5))
        ]  # fmt: skip
        euler = [
            {"method": method, "pass_number": n, "correlation": 0.5 * n, "var_free": 300.0 + n, "seed": 0}
            for method, n in product(("ipf", "imf"), range(1, 11))
        ]
        limits = [
            {"pair": pair, "sigma": sigma, "seed": 0, **{column: sigma * (1 + i) for i, column in enumerate(LINES)}}
            for pair, sigma in product(("unit", "general"), (0.1, 1.0, 10.0))
        ]
        plane_rows = [
            {
                "method": method, "task": task, "w2": 1.0 + place + 0.01 * seed, "path_energy": 10.0 * (1 + place),
                "sigma_factor": 1.0, "seed": seed,
            }
            for (place, method), task, seed in product(enumerate(ORDER), ALL_TASKS, seeds)
        ]  # fmt: skip
        sweep = [
            {
                "method": "DSBM-IMF", "task": task, "sigma_factor": factor, "w2": 8.02 * factor,
                "path_energy": 40.0 / factor, "seed": seed,
            }
            for task, factor, seed in product(ALL_TASKS[:2], (0.5, 2.0), seeds)
        ]  # fmt: skip
        plan = [
            {
                "method": method, "sigma": sigma, "pass_number": n, "joint_w2": 1 / n + sigma + 0.1 * seed,
                "joint_floor": 0.1, "map_error": 2 / n, "map_floor": 0.2 + n % 2, "seed": seed,
            }
            for method, sigma, n, seed in product(("DSBM-IPF", "DSBM-IMF"), (0.5, 1.0), (1, 2, 3), seeds)
        ]  # fmt: skip
        self.tables: Mapping[Experiment, pd.DataFrame] = {
            gaussian: pd.DataFrame(gaussian_rows),
            gaussian_floor: pd.DataFrame(floor),
            exact_iterates: pd.DataFrame(iterates),
            exact_euler: pd.DataFrame(euler),
            exact_limits: pd.DataFrame(limits),
            plane: pd.DataFrame(plane_rows),
            plane_floor: pd.DataFrame([{"task": task, "w2": 0.5 + i, "seed": 0} for i, task in enumerate(ALL_TASKS)]),
            plane_sigma: pd.DataFrame(sweep),
            plan_distance: pd.DataFrame(plan),
            transfer: pd.DataFrame([{"seed": 0}]),
        }

    def table(self, experiment: Experiment) -> pd.DataFrame:
        return self.tables[experiment]

    def arrays(self, experiment: Experiment, **where: Any) -> list[tuple[Mapping[str, Any], Mapping[str, np.ndarray]]]:
        place = ORDER.index(where["method"]) if "method" in where else 0
        if experiment is gaussian:
            t = np.linspace(0, 1, 21)
            names = ("fitted_mean", "fitted_var", "exact_mean", "exact_var")
            return [(where, {"t": t} | {name: np.full(21, float(place + i)) for i, name in enumerate(names)})]
        if experiment is plane:
            points = {name: np.ones((500, 2)) for name in ("data_0", "data_1", "generated")}
            paths = {"flow_path": np.full((21, 200, 2), float(place))}
            if where["method"] in SDE:
                paths["sde_path"] = np.full((21, 200, 2), -float(place))
            return [(where, points | paths)]
        names = ("start_f", "transferred_f", "start_b", "transferred_b")
        return [({"method": "DSBM-IMF"}, {name: np.full((32, 1, 8, 8), place) for place, name in enumerate(names)})]


def panels(name: str, results: MadeUp) -> list[Any]:
    return list(BY_NAME[name].draw(results).axes)


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
@pytest.mark.parametrize("dims", [(5,), (5, 20, 50)], ids=["quick", "small"])
def test_every_panel_says_what_it_shows(figure: Figure, dims: tuple[int, ...]) -> None:
    drawn = figure.draw(MadeUp(dims))
    assert figure.alt.endswith(".")
    assert figure.caption.endswith(".")
    for axes in drawn.axes:
        if axes.axison:
            assert axes.get_title() or axes.get_xlabel()


def test_the_covariance_of_every_pass_is_shown_beside_its_exact_iterate() -> None:
    ipf, imf = panels("covariances", MadeUp())
    shown = {line.get_label(): line.get_ydata() for line in ipf.lines}
    assert np.allclose(shown["exact IPF"], [0.1, 0.2, 0.3, 0.4])
    assert np.allclose(shown["its drift in 20 steps"], [0.5, 1.0, 1.5, 2.0])
    assert [container.get_label() for container in ipf.containers] == ["DSB", "DSBM-IPF"]
    means = ipf.containers[1].lines[0].get_ydata()
    assert np.allclose(means, [2.11, 2.21, 2.31, 2.41])
    assert [container.get_label() for container in imf.containers] == ["DSBM-IMF"]


def test_the_variance_shown_is_that_of_the_end_a_pass_simulates_to() -> None:
    """Odd passes run backward and end in x_0, even ones in x_1."""
    _, imf = panels("variances", MadeUp())
    assert np.allclose(imf.containers[0].lines[0].get_ydata(), [101, 202, 103, 204])
    exact = next(line for line in imf.lines if line.get_label() == "exact IMF")
    assert np.allclose(exact.get_ydata(), [100, 200, 100, 200])


def test_published_kl_stands_beside_that_of_its_method_and_dimension() -> None:
    *by_dim, _ = panels("kl", MadeUp())
    for axes, dim in zip(by_dim, (5, 20, 50), strict=True):
        assert axes.get_title() == f"d = {dim}"
        marks = {round(float(c.lines[0].get_xdata()[0]), 2): float(c.lines[0].get_ydata()[0]) for c in axes.containers}
        for place, method in enumerate(GAUSSIAN_METHODS):
            assert marks[place] == pytest.approx(gmean([dim * (1 + place) + 0.1 * seed for seed in range(3)]))
            assert marks[round(place + 0.28, 2)] == GAUSSIAN_KL[method, dim].mean


def test_the_full_fit_stands_above_its_own_floor() -> None:
    for axes, dim in zip(panels("kl-full", MadeUp()), (5, 20, 50), strict=True):
        assert axes.get_title() == f"d = {dim}"
        marks = [float(container.lines[0].get_ydata()[0]) for container in axes.containers]
        assert marks == pytest.approx([1000.0 * dim * (1 + place) for place in range(len(GAUSSIAN_METHODS))])
        assert set(axes.lines[-1].get_ydata()) == {500.0 * dim}


def test_the_last_pass_alone_is_compared_with_the_table() -> None:
    results = MadeUp((5,))
    table = results.table(gaussian)
    results.tables = {**results.tables, gaussian: table.assign(kl_diagonal=table["pass_number"].astype(float))}
    (axes,) = panels("kl", results)
    seeds = [np.asarray(c.get_offsets())[:, 1].tolist() for c in axes.collections if isinstance(c, PathCollection)]
    assert seeds == [[4.0] * 3, [1.0] * 3, [4.0] * 3, [4.0] * 3]


def test_published_w2_stands_beside_that_of_its_method_and_task() -> None:
    drawn = panels("distances", MadeUp())
    for axes, task in zip(drawn[:4], ALL_TASKS, strict=True):
        assert axes.get_title() == task
        marks = {round(float(c.lines[0].get_xdata()[0]), 2): float(c.lines[0].get_ydata()[0]) for c in axes.containers}
        for place, method in enumerate(ORDER):
            assert marks[place] == pytest.approx(gmean([1 + place, 1.01 + place, 1.02 + place]))
            if (method, task) in PLANE_W2:
                assert marks[round(place + 0.28, 2)] == PLANE_W2[method, task].mean
        assert set(axes.lines[-1].get_ydata()) == {0.5 + ALL_TASKS.index(task)}
        assert len(marks) == len(ORDER) + sum(key[1] == task for key in PLANE_W2)


def test_the_two_parts_of_the_identity_are_stacked() -> None:
    left, right = panels("identity", MadeUp())
    tops = sorted({round(bar.get_y() + bar.get_height(), 9) for bar in left.patches})
    assert tops == pytest.approx([0.007, 0.01, 0.07, 0.1, 0.7, 1.0])
    assert right.lines[0].get_ydata().tolist() == [10, 9, 8, 7, 6]


def test_only_processes_have_stochastic_paths() -> None:
    axes = panels("paths", MadeUp())
    titles = [panel.get_title() for panel in axes]
    assert titles[: len(ORDER)] == [f"{method}, ODE" for method in ORDER]
    assert titles[len(ORDER) :] == [f"{method}, SDE" if method in SDE else "" for method in ORDER]


def test_the_sweep_over_sigma_is_relative_to_the_tables_own_run() -> None:
    """DSBM-IMF is fourth in order: W2 of 4.01 and an energy of 40 at factor 1."""
    w2, energy = panels("sigma", MadeUp())
    assert [line.get_label() for line in w2.lines] == list(ALL_TASKS[:2])
    for line in w2.lines:
        assert np.allclose(line.get_xdata(), [0.5, 1, 2])
        assert np.allclose(line.get_ydata(), [1, 1, 4])
    assert np.allclose(energy.lines[0].get_ydata(), [2, 1, 0.5])


def test_the_floor_of_the_plan_follows_the_direction_of_each_pass() -> None:
    drawn = panels("plan-distance", MadeUp())
    assert [axes.get_title() for axes in drawn] == ["σ = 0.5", "σ = 1"] * 2
    ipf, imf, floor = drawn[2].lines
    assert (ipf.get_label(), imf.get_label()) == ("DSBM-IPF", "DSBM-IMF")
    assert np.allclose(imf.get_ydata(), [2, 1, 2 / 3])
    assert np.allclose(floor.get_ydata(), [1.2, 0.2, 1.2])


def test_images_are_tiled_beside_what_they_start_from() -> None:
    drawn = panels("transfer", MadeUp())
    assert [axes.get_title().removeprefix("DSBM-IMF, ") for axes in drawn] == [
        "start, forward", "transferred, forward", "start, backward", "transferred, backward",
    ]  # fmt: skip
    for place, axes in enumerate(drawn):
        tiles = np.asarray(axes.images[0].get_array())
        assert tiles.shape == (4 * 8, 8 * 8)
        assert (tiles == place).all()
