"""DSBM's figures on made-up results, in which every number is another: what is drawn is read back and compared.

Each test says in its own words which numbers of the tables the figure has to show.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import same_color
from matplotlib.text import Text
from scipy.stats import gmean, t

from papers.dsbm.published import GAUSSIAN_KL, PLANE_ENERGY, PLANE_W2
from papers.dsbm.studies.energy import PATHS, plane_sigma
from papers.dsbm.studies.estimator import gaussian_floor
from papers.dsbm.studies.exact import exact_iterates
from papers.dsbm.studies.gaussian import GAUSSIAN_METHODS, gaussian
from papers.dsbm.studies.iterates import exact_euler
from papers.dsbm.studies.limits import exact_limits
from papers.dsbm.studies.methods import LOOKS
from papers.dsbm.studies.plan import plan_distance
from papers.dsbm.studies.plane import ALL_TASKS, MIXED, plane, plane_floor
from tests.papers.dsbm.made import SDE
from tests.papers.dsbm.reading import DRAWN, FIGURES, ORDER, RESULTS, bars, clouds, draw, lines, panels, pictures, rows


@pytest.mark.parametrize(("name", "preset"), DRAWN)
def test_every_figure_fits_the_column_and_says_what_it_shows(name: str, preset: str) -> None:
    """In 700 px an inch of these figures is 87 px and a point 1.2."""
    figure, drawn = FIGURES[name], draw(name, preset)
    assert figure.alt.endswith(".")
    assert figure.caption.endswith(".")
    drawn.canvas.draw()
    assert drawn.get_size_inches()[0] == 8
    tops = [round(axes.get_position().y0, 2) for axes in drawn.axes]
    assert max(tops.count(top) for top in tops) <= 2
    texts = [text for text in drawn.findobj(Text) if text.get_text() and text.get_visible()]
    assert min(float(text.get_fontsize()) for text in texts) * 700 / 576 >= 9
    for axes in drawn.axes:
        assert axes.get_title() or axes.get_xlabel() or not axes.axison or len(drawn.axes) == 1
    markers = {axes.get_legend_handles_labels()[1] == [] for axes in drawn.axes}
    assert drawn.legends or markers == {True}


def estimate(values: Any) -> tuple[float, float]:
    """Mean and half of the 95 % interval, by the textbook."""
    values = np.asarray(values, dtype=float)
    return values.mean(), t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5


@pytest.mark.parametrize("preset", ["quick", "small"])
@pytest.mark.parametrize("name", ["covariances", "variances"])
def test_every_pass_is_shown_beside_its_exact_iterate(name: str, preset: str) -> None:
    """Of the largest dimension. A variance is of the end that a pass simulates: x_0 after odd ones, x_1 after even."""
    dim = 5 if preset == "quick" else 50
    passes = range(1, 5 if preset == "quick" else 11)

    def column(pass_number: int) -> str:
        return "correlation" if name == "covariances" else ("var_1", "var_0")[pass_number % 2]

    ipf = ["DSBM-IPF"] if preset == "quick" else ["DSB", "DSBM-IPF"]
    for axes, methods, kind in zip(panels(name, preset), (ipf, ["DSBM-IMF"]), ("ipf", "imf"), strict=True):
        shown = lines(axes)
        assert set(shown) == {"exact", "exact drift in 20 steps", *methods}
        for method in methods:
            of = {n: rows(gaussian, preset, method=method, dim=dim, pass_number=n) for n in passes}
            means, halves = zip(*(estimate(of[n][column(n)]) for n in passes), strict=True)
            assert shown[method][:, 1] == pytest.approx(means)
            (container,) = (c for c in bars(axes) if c.get_label() == method)
            halves_drawn = [np.ptp(segment[:, 1]) / 2 for segment in container.lines[2][0].get_segments()]
            assert halves_drawn == pytest.approx(halves)
            assert same_color(container.lines[0].get_color(), LOOKS[method].colour)
        assert shown["exact"][:, 1] == pytest.approx([of[n][f"exact_{column(n)}"].mean() for n in passes])
        euler = rows(exact_euler, preset, method=kind).set_index("pass_number")
        wanted = euler["correlation" if name == "covariances" else "var_free"].loc[list(passes)]
        assert shown["exact drift in 20 steps"][:, 1] == pytest.approx(wanted.to_numpy())


@pytest.mark.parametrize("preset", ["quick", "small"])
def test_marginals_are_means_over_seeds_of_the_largest_dimension(preset: str) -> None:
    dim = 5 if preset == "quick" else 50
    for axes, quantity in zip(panels("marginals", preset), ("mean", "var"), strict=True):
        shown = lines(axes)
        assert list(shown)[:-1] == [m for m in ORDER if m in set(rows(gaussian, preset)["method"])]
        for method in list(shown)[:-1]:
            runs = [run for _, run in RESULTS[preset].arrays(gaussian, method=method, dim=dim)]
            assert len(runs) == (3 if preset == "quick" else 5)
            assert shown[method][:, 1] == pytest.approx(np.mean([run[f"fitted_{quantity}"] for run in runs], axis=0))
        assert shown["exact bridge"][:, 1] == pytest.approx(runs[0][f"exact_{quantity}"])


def assert_dots(axes: Axes, table: pd.DataFrame, column: str, published: dict[str, Any]) -> None:
    """A row for each method: its seeds, their geometric mean, and the published value and spread below."""
    methods = [tick.get_text() for tick in axes.get_yticklabels()]
    assert methods == [method for method in ORDER if method in set(table["method"])]
    seeds, marks = clouds(axes), {}
    for container in bars(axes):
        ((x, y),) = np.asarray(container.lines[0].get_xydata())
        marks[round(float(y), 2)] = (float(x), container)
    assert len(marks) == len(methods) + len(published)
    for place, method in enumerate(methods):
        values = table[table["method"] == method][column]
        assert sorted(seeds[place][:, 0]) == pytest.approx(sorted(values))
        assert set(seeds[place][:, 1]) == {place}
        mean, container = marks[place]
        assert mean == pytest.approx(gmean(values))
        assert same_color(container.lines[0].get_color(), LOOKS[method].colour)
        if method in published:
            mean, container = marks[round(place + 0.3, 2)]
            assert mean == published[method].mean
            (segment,) = container.lines[2][0].get_segments()
            assert np.ptp(segment[:, 0]) / 2 == pytest.approx(published[method].spread or 0)


def vertical(axes: Axes) -> float:
    """Where the dotted line is."""
    (line,) = (line for line in axes.lines if line.get_linestyle() == ":")
    (x,) = set(np.asarray(line.get_xdata()).tolist())
    return float(x)


@pytest.mark.parametrize("preset", ["quick", "small"])
@pytest.mark.parametrize(("name", "fit"), [("kl", "diagonal"), ("kl-full", "full")])
def test_the_kl_of_the_last_pass_stands_beside_its_floor(name: str, fit: str, preset: str) -> None:
    dims = (5,) if preset == "quick" else (5, 20, 50)
    for axes, dim in zip(panels(name, preset), dims, strict=False):
        assert axes.get_title() == f"d = {dim}"
        assert axes.get_xlabel() == f"mean KL × 10³, {fit} fit"
        published = {m: cell for (m, of), cell in GAUSSIAN_KL.items() if of == dim and (m, preset) != ("DSB", "quick")}
        table = rows(gaussian, preset, dim=dim, final=True)
        assert_dots(axes, table, f"kl_{fit}", published if fit == "diagonal" else {})
        assert vertical(axes) == pytest.approx(rows(gaussian_floor, preset, dim=dim)[f"floor_{fit}"].mean())
    assert len(panels(name, preset)) == len(dims) + (len(dims) > 1 and fit == "diagonal")


def test_growth_shows_the_mean_of_each_dimension_and_the_published_one() -> None:
    drawn = panels("kl", "small")[-1].lines
    assert len(drawn) == 2 * len(GAUSSIAN_METHODS)
    for number, method in enumerate(GAUSSIAN_METHODS):
        ours, theirs = drawn[2 * number : 2 * number + 2]
        means = [rows(gaussian, "small", method=method, dim=d, final=True)["kl_diagonal"].mean() for d in (5, 20, 50)]
        assert ours.get_ydata() == pytest.approx(means)
        assert theirs.get_ydata() == pytest.approx([GAUSSIAN_KL[method, d].mean for d in (5, 20, 50)])
        assert all(np.array_equal(np.asarray(line.get_xdata()), [5, 20, 50]) for line in (ours, theirs))
        assert same_color(ours.get_color(), LOOKS[method].colour)


@pytest.mark.parametrize("preset", ["quick", "small"])
@pytest.mark.parametrize(
    ("name", "column", "cells"), [("distances", "w2", PLANE_W2), ("energies", "path_energy", PLANE_ENERGY)]
)
def test_the_table_of_the_plane_stands_beside_the_published_one(
    name: str, column: str, cells: dict[Any, Any], preset: str
) -> None:
    tasks = (MIXED,) if preset == "quick" else ALL_TASKS
    for axes, task in zip(panels(name, preset), tasks, strict=True):
        assert axes.get_title() == task
        table = rows(plane, preset, task=task)
        published = {method: cell for (method, of), cell in cells.items() if of == task}
        assert_dots(axes, table, column, {m: c for m, c in published.items() if m in set(table["method"])})
        if name == "distances":
            assert vertical(axes) == pytest.approx(rows(plane_floor, preset, task=task)["w2"].mean())


@pytest.mark.parametrize("preset", ["quick", "small"])
def test_convergence_shows_each_sigma_of_the_papers_pair(preset: str) -> None:
    for axes, method in zip(panels("exact-convergence", preset), ("ipf", "imf"), strict=True):
        assert axes.get_title() == method.upper()
        for sigma in (0.25, 0.5, 1.0, 2.0, 4.0):
            table = rows(exact_iterates, preset, pair="unit", method=method, sigma=sigma)
            assert lines(axes)[f"σ = {sigma:g}"][:, 1] == pytest.approx(table["kl"].to_numpy())


def test_the_two_parts_of_the_identity_are_stacked_below_the_whole() -> None:
    table = rows(exact_iterates, "quick", pair="general", method="imf", sigma=1.0)
    left, right = panels("identity", "quick")
    parts, rest = left.containers
    first = table[table["iterate"] < table["identities"]]
    assert [bar.get_height() for bar in parts] == pytest.approx(first["kl_projection"].tolist())
    assert [bar.get_y() for bar in rest] == pytest.approx(first["kl_projection"].tolist())
    assert [bar.get_height() for bar in rest] == pytest.approx(first["kl_markov"].tolist())
    assert clouds(left)[0] == pytest.approx(first[["iterate", "kl"]].to_numpy())
    assert lines(right)["regularised cost"][:, 1] == pytest.approx(table["entropic_cost"].to_numpy())


def test_limits_show_the_general_pair() -> None:
    (axes,) = panels("limits", "quick")
    table = rows(exact_limits, "quick", pair="general")
    for label, column in (
        ("one pass of IMF to rectified flow", "first_to_rectified"),
        ("bridge to optimal transport", "bridge_to_transport"),
        ("bridge to independent ends", "bridge_to_independent"),
    ):
        assert lines(axes)[label] == pytest.approx(table[["sigma", column]].to_numpy())


def test_the_sweep_over_sigma_is_relative_to_the_tables_own_run() -> None:
    for axes, column in zip(panels("sigma", "small"), ("w2", "path_energy"), strict=True):
        for task in ("moons", MIXED):
            own = rows(plane, "small", method="DSBM-IMF", task=task)[column].mean()
            swept = rows(plane_sigma, "small", task=task).groupby("sigma_factor")[column].mean() / own
            shown = lines(axes)[f"DSBM-IMF, {task}"]
            assert shown[:, 0].tolist() == [0.25, 0.5, 1.0, 2.0]
            assert shown[:, 1] == pytest.approx([swept[0.25], swept[0.5], 1.0, swept[2.0]])


@pytest.mark.parametrize("preset", ["quick", "small"])
def test_generated_points_of_each_method_lie_over_its_tasks_data(preset: str) -> None:
    tasks = (MIXED,) if preset == "quick" else ALL_TASKS
    for axes, task in zip(draw("generated", preset).axes, tasks, strict=True):
        assert axes.get_title() == task
        there = [method for method in ORDER if len(rows(plane, preset, task=task, method=method))]
        assert [picture.get_title() for picture in pictures(axes)] == there
        for picture, method in zip(pictures(axes), there, strict=True):
            ((_, arrays),) = RESULTS[preset].arrays(plane, method=method, task=task, seed=0)
            data, generated = clouds(picture)
            assert data == pytest.approx(arrays["data_0"])
            assert generated == pytest.approx(arrays["generated"])
            assert same_color(np.asarray(picture.collections[1].get_facecolor())[0], LOOKS[method].colour)


@pytest.mark.parametrize("preset", ["quick", "small"])
def test_paths_are_the_methods_own_and_only_processes_have_stochastic_ones(preset: str) -> None:
    methods = [method for method in ORDER if len(rows(plane, preset, task=MIXED, method=method))]
    ode, sde = draw("paths", preset).axes
    assert (ode.get_title(), sde.get_title()) == (f"ODE, {MIXED}", f"SDE, {MIXED}")
    for axes, key, there in ((ode, "flow_path", methods), (sde, "sde_path", [m for m in methods if m in SDE])):
        assert [picture.get_title() for picture in pictures(axes)] == there
        for picture, method in zip(pictures(axes), there, strict=True):
            ((_, arrays),) = RESULTS[preset].arrays(plane, method=method, task=MIXED, seed=0)
            way, starts, ends = (np.asarray(line.get_xydata()) for line in picture.lines)
            gaps = np.isnan(way[:, 0])
            assert gaps.sum() == PATHS
            assert way[~gaps].reshape(PATHS, 11, 2) == pytest.approx(arrays[key][::2, :PATHS].transpose(1, 0, 2))
            assert starts == pytest.approx(arrays[key][0, :PATHS])
            assert ends == pytest.approx(arrays[key][-1, :PATHS])
            assert clouds(picture)[0] == pytest.approx(arrays["data_1"])
            assert same_color(picture.lines[0].get_color(), LOOKS[method].colour)


def test_the_distance_to_the_plan_has_its_own_floor_in_each_pass() -> None:
    drawn = panels("plan-distance", "small")
    for row, sigma in enumerate((0.5, 1.0, 2.0)):
        for axes, column, floor in zip(
            drawn[2 * row : 2 * row + 2], ("joint_w2", "map_error"), ("joint_floor", "map_floor"), strict=True
        ):
            assert axes.get_title() == f"σ = {sigma:g}"
            shown = lines(axes)
            bands = [np.asarray(band.get_paths()[0].vertices) for band in axes.collections]
            for band, method in zip(bands, ("DSBM-IPF", "DSBM-IMF"), strict=True):
                seeds = rows(plan_distance, "small", sigma=sigma, method=method).groupby("pass_number")[column]
                assert shown[method][:, 1] == pytest.approx(seeds.mean().to_numpy())
                assert band[:, 1].min() == pytest.approx(seeds.min().min())
                assert band[:, 1].max() == pytest.approx(seeds.max().max())
            floors = rows(plan_distance, "small", sigma=sigma).groupby("pass_number")[floor].mean()
            assert shown["two true plans"][:, 1] == pytest.approx(floors.to_numpy())


def test_images_are_tiled_beside_what_they_start_from() -> None:
    drawn = draw("transfer", "gpu").axes
    runs = RESULTS["gpu"].arrays(FIGURES["transfer"].experiments[0], seed=0)
    wanted = [
        (f"{config['method']}, {way}, {word}", arrays[f"{word}_{way[0]}"])
        for config, arrays in runs
        for way in ("forward", "backward")
        for word in ("start", "transferred")
    ]
    for axes, (title, images) in zip(drawn, wanted, strict=True):
        assert axes.get_title() == title
        tiles = np.asarray(axes.images[0].get_array())
        assert tiles.shape == (4 * 8, 8 * 8)
        for place in (0, 9, 31):
            row, column = divmod(place, 8)
            tile = tiles[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            assert (tile == images[place, 0]).all()
