"""What DSBM claims in the plane, and what we claim of entropic plans."""

from __future__ import annotations

from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.measures import paired_ratio, value_at
from papers.dsbm.measures import last_over
from papers.dsbm.published import PLANE_ENERGY, PLANE_W2

TASKS = ("moons", "scurve", "8gaussians", "moons-8gaussians")
MIXED = "moons-8gaussians"
SOURCE = "Section 6, Table 1"
TWICE = Criterion(2.0, reason="at least twice, of a published ratio of 2.8")
SIGN = Criterion(1.0, reason="the claim is the sign, on paired seeds")

DATA = (
    "The paper's 2-D code, data and σ are not public. Data are scaled as by Tong et al., whose path energies fit; σ is "
    "the standard deviation of the coordinates at the start. `small` trains 8 passes of 1000 steps (one-pass "
    "methods 4000) with three layers of 128, at a learning rate of 3e-3; `quick` half as many. W2 is between 3000 "
    "points on either side (1000 in `quick`); plane_floor says what two samples of the data differ by, mostly in how "
    "many points fall on each moon or Gaussian."
)


def _w2_ratio(worse: str, better: str, task: str) -> Quantity:
    """A ratio that the claim says is above 1."""
    cells = (PLANE_W2.get((worse, task)), PLANE_W2.get((better, task)))
    published = cells[0].mean / cells[1].mean if cells[0] and cells[1] else None
    measure = paired_ratio("w2", first={"method": worse}, second={"method": better}, task=task)
    return Quantity(
        f"{worse} over {better}, {task}", "plane", measure, SIGN, published, unit="×", floor=0.15, scale="log"
    )


def _energy_ratio(better: str, task: str, criterion: Criterion) -> Quantity:
    cells = (PLANE_ENERGY.get(("CFM", task)), PLANE_ENERGY.get((better, task)))
    published = cells[0].mean / cells[1].mean if cells[0] and cells[1] else None
    return Quantity(
        f"CFM over {better}, {task}",
        "plane",
        paired_ratio("path_energy", first={"method": "CFM"}, second={"method": better}, task=task),
        criterion,
        published,
        unit="×",
        floor=0.1,
        scale="log",
    )


def _w2_table() -> tuple[Quantity, ...]:
    return tuple(
        Quantity(
            f"{method}, {task}",
            "plane",
            value_at("w2", method=method, task=task),
            Criterion(cell.mean / 3, cell.mean * 3, "a factor of three: data, σ, test size and training are ours"),
            published=cell.mean,
            floor=0.3,
            scale="log",
        )
        for (method, task), cell in PLANE_W2.items()
    )


def _energy_table() -> tuple[Quantity, ...]:
    """Without those that σ was chosen by: of the bridges between data sets."""
    return tuple(
        Quantity(
            f"{method}, {task}",
            "plane",
            value_at("path_energy", method=method, task=task),
            Criterion(cell.mean / 1.5, cell.mean * 1.5, "half as much again: σ is ours, and moves it"),
            published=cell.mean,
            floor=0.1,
            scale="log",
        )
        for (method, task), cell in PLANE_ENERGY.items()
        if task != MIXED or method in ("CFM", "OT-CFM")
    )


def _plan_quantities() -> tuple[Quantity, ...]:
    close = Criterion(upper=1.2, reason="half of the 1.4 - 1 by which independent pairs exceed the floor at sigma 2")
    return (
        *(
            Quantity(
                f"{method} at the last pass over the floor, sigma {sigma:g}",
                "plan_distance",
                last_over("joint_w2", "joint_floor", method=method, sigma=sigma),
                close,
                unit="×",
                floor=0.3,
                scale="log",
            )
            for method, sigmas in (("DSBM-IMF", (0.5, 1.0, 2.0)), ("DSBM-IPF", (1.0, 2.0)))
            for sigma in sigmas
        ),
        Quantity(
            "DSBM-IPF over DSBM-IMF after 2 passes, sigma 0.5",
            "plan_distance",
            paired_ratio(
                "joint_w2", first={"method": "DSBM-IPF"}, second={"method": "DSBM-IMF"}, sigma=0.5, pass_number=2
            ),
            SIGN,
            unit="×",
            floor=0.2,
            scale="log",
        ),
    )


CALIBRATED = (
    " σ = 7 between data sets was settled by a pilot in which DSBM's path energy came near the published one, which "
    "therefore is not judged itself. CFM's ratio to it is in part calibrated with it: greater at a smaller σ, and "
    "about 1 at twice this one (plane_sigma)."
)

PLANE_CLAIMS = (
    Claim(
        "plane-energy-cfm",
        "Between data sets, flow matching on independent pairs takes far more energy than the Schrödinger bridge.",
        SOURCE,
        (_energy_ratio("DSBM-IMF", MIXED, TWICE),),
        presets=("quick",),
        deviation=DATA + CALIBRATED,
    ),
    Claim(
        "plane-energy-order",
        "Between data sets, flow matching on independent pairs takes far more energy than the Schrödinger bridge.",
        SOURCE,
        tuple(_energy_ratio(method, MIXED, TWICE) for method in ("DSBM-IPF", "DSBM-IMF")),
        presets=("small", "gpu"),
        deviation=DATA + CALIBRATED,
    ),
    Claim(
        "plane-energy-independent",
        "From a Gaussian, too, flow matching on independent pairs takes more energy than the Schrödinger bridge.",
        "beside Table 1",
        tuple(_energy_ratio("DSBM-IMF", task, SIGN) for task in TASKS if task != MIXED),
        presets=("small", "gpu"),
        deviation=DATA + " Added after a review of the first report: the bands of plane-energy are wide enough for the "
        "energies of independent pairs on these tasks, so that only a ratio sees the coupling.",
    ),
    Claim(
        "plane-energy",
        "The path energy of the probability flow, by method and task.",
        SOURCE,
        _energy_table(),
        presets=("small", "gpu"),
        deviation=DATA + CALIBRATED,
    ),
    Claim(
        "plane-w2",
        "The distance of the samples to the data, by method and task.",
        SOURCE,
        _w2_table(),
        presets=("small", "gpu"),
        deviation=DATA,
    ),
    Claim(
        "plane-dsb",
        "DSBM samples better than DSB on every task.",
        SOURCE,
        tuple(_w2_ratio("DSB", method, task) for method in ("DSBM-IPF", "DSBM-IMF") for task in TASKS),
        presets=("small", "gpu"),
        deviation=DATA,
    ),
    Claim(
        "plane-ot-cfm",
        "OT-CFM is still nearer to the data than any DSBM on moons, scurve and between data sets.",
        SOURCE,
        tuple(
            _w2_ratio(method, "OT-CFM", task)
            for task in ("moons", "scurve", MIXED)
            for method in ("DSBM-IPF", "DSBM-IMF", "DSBM-IMF+")
        ),
        presets=("small", "gpu"),
        deviation=DATA,
    ),
    Claim(
        "plane-ot-cfm-mixed",
        "Between data sets OT-CFM is nearer to the data than DSBM-IMF.",
        SOURCE,
        (_w2_ratio("DSBM-IMF", "OT-CFM", MIXED),),
        presets=("quick",),
        deviation=DATA,
    ),
    Claim(
        "plane-rf",
        "Between data sets rectified flow, which has no noise to correct its errors, is worse than DSB and DSBM.",
        SOURCE,
        (_w2_ratio("RF", "DSB", MIXED), _w2_ratio("RF", "DSBM-IMF", MIXED)),
        presets=("small", "gpu"),
        deviation=DATA,
    ),
    Claim(
        "plan",
        "The pairs that DSBM learns come to be those of the entropic optimal plan, with little noise sooner by IMF.",
        "beyond the paper",
        _plan_quantities(),
        presets=("small", "gpu"),
        deviation="From N(0, I) to the eight Gaussians, 1000 points; the plan is Sinkhorn's on test points. Joint W2 is"
        " that of pairs as points of four dimensions; its floor is that of two plans that start from the same points. "
        "At sigma 0.5 IPF would take more passes, by (25) of the page, and is not asked to arrive. The bound was 2 "
        "until a review of the first report showed that independent pairs meet it at sigma 2.",
    ),
)
