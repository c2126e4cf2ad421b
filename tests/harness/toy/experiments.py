"""Experiments for trying the harness. Each start of one is a line in the file that REPRO_TOY_LOG names, if set."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from common.harness.studies.experiment import Grid, Need, Row, Run, experiment
from common.harness.studies.study import Study


def hold(seed: int) -> None:
    """Wait for as long as the file that REPRO_TOY_HOLD names has this seed in it."""
    while (told := os.environ.get("REPRO_TOY_HOLD")) and str(seed) in _text(Path(told)).split():
        time.sleep(0.02)


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def say(event: str, run: Run) -> None:
    """Tell the test of an event, with this process and its parent."""
    if log := os.environ.get("REPRO_TOY_LOG"):
        with Path(log).open("a") as file:
            file.write(f"{event} {run.folder.stem} {os.getpid()} {os.getppid()}\n")


@dataclass(frozen=True)
class Noise:
    n: int = 3
    scale: float = 1.0
    kind: Literal["normal", "uniform"] = "normal"
    shifts: tuple[float, ...] = (0.0,)
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n is at least 1, not {self.n}")


@experiment(
    Noise,
    {"quick": Grid((Noise(), Noise(n=5)), seeds=2)},
    {"index": int, "draw": float, "name": str, "positive": bool},
)
def noise(config: Noise, seed: int, run: Run) -> Sequence[Row]:
    say("start", run)
    draws = getattr(np.random.default_rng(seed), config.kind)(size=config.n) * config.scale
    run.save_arrays(draws=draws)
    return [{"index": i, "draw": draw, "name": f"draw {i}", "positive": bool(draw > 0)} for i, draw in enumerate(draws)]


@dataclass(frozen=True)
class Walk:
    steps: int = 4
    pause: float = 0.0
    crash: bool = False
    """Kill the own process in the middle, once, if REPRO_TOY_CRASH is set."""


@experiment(Walk, {"quick": Grid((Walk(), Walk(crash=True)))}, {"x": float})
def walk(config: Walk, seed: int, run: Run) -> Sequence[Row]:
    """A recurrence with a checkpoint after each step, from which a broken-off run goes on."""
    checkpoint = run.folder / "checkpoint.json"
    state = json.loads(checkpoint.read_text()) if checkpoint.exists() else {"step": 0, "x": 0.1 + 0.01 * seed}
    say(f"start at {state['step']}", run)
    while state["step"] < config.steps:
        time.sleep(config.pause)
        state = {"step": state["step"] + 1, "x": 3.7 * state["x"] * (1 - state["x"])}
        checkpoint.with_suffix(".new").write_text(json.dumps(state))
        checkpoint.with_suffix(".new").replace(checkpoint)
        run.log(step=state["step"], loss=state["x"])
        hold(seed)
        if config.crash and os.environ.get("REPRO_TOY_CRASH") and not (run.folder / "crashed").exists():
            (run.folder / "crashed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return [{"x": state["x"]}]


Moods = Literal["fine", "raise", "exit", "nan loss", "nan row", "clash", "undeclared", "no room for rows", "large"]


@dataclass(frozen=True)
class Mood:
    mood: Moods = "fine"


@experiment(Mood, {"small": Grid((Mood(), Mood("raise")))}, {"value": float, "w2": float, "mood": get_args(Moods)})
def moody(config: Mood, seed: int, run: Run) -> Sequence[Row]:
    say("start", run)
    print(f"the mood is {config.mood}")
    match config.mood:
        case "raise":
            raise ArithmeticError("two and two are five")
        case "exit":
            raise SystemExit("leaving")
        case "nan loss":
            run.log(step=7, loss=float("nan"))
        case "nan row":
            return [{"w2": float("nan")}]
        case "clash":
            return [{"mood": "fine"}]
        case "undeclared":
            return [{"valeu": 1.0}]
        case "no room for rows":
            if not (run.folder / "rows.csv").is_symlink():
                (run.folder / "rows.csv").symlink_to("/dev/full")
        case "large":
            run.save_arrays(zeros=np.zeros(200_000))
    return [{"value": 1.0}]


@dataclass(frozen=True)
class Lesson:
    mood: Moods = "fine"


def _teacher(config: Lesson, seed: int) -> Mapping[str, Need]:
    return {"teacher": Need(moody, Mood(config.mood), 0)}


@experiment(
    Lesson, {"quick": Grid((Lesson(),)), "small": Grid((Lesson(), Lesson("raise")))}, {"taught": str}, needs=_teacher
)
def student(config: Lesson, seed: int, run: Run) -> Sequence[Row]:
    say("start", run)
    return [{"taught": (run.needs["teacher"] / "rows.csv").read_text().strip().replace("\n", " ")}]


STUDY = Study("Toys", "What can go wrong?", (noise, walk, moody, student))
