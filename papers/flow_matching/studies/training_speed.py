"""Does flow matching train faster, and an adaptive solver cost the same meanwhile (Section 6.1, Figures 5 and 10)?

At equal distances along their training the averages of the weights are looked at: the Frechet distance of their
samples, and the evaluations that dopri5 takes at a tolerance of 1e-5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import Grid, Resources, Row, Run, at_least, experiment, one_of
from common.harness.studies.figure import Figure, Results
from common.harness.studies.looks import legend
from common.harness.studies.measures import Measure, first_reached, per_seed, pick
from common.harness.studies.panels import finish, panels, where
from common.harness.studies.study import Study
from common.training.stream import stream
from papers.flow_matching.objective import OBJECTIVES
from papers.flow_matching.solvers import CountedVelocity, dopri5
from papers.flow_matching.studies.images import DATASETS, SAMPLING, look_at
from papers.flow_matching.studies.looks import METHODS
from papers.flow_matching.studies.networks import NETWORKS, network, noise
from papers.flow_matching.studies.table import CHUNK, SCALED_DOWN
from papers.flow_matching.studies.training import trained, trained_velocity

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as MatplotlibFigure

TOLERANCE = 1e-2
"""Of dopri5, for the samples whose Frechet distance is taken along the training."""


@dataclass(frozen=True)
class ProgressConfig:
    """One training, looked at along its way."""

    network: str
    """One of `NETWORKS`."""
    objective: str
    n_samples: int = 300
    n_solved: int = 8
    """Samples that dopri5 carries at once where its evaluations are counted."""

    def __post_init__(self) -> None:
        one_of(NETWORKS, self, "network")
        one_of(OBJECTIVES, self, "objective")
        at_least(2, self, "n_samples")
        at_least(1, self, "n_solved")


FM, OTHERS = ("fm-ot", "fm-vp"), ("score",)
"""`quick` has flow matching alone."""


@experiment(
    ProgressConfig,
    {
        "quick": Grid([ProgressConfig("perceptron", name) for name in FM], 4),
        "small": Grid([ProgressConfig("unet", name) for name in (*FM, *OTHERS)], 5),
        "gpu": Grid([ProgressConfig("large unet", name, 5000, 64) for name in (*FM, *OTHERS)], 8),
    },
    {"seen": int, "fd": float, "nfe": int},
    resources={"gpu": Resources(cpus=4, gpus=1.0)},
    needs=lambda config, seed: {"network": trained(config.network, config.objective, seed)},
    prepare=lambda config: look_at(NETWORKS[config.network].dataset, NETWORKS[config.network].resolution),
    tolerance=0.05,  # trained, and solved adaptively
)
def progress(config: ProgressConfig, seed: int, run: Run) -> list[Row]:
    """Frechet distance and dopri5's evaluations at each look, from the same noise at all of them."""
    made, last = network(config.network, config.objective), OBJECTIVES[config.objective].path.last
    x_0 = noise(made, config.n_samples, stream(seed, SAMPLING, run.device))
    rows: list[Row] = []
    for look, steps in enumerate(made.kept_after, 1):
        velocity = trained_velocity(made, run.needs["network"], run.device, look)
        parts = [dopri5(velocity, x, t_1=last, atol=TOLERANCE, rtol=TOLERANCE) for x in x_0.split(CHUNK)]
        counted = CountedVelocity(velocity)
        dopri5(counted, x_0[: config.n_solved], t_1=last)
        fd = DATASETS[made.dataset].fd(torch.cat(parts))
        rows.append({"seen": steps * made.batch, "fd": fd, "nfe": counted.nfe})
    return rows


def share_of_training() -> Measure:
    """Images after which FM on the OT path has the distance that FM on the diffusion path ends with, over all of the
    latter's."""

    def share(rows: pd.DataFrame) -> float:
        ot, vp = (pick(rows, {"objective": name}) for name in ("fm-ot", "fm-vp"))
        end, distance = max(zip(vp["seen"], vp["fd"], strict=True))
        return first_reached([*ot["seen"]], [*ot["fd"]], distance) / end

    picks = tuple({"objective": name} for name in ("fm-ot", "fm-vp"))
    return per_seed(share, ("objective", "seen", "fd"), picks)


def drift(objective: str) -> Measure:
    """The most evaluations over the fewest, of all looks."""
    return per_seed(lambda rows: float(rows["nfe"].max() / rows["nfe"].min()), ("nfe",), objective=objective)


def _drift(objective: str, criterion: Criterion) -> Quantity:
    return Quantity(
        METHODS[objective].name,
        progress,
        drift(objective),
        criterion,
        metric="most over fewest evaluations of dopri5, of all looks",
        unit="×",
        scale="log",
    )


CLAIMS = (
    Claim(
        "training-speed",
        "Flow matching on the OT path trains faster: it has the quality that flow matching on the diffusion path ends "
        "with after fewer images.",
        "Section 6.1, Figure 5",
        (
            Quantity(
                "images, OT over diffusion",
                progress,
                share_of_training(),
                Criterion(
                    upper=0.95,
                    reason="the claim is the sign; what less than a twentieth saves is lost between two looks",
                ),
                metric="images to the Frechet distance that the diffusion path ends with, over all of its images",
                unit="×",
                scale="log",
            ),
        ),
        presets=("quick", "small", "gpu"),
        headline=True,
        excludes="the diffusion path in the place of the OT path (a ratio of 1)",
        deviation=SCALED_DOWN + " Figure 5 has no numbers; ours are log-log interpolated between four looks. "
        "Samples are solved at a tolerance of 1e-2.",
    ),
    Claim(
        "training-evaluations",
        "While flow matching on the OT path trains, the evaluations of an adaptive solver hardly change.",
        "Appendix, Figure 10",
        (_drift("fm-ot", Criterion(upper=1.2, reason="within 20 % is constant, as Figure 10 shows it")),),
        presets=("small", "gpu"),
        excludes="a method whose evaluations change by more than 20 %",
        deviation=SCALED_DOWN + " Looks begin at a quarter of the training. Evaluations come in sixes and differ "
        "from network to network: some eight seeds would decide, which `gpu` has.",
    ),
    Claim(
        "training-evaluations-score",
        "While score matching trains, the evaluations of an adaptive solver drift.",
        "Appendix, Figure 10",
        (_drift("score", Criterion(1.2, reason="more than what counts as constant")),),
        presets=("small", "gpu"),
        excludes="a method whose evaluations stay within 20 %, as those of flow matching",
        deviation=SCALED_DOWN + " Looks begin at a quarter of the training. The paper's networks see a thousand times "
        "as many images. In pilots of 18,000 and 30,000 images the evaluations of score matching changed little from "
        "half of the training on, and downwards. Here networks differ so much in it that no number of seeds in reach "
        "would decide: only a longer training can.",
    ),
)


def _curves(results: Results, column: str, label: str, ylim: tuple[float | None, float | None]) -> MatplotlibFigure:
    table = results.table(progress)
    figure, axes = panels("flow_matching", 1, 1, width=7.0, height=4.0)
    panel = axes[0, 0]
    for name in [name for name in METHODS if name in set(table["objective"])]:
        values = where(table, objective=name).groupby("seen")[column]
        mean, spread = values.mean(), values.std()
        panel.plot(mean.index / 1000, mean, **METHODS[name].line())
        panel.fill_between(mean.index / 1000, mean - spread, mean + spread, color=METHODS[name].colour, alpha=0.2, lw=0)
    panel.set(xlabel="images seen, in thousands", ylabel=label, ylim=ylim, xlim=(0, None))
    legend(figure, columns=3)
    return finish(figure)


def draw_speed(results: Results) -> MatplotlibFigure:
    table = results.table(progress)
    metric = DATASETS[NETWORKS[table["network"].iloc[0]].dataset].metric
    return _curves(results, "fd", f"{metric}, n = {table['n_samples'].iloc[0]}", (0, None))


def draw_evaluations(results: Results) -> MatplotlibFigure:
    return _curves(results, "nfe", "evaluations of dopri5", (0, None))


FIGURES = (
    Figure(
        "training-speed",
        "Frechet distance against the images seen in training, for each method (the paper's Figure 5).",
        "Means over seeds, with a standard deviation either way. A curve that lies lower at an equal number of images "
        "trains faster.",
        (progress,),
        draw_speed,
    ),
    Figure(
        "training-evaluations",
        "Evaluations of dopri5 against the images seen in training, for each method (the paper's Figure 10).",
        "Means over seeds, with a standard deviation either way. The tolerance is 1e-5, for a few samples at once.",
        (progress,),
        draw_evaluations,
    ),
)

STUDY = Study(
    "Training speed",
    "Does flow matching reach the same quality with fewer images, and what does an adaptive solver cost meanwhile?",
    (progress,),
    CLAIMS,
    FIGURES,
)
