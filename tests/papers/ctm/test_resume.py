"""A training that was stopped and taken up again is the unbroken one, bit for bit."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from papers.ctm.training import CTMTraining, Learner, begin, train
from tests.papers.ctm.cases import seeded, student
from tests.papers.ctm.test_training import FULL, plane, ring

CONFIG = CTMTraining(steps=6, batch_size=8, lr=1e-2, ema=0.9, checkpoint_every=2)


def trained(
    seeds: tuple[int, ...], adversary: bool, config: CTMTraining, checkpoint: Path | None = None, start: int = 0
) -> Learner:
    """A training by streams that begin at `start`: another start is another training, unless its state is taken up."""
    learner = begin(student(*seeds), config, plane(*seeds) if adversary else None)
    draws = tuple(seeded(start + seed) for seed in seeds)
    return train(
        learner,
        ring,
        FULL,
        config,
        draws if len(seeds) > 1 else draws[0],
        seeded(start + 50),
        checkpoint=checkpoint,
    )


def states(learner: Learner) -> dict[str, torch.Tensor]:
    parts = {"student": learner.student, "average": learner.average, "discriminator": learner.discriminator}
    return {f"{name}.{key}": value for name, part in parts.items() if part for key, value in part.state_dict().items()}


@pytest.mark.parametrize("adversary", [False, True])
@pytest.mark.parametrize("seeds", [(3,), (3, 4)])
def test_a_stopped_training_goes_on_as_if_it_had_not_been(
    tmp_path: Path, seeds: tuple[int, ...], adversary: bool
) -> None:
    file = tmp_path / "state.safetensors"
    unbroken = states(trained(seeds, adversary, CONFIG))
    trained(seeds, adversary, replace(CONFIG, steps=3), file)
    broken = states(trained(seeds, adversary, CONFIG, file, start=90))
    other = states(trained(seeds, adversary, CONFIG, start=90))
    assert broken.keys() == unbroken.keys()
    assert all(torch.equal(broken[key], unbroken[key]) for key in unbroken)
    assert any(not torch.equal(other[key], unbroken[key]) for key in unbroken)


def test_what_is_finished_is_not_trained_again(tmp_path: Path) -> None:
    file = tmp_path / "state.safetensors"
    once = states(trained((3,), False, CONFIG, file))
    again = states(trained((3,), False, CONFIG, file, start=90))
    assert all(torch.equal(again[key], once[key]) for key in once)


def test_the_state_of_another_training_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "state.safetensors"
    trained((3,), False, replace(CONFIG, steps=2), file)
    with pytest.raises(ValueError, match=r"was left by a training with lr=0.01, not 0.1; remove it first"):
        trained((3,), False, replace(CONFIG, lr=0.1), file)
