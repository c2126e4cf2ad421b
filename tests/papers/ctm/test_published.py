"""The paper's tables say what its text says of them."""

import pytest

from papers.ctm import published
from papers.ctm.paper import PAPER
from papers.ctm.studies import matching


def test_the_gan_helps_one_step_more_than_many():
    gains = {nfe: published.FID_WITHOUT_GAN[nfe] - published.FID_WITH_GAN[nfe] for nfe in (1, 18)}
    assert round(gains[1], 2) == 2.91
    assert round(gains[18], 2) == 0.77


def test_one_step_is_no_worse_than_the_teacher_and_two_are_better():
    for student, teacher in (
        (published.FID_UNCONDITIONAL, published.FID_TEACHER_UNCONDITIONAL),
        (published.FID_CONDITIONAL, published.FID_TEACHER_CONDITIONAL),
    ):
        assert student[2] < student[1] < teacher
    assert published.FID_IMAGENET[2] < published.FID_IMAGENET[1]
    assert published.FID_WITHOUT_GAN[1] > published.FID_DISTILLATION


def test_more_steps_help_without_noise_and_hurt_with_it():
    assert published.FID_GAMMA_0[35] < published.FID_GAMMA_0[1]
    assert published.FID_GAMMA_1[35] > 2 * published.FID_GAMMA_1[1]


BESIDE: dict[str, dict[str, float | None]] = {
    # Table 1: 1.98 and 1.87 beside the teacher's 2.01; 5.19 without GAN.
    "one-step-teacher": {
        "with GAN, one step": 1.98 / 2.01,
        "with GAN, two steps": 1.87 / 2.01,
        "without GAN, one step": 5.19 / 2.01,
    },
    "one-step-distillation": {"one step": 5.19 / 10.53, "eight steps": None},
    "one-step-without-teacher": {"without a teacher over with one": 2.39 / 1.98},
    # Table 3: the GAN takes 2.91 off one step and .77 off eighteen.
    "losses-gan": {"digits": 2.91 - 0.77},
    # Proposition 7, Equation 4.
    "variance-of-gamma": {"CTM": 2.0, "exact jumps": 2.0},
    "no-jump": {"largest change": 0.0, "largest change with g in the place of G": None},
    "bits": {f"bound, standard deviation {std}": 0.0 for std in (0.5, 0.25, 0.1)},
}
"""What stands beside the measured numbers, as the paper has it."""


@pytest.mark.parametrize("claim", BESIDE)
def test_beside_each_number_stands_the_paper_s(claim: str) -> None:
    (found,) = [own for own in PAPER.claims if own.id == claim]
    assert {quantity.name: quantity.expected for quantity in found.quantities} == {
        name: None if value is None else pytest.approx(value, abs=1e-9) for name, value in BESIDE[claim].items()
    }


def test_the_paper_s_costs_stand_beside_ours() -> None:
    (cost,) = [claim for claim in matching.CLAIMS if claim.id == "matching-cost"]
    assert [(quantity.name.split(",")[0], quantity.published) for quantity in cost.quantities] == [
        ("soft over global", 0.5),
        ("global over local", 3.0),
    ] * 2
