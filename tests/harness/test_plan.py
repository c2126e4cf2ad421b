"""Plans: which runs, in which order, at which addresses; and what a user may ask for."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys
from typing import Any

import pytest
from toy.experiments import Lesson, Mood, Noise, noise

from common.harness.runs.overrides import parse
from common.harness.runs.plan import RunSpec, plan
from common.harness.studies.errors import UsageError
from common.harness.studies.experiment import Experiment, Grid, Need, Resources


@dataclasses.dataclass(frozen=True)
class Card:
    """As much of a paper as a plan looks at."""

    all_: tuple[Experiment, ...]
    claims = ()
    slug: str = "card"

    @property
    def experiments(self) -> dict[str, Experiment]:
        return {experiment.name: experiment for experiment in self.all_}


def spec(**changes: Any) -> RunSpec:
    fields = {"slug": "toy", "module": "toy.experiments", "experiment": "noise", "config": Noise(), "seed": 0}
    return RunSpec(**{**fields, **changes})


def test_an_address_depends_on_everything_that_the_results_depend_on() -> None:
    other_need = {"teacher": spec(seed=3)}
    specs = [
        spec(),
        spec(slug="other"),
        spec(experiment="convolve"),
        spec(config=Noise(n=4)),
        spec(config=Noise(scale=1.0000000000000002)),
        spec(config=Noise(shifts=(0.0, 0.0))),
        spec(config=Lesson()),
        spec(config=Mood()),  # the same field and value as another class
        spec(seed=1),
        spec(version=2),
        spec(device="cuda"),
        spec(needs={"teacher": spec()}),
        spec(needs=other_need),
        spec(needs={"other": spec(seed=3)}),
        spec(needs={"teacher": spec(seed=3, version=2)}),
    ]
    assert len({each.address for each in specs}) == len(specs)


def test_an_address_does_not_depend_on_how_a_run_is_made() -> None:
    same = [
        spec(),
        spec(module="toy.moved"),
        spec(resources=Resources(cpus=4)),
        spec(asked=False),
        spec(config=Noise(scale=1)),  # 1 == 1.0
        pickle.loads(pickle.dumps(spec())),
    ]
    assert len({each.address for each in same}) == 1
    assert spec(device="cuda:0").address == spec(device="cuda:1").address


def test_an_address_is_the_same_in_another_process(toy: Any) -> None:
    """Stored runs are found again: nothing in the hash is of this process. The literal pins the format itself."""
    code = (
        "from toy.paper import PAPER; from common.harness.runs.plan import plan; print(plan(PAPER, 'quick')[0].address)"
    )
    environment = {**toy.environment, "PYTHONHASHSEED": "7"}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == toy.plan()[0].address == "915a0a17c9e49a59"


def test_a_plan_has_every_config_and_seed_once_and_needs_first(toy: Any) -> None:
    specs = toy.plan("small")
    places = {each.address: place for place, each in enumerate(specs)}
    assert len(places) == len(specs)
    assert all(places[need.address] < places[each.address] for each in specs for need in each.needs.values())
    assert [(each.experiment, each.config, each.seed) for each in specs] == [
        ("moody", Mood("fine"), 0),
        ("moody", Mood("raise"), 0),
        ("student", Lesson("fine"), 0),
        ("student", Lesson("raise"), 0),
    ]


def test_a_run_that_is_only_needed_is_in_the_plan_but_not_asked_for(toy: Any) -> None:
    specs = toy.plan(only=["student"])
    assert [(each.experiment, each.asked) for each in specs] == [("moody", False), ("student", True)]
    assert all(each.asked for each in toy.plan("small"))


def test_resources_and_version_are_the_experiments(toy: Any) -> None:
    assert toy.plan("small", ["tensors"])[0].resources == Resources(cpus=2)
    assert toy.plan("quick", ["tensors"])[0].resources == Resources(cpus=1)
    gpu = toy.plan("small", ["tensors"], device="cuda")[0]
    assert (gpu.resources, gpu.device) == (Resources(cpus=2, gpus=1.0), "cuda")
    shared = dataclasses.replace(noise, resources={"quick": Resources(gpus=0.25)}, version=7)
    card: Any = Card((shared,))
    on_gpu, on_cpu = (plan(card, "quick", device=device)[0] for device in ("cuda:1", "cpu"))
    assert (on_gpu.resources.gpus, on_cpu.resources.gpus) == (0.25, 0.0)
    assert on_cpu.version == 7


def test_seeds_replace_those_of_the_preset(toy: Any) -> None:
    assert [each.seed for each in toy.plan(only=["student"], seeds=[4, 2]) if each.asked] == [4, 2]


def test_a_grid_may_begin_at_a_later_seed() -> None:
    later: Any = Card((dataclasses.replace(noise, presets={"quick": Grid((Noise(),), 3, first=8)}),))
    assert [each.seed for each in plan(later, "quick")] == [8, 9, 10]


def test_overrides_set_a_field_wherever_a_config_has_it(toy: Any) -> None:
    specs = toy.plan(overrides={"n": "7", "steps": "2"})
    assert {each.config.n for each in specs if each.experiment == "noise"} == {7}
    assert {each.config.steps for each in specs if each.experiment == "walk"} == {2}
    # The two configs of `noise` differed in n alone: with n fixed they are one.
    assert sum(each.experiment == "noise" for each in specs) == 2


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (int, "18", 18),
        (float, "1e-3", 1e-3),
        (float, "2", 2.0),
        (str, "2", "2"),
        (bool, "False", False),
        (int | None, "none", None),
        (str | None, "none", None),
        (int | float, "2.5", 2.5),
        (tuple[int, ...], "1,2,2", (1, 2, 2)),
        (tuple[int, ...], "", ()),
        (tuple[int, float], "(1, 0.5)", (1, 0.5)),
    ],
)
def test_text_becomes_a_value_of_the_fields_type(kind: Any, text: str, value: Any) -> None:
    parsed = parse("field", text, kind)
    assert (parsed, type(parsed)) == (value, type(value))


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"preset": "quik"}, "unknown preset 'quik' (perhaps you meant 'quick'); allowed: quick, small, gpu"),
        ({"preset": "gpu"}, "toy has no preset 'gpu'; it has: quick, small"),
        ({"only": ["nois"]}, "(perhaps you meant 'noise'); allowed: noise, walk, student"),
        ({"seeds": []}, "seeds are different whole numbers from 0, at least one; not []"),
        ({"seeds": [-1]}, "not [-1]"),
        ({"seeds": [1, 1]}, "not [1, 1]"),
        ({"device": "gpu"}, "unknown device 'gpu'; allowed: cpu, cuda, cuda:N"),
        ({"overrides": {"scal": "1"}}, "unknown config field 'scal' (perhaps you meant 'scale'); noise has n, scale,"),
        ({"overrides": {"pausing": "1"}}, "(perhaps you meant 'pause'); walk has steps, pause, crash"),
        ({"overrides": {"zzz": "1"}}, "unknown config field 'zzz'; --only with one of noise, walk, student shows its"),
        ({"overrides": {"zzz": "1"}, "only": ["walk"]}, "unknown config field 'zzz'; walk has steps, pause, crash"),
        ({"overrides": {"n": "two"}}, "n takes a whole number, not 'two'"),
        ({"overrides": {"n": "0"}}, "noise: n is at least 1, not 0"),
        ({"overrides": {"crash": "yes"}}, "crash takes true or false, not 'yes'"),
        ({"overrides": {"kind": "normale"}}, "unknown value of kind 'normale' (perhaps you meant 'normal')"),
        ({"overrides": {"shifts": "1,x"}}, "shifts takes a number, not 'x'"),
        ({"overrides": {"limit": "x"}}, "limit takes a whole number or none, not 'x'"),
    ],
)
def test_what_cannot_be_planned_is_named_with_what_can(toy: Any, wish: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as error:
        toy.plan(**{"preset": "quick", **wish})
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_experiments_that_need_each_other_are_refused() -> None:
    def chicken(config: Noise, seed: int, run: Any) -> list[Any]:
        return []

    def egg(config: Noise, seed: int, run: Any) -> list[Any]:
        return []

    grid = {"quick": Grid((Noise(),))}
    pair: tuple[Experiment, ...] = (
        Experiment(chicken, Noise, grid, {}, needs=lambda config, seed: {"egg": Need(pair[1], config, seed)}),
        Experiment(egg, Noise, grid, {}, needs=lambda config, seed: {"chicken": Need(pair[0], config, seed)}),
    )
    card: Any = Card(pair)
    with pytest.raises(ValueError, match="chicken → egg → chicken"):
        plan(card, "quick")
