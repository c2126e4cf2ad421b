"""The paper's tables say what its text says of them."""

from papers.ctm import published


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
