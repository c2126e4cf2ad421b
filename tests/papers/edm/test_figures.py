"""EDM's figures on tables in which every number is its own: what is drawn is read back and compared with them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

from common.harness.studies.experiment import Experiment
from common.harness.studies.figure import Figure
from common.harness.studies.looks import tiles
from common.harness.studies.panels import where
from papers.edm.configs import VP_CONFIGS
from papers.edm.paper import PAPER
from papers.edm.published import BASELINE_NFE, VP_FID
from papers.edm.studies.churn import CHURNS, churn
from papers.edm.studies.comparison import student_interval
from papers.edm.studies.convergence import convergence
from papers.edm.studies.cost import SAMPLERS, sampling_cost
from papers.edm.studies.curvature import CURVES, curvature
from papers.edm.studies.methods import LAWS, LETTERS, SCHEDULES, SOLVERS
from papers.edm.studies.rho import rho_sweep
from papers.edm.studies.training import training
from tests.papers.edm.tables import seeds_of, table

FIGURES = {figure.name: figure for study in PAPER.load().values() for figure in study.figures}
SIGMA = np.geomspace(0.003, 80, 9)
DRAWN = [
    (name, preset)
    for name, figure in FIGURES.items()
    for preset in ("quick", "small", "gpu")
    if all(preset in experiment.presets for experiment in figure.experiments)
]


class MadeUp:
    """Tables of decoys, and arrays drawn anew for every run."""

    def __init__(self, preset: str) -> None:
        self.preset = preset

    def table(self, experiment: Experiment) -> pd.DataFrame:
        return _table(experiment, self.preset)

    def arrays(self, experiment: Experiment, **where: Any) -> list[tuple[Mapping[str, Any], Mapping[str, np.ndarray]]]:
        runs = [
            ({**vars(config), "seed": seed}, _arrays(experiment, str(config), seed, vars(config).get("dataset", "")))
            for config in experiment.presets[self.preset].configs
            for seed in seeds_of(experiment, self.preset)
        ]
        return [run for run in runs if all(run[0][key] == value for key, value in where.items())]


@cache
def _table(experiment: Experiment, preset: str) -> pd.DataFrame:
    return table(experiment, preset)


@cache
def _arrays(experiment: Experiment, config: str, seed: int, dataset: str) -> Mapping[str, np.ndarray]:
    draw = np.random.default_rng(abs(hash((config, seed))))
    if experiment is curvature:
        states = {f"{axis}_{schedule}": draw.normal(size=(200, 30)) for schedule in CURVES for axis in "x"}
        times = {f"t_{schedule}": np.sort(draw.random(200))[::-1] for schedule in CURVES}
        return {"sigma": SIGMA, "unscaled": draw.normal(size=(200, 50, 2)), **states, **times}
    channels = 3 if dataset == "cifar10" else 1
    loss = {name: draw.random(len(SIGMA)) for name in ("loss_initial", "loss_final")}
    return {"sigma": SIGMA, "samples": draw.uniform(-1, 1, (40, channels, 8, 8)), **loss}


@cache
def drawn(name: str, preset: str) -> Any:
    return FIGURES[name].draw(MadeUp(preset))


def lines(axes: Any, label: str) -> list[np.ndarray]:
    """The lines of a label, each as (points, 2)."""
    return [np.column_stack(line.get_data()) for line in axes.lines if line.get_label() == label]


def shows(axes: Any, points: Any, colour: str | None = None) -> bool:
    """Whether one of the lines goes through just these points (in this colour)."""
    from matplotlib.colors import to_rgba

    wanted = np.asarray(points, float)
    return any(
        np.column_stack(line.get_data()).shape == wanted.shape
        and np.allclose(np.column_stack(line.get_data()).astype(float), wanted)
        and (colour is None or to_rgba(line.get_color()) == to_rgba(colour))
        for line in axes.lines
    )


def band(axes: Any, colour: str) -> np.ndarray:
    """The corners of the filled band of a colour."""
    from matplotlib.colors import to_rgb

    (found,) = [
        c for c in axes.collections if len(c.get_facecolor()) and tuple(c.get_facecolor()[0][:3]) == to_rgb(colour)
    ]
    return found.get_paths()[0].vertices


@pytest.mark.parametrize(("name", "preset"), DRAWN)
def test_every_panel_is_labelled_and_fits_the_column(name: str, preset: str) -> None:
    figure, picture = FIGURES[name], drawn(name, preset)
    assert figure.alt.endswith(".")
    assert figure.caption.endswith(".")
    assert picture.get_size_inches()[0] <= 8
    in_row: dict[int, int] = {}
    for axes in picture.axes:
        row = axes.get_subplotspec().rowspan.start
        in_row[row] = in_row.get(row, 0) + 1
        if axes.axison:
            assert axes.get_xlabel()
            assert axes.get_title() != axes.get_xlabel()
    assert max(in_row.values()) <= 2
    # 700 px for the width: a point of the figure is 700 / (72 width) of them, and text has 9 at least.
    scale = 700 / (72 * picture.get_size_inches()[0])
    texts = [
        text for axes in picture.axes if axes.axison for text in (*axes.get_xticklabels(), *axes.get_yticklabels())
    ]
    texts += [axes.title for axes in picture.axes]
    assert min(text.get_fontsize() * scale for text in texts) >= 9


@pytest.mark.parametrize("preset", ["quick", "small"])
def test_trajectories_are_those_of_the_runs(preset: str) -> None:
    plane, *clocks, rest = drawn("trajectories", preset).axes
    (_, arrays), *_ = MadeUp(preset).arrays(curvature, field="mixture", sigma_max=80.0)
    assert len(plane.lines) == 40
    for k, line in enumerate(plane.lines):
        np.testing.assert_array_equal(np.column_stack(line.get_data()), arrays["unscaled"][::4, k])
    np.testing.assert_array_equal(plane.collections[0].get_offsets(), arrays["unscaled"][-1, :40])
    assert plane.collections[0].get_rasterized()
    assert [panel.get_title() for panel in clocks] == [SCHEDULES[schedule].name for schedule in CURVES]
    for panel, schedule in zip(clocks, CURVES, strict=True):
        assert len(panel.lines) == 24
        for k, line in enumerate(panel.lines):
            t, x = line.get_data()
            assert line.get_color() == SCHEDULES[schedule].colour
            kept = np.isin(arrays[f"t_{schedule}"], t)
            assert kept[::4].all()
            np.testing.assert_array_equal(x, arrays[f"x_{schedule}"][kept, k])
    assert not rest.axison


@pytest.mark.parametrize("preset", ["quick", "small"])
def test_curvature_has_the_mean_and_the_interval_of_each_schedule_and_law(preset: str) -> None:
    (panel,) = drawn("curvature", preset).axes
    rows = where(_table(curvature, preset), sigma_max=80.0)
    labels = [text.get_text() for text in panel.get_yticklabels()]
    assert labels == [SCHEDULES[schedule].name for schedule in ("ve", "vp", "cosine", "edm")]
    assert [text.get_text() for text in panel.get_legend().get_texts()] == [law.name for law in LAWS.values()]
    for shift, (field, law) in zip((-0.12, 0.12), LAWS.items(), strict=True):
        for place, schedule in enumerate(("ve", "vp", "cosine", "edm")):
            values = where(rows, field=field, schedule=schedule)["curvature"]
            assert shows(panel, [[values.mean(), place + shift]], law.colour)
            low, high = student_interval(values)
            assert shows(panel, [[low, place + shift], [high, place + shift]], law.colour)


@pytest.mark.parametrize("preset", ["quick", "small"])
def test_errors_are_means_over_seeds_and_rings_stand_at_the_published_nfe(preset: str) -> None:
    left, right = drawn("error-against-nfe", preset).axes
    rows = where(_table(convergence, preset), field="digits")
    for solver, order in (("euler", 1), ("heun", 2)):
        mean = where(rows, solver=solver).groupby("nfe")["error"].mean()
        (curve,), (slope,) = lines(left, SOLVERS[solver].name), lines(left, f"slope −{order}")
        np.testing.assert_allclose(curve, mean.reset_index().to_numpy())
        np.testing.assert_allclose(slope[-1], curve[-1])
        np.testing.assert_allclose(np.diff(np.log(slope[:, 1])) / np.diff(np.log(slope[:, 0])), -order)
    cost = _table(sampling_cost, preset)
    labels = {"vp": "Euler, VP", "ve": "Euler, VE", "iddpm": "Euler, iDDPM", "edm": "Heun, EDM"}
    assert set(labels) == set(SAMPLERS)
    for sampler, label in labels.items():
        mean = where(cost, sampler=sampler).groupby("nfe")["error"].mean()
        (curve,) = lines(right, label)
        np.testing.assert_allclose(curve, mean.reset_index().to_numpy())
        assert shows(right, curve, SCHEDULES[sampler].colour)
    (rings,) = lines(right, "published NFE")
    at = [(nfe, where(cost, sampler=sampler, nfe=nfe)["error"].mean()) for sampler, nfe in BASELINE_NFE.items()]
    np.testing.assert_allclose(rings, at)


@pytest.mark.parametrize("preset", ["quick", "small"])
def test_the_sweep_has_either_column_in_its_panel(preset: str) -> None:
    rows, colour = _table(rho_sweep, preset), SCHEDULES["edm"].colour
    for panel, column in zip(drawn("rho-sweep", preset).axes, ("error", "fd_digits"), strict=True):
        assert panel.get_ylabel().startswith(column.replace("error", "median error"))
        by_rho = rows.groupby("rho")[column]
        (curve,) = lines(panel, "mean of seeds")
        np.testing.assert_allclose(curve, by_rho.mean().reset_index().to_numpy())
        corners = band(panel, colour)
        for rho, values in by_rho:
            heights = corners[np.isclose(corners[:, 0], float(str(rho))), 1]
            low, high = student_interval(values)
            assert np.isclose(heights.max(), high)
            assert np.isclose(heights.min(), max(low, 1e-12))


TRAINING_PRESETS = [preset for name, preset in DRAWN if name == "ablation"]


def letters_of(preset: str) -> tuple[str, str]:
    dataset = {"quick": "digits", "small": "mnist", "gpu": "cifar10"}[preset]
    return ("CDE" if preset == "quick" else "ABCDEF"), dataset


@pytest.mark.parametrize("preset", TRAINING_PRESETS)
def test_loss_by_noise_level_is_after_training_and_dotted_before(preset: str) -> None:
    (panel,) = drawn("loss-per-noise-level", preset).axes
    letters, dataset = letters_of(preset)
    for letter in letters:
        runs = [arrays for _, arrays in MadeUp(preset).arrays(training, letter=letter, dataset=dataset)]
        final = np.stack([run["loss_final"] for run in runs])
        (curve,) = lines(panel, f"{letter}, trained")
        np.testing.assert_allclose(curve, np.column_stack([SIGMA, final.mean(0)]))
        assert shows(panel, curve, LETTERS[letter].colour)
        corners = band(panel, LETTERS[letter].colour)
        top = [corners[np.isclose(corners[:, 0], sigma), 1].max() for sigma in SIGMA]
        np.testing.assert_allclose(top, final.mean(0) + final.std(0))
    (start,) = lines(panel, f"{letters[-1]}, at the start")
    np.testing.assert_allclose(start, np.column_stack([SIGMA, runs[0]["loss_initial"]]))


@pytest.mark.parametrize("preset", TRAINING_PRESETS)
def test_samples_are_those_of_their_letter_in_seed_0(preset: str) -> None:
    letters, dataset = letters_of(preset)
    panels = drawn("samples", preset).axes
    assert [panel.get_title() for panel in panels if panel.images] == list(letters)
    for panel, letter in zip(panels, letters, strict=False):
        ((_, arrays),) = MadeUp(preset).arrays(training, letter=letter, dataset=dataset, seed=0)
        sheet = tiles(arrays["samples"][:32], columns=8)
        np.testing.assert_allclose(panel.images[0].get_array(), sheet if dataset != "cifar10" else (sheet + 1) / 2)


@pytest.mark.parametrize("preset", TRAINING_PRESETS)
def test_ablation_shows_every_letter_with_its_seeds_and_the_published_fid(preset: str) -> None:
    ours, published = drawn("ablation", preset).axes
    letters, dataset = letters_of(preset)
    rows = where(_table(training, preset), dataset=dataset)
    metric = {"digits": "fd_digits", "mnist": "fd_mnist", "cifar10": "FID"}[dataset]
    assert ours.get_xlabel() == f"{metric}, n = {rows['n'].iloc[0]}, 35 NFE"
    for panel in (ours, published):
        labels = [text.get_text() for text in panel.get_yticklabels()]
        assert labels == [f"{letter}  {VP_CONFIGS[letter].change}" for letter in letters]
        bottom, top = panel.get_ylim()
        assert bottom > top, "A is the first from above"
    for place, letter in enumerate(letters):
        fd = where(rows, letter=letter)["fd"]
        low, high = student_interval(fd)
        assert shows(ours, [[value, place] for value in fd])
        assert shows(ours, [[fd.mean(), place]], LETTERS[letter].colour)
        assert shows(ours, [[low, place], [high, place]], LETTERS[letter].colour)
        assert shows(published, [[VP_FID[letter].unconditional, place]], LETTERS[letter].colour)
    (floor,) = lines(ours, "same-distribution floor")
    np.testing.assert_allclose(floor[:, 0], rows["floor"].mean())
    copy = dict(zip("ABCDEF", ("3.01", "2.51", "2.31", "2.29", "2.05", "1.97"), strict=True))
    assert [text.get_text() for text in published.texts] == [copy[letter] for letter in letters]


@pytest.mark.parametrize("preset", ["quick", "small"])
def test_churn_has_a_panel_for_each_source_with_its_seeds_means_and_floor(preset: str) -> None:
    *panels, legend = drawn("churn", preset).axes
    rows = _table(churn, preset)
    network, n_network, n_exact = {"quick": ("fd_digits", 400, 400), "small": ("fd_mnist", 500, 1000)}[preset]
    sources = (
        ({"letter": "C"}, "(C)", f"{network}, n = {n_network}"),
        ({"letter": "E"}, "(E)", f"{network}, n = {n_network}"),
        ({"denoiser": "exact"}, "exact denoiser", f"fd_digits, n = {n_exact}"),
    )
    for panel, (source, title, label) in zip(panels, sources, strict=True):
        assert panel.get_title().endswith(title)
        assert panel.get_ylabel() == label
        assert [text.get_text() for text in panel.get_xticklabels()] == list(CHURNS)
        of_source = where(rows, **source)
        for _, one in of_source.groupby("seed"):
            assert shows(panel, [[k, where(one, amount=amount)["fd"].item()] for k, amount in enumerate(CHURNS)])
        for place, amount in enumerate(CHURNS):
            fd = where(of_source, amount=amount)["fd"]
            assert shows(panel, [[place, fd.mean()]])
            low, high = student_interval(fd)
            assert shows(panel, [[place, low], [place, high]])
        (floor,) = lines(panel, "same-distribution floor")
        np.testing.assert_allclose(floor[:, 1], of_source["floor"].mean())
    names = {text.get_text() for text in legend.get_legend().get_texts()}
    assert names == {"one seed", "mean, with 95 % interval", "same-distribution floor"}


def testtiles_keep_images_in_reading_order() -> None:
    images = np.arange(8.0)[:, None, None, None] * np.ones((8, 1, 2, 2))
    tiled = tiles(images, columns=4)
    assert tiled.shape == (8, 16)
    assert tiled[1::4, 1::4].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert (tiled[0] == -1).all()


def test_every_figure_is_read_back() -> None:
    assert set(FIGURES) == {
        "trajectories", "curvature", "error-against-nfe", "rho-sweep", "loss-per-noise-level", "samples", "ablation",
        "churn",
    }  # fmt: skip
    assert all(isinstance(figure, Figure) for figure in FIGURES.values())


def test_a_tile_is_its_image_upright() -> None:
    images = np.random.default_rng(0).random((4, 2, 3, 5))
    sheet = tiles(images, columns=2)
    assert sheet.shape == (2 * 5, 2 * 7, 2)
    np.testing.assert_array_equal(sheet[6:9, 1:6], images[2].transpose(1, 2, 0))
