"""Readers: the exact posterior of a class, the time from which a class is read, and the clock of OT."""

from __future__ import annotations

import pytest
import torch

from common.data.images import Images, digits
from papers.flow_matching.path import OT, VP
from papers.flow_matching.studies.readers import (
    READERS,
    SURE,
    class_posterior,
    classifier,
    on_the_clock_of_ot,
    read_along,
    settled,
)
from tests.papers.flow_matching.cases import at, randn, seeded


def test_the_posterior_of_two_points_is_logistic() -> None:
    images = Images(torch.tensor([-1.5, 1.5]).reshape(2, 1, 1, 1), torch.tensor([3, 7]))
    x, noise = randn(50, 1, 1, 1), at(0.8)
    found = class_posterior(x, noise, images)
    torch.testing.assert_close(found[:, 7], torch.sigmoid(2 * 1.5 * x.flatten() / noise**2))
    torch.testing.assert_close(found[:, 3] + found[:, 7], torch.ones(50, dtype=torch.float64))


def test_the_posterior_is_the_share_of_the_class_among_draws_near_x() -> None:
    images = Images(randn(40, 1, 1, 1), torch.arange(40) % 10)
    index = torch.randint(40, (400_000,), generator=seeded(1))
    x = images.x0[index].flatten() + 0.5 * randn(400_000, seed=2)
    near = (x - 0.3).abs() < 0.02
    share = torch.bincount(images.labels[index[near]], minlength=10) / int(near.sum())
    found = class_posterior(torch.full((1, 1, 1, 1), 0.3), at(0.5), images)[0]
    # Five standard errors of a share, and 0.005 for the width of the bin.
    assert (found - share).abs().max() < 5 * 0.5 / int(near.sum()) ** 0.5 + 0.005


def test_chunks_do_not_change_the_posterior() -> None:
    images, x = digits("test"), randn(7, 1, 8, 8)
    torch.testing.assert_close(
        class_posterior(x, at(1.0), images, chunk=3), class_posterior(x, at(1.0), images), rtol=1e-12, atol=1e-15
    )


def test_a_class_is_read_from_the_last_doubt_on() -> None:
    sure, doubt, other = [SURE, 0.4], [SURE - 0.01, 0.4], [0.1, SURE]
    cases = {0: [sure] * 5, 3: [sure, doubt, doubt, sure, sure], 4: [other, sure, sure, other, sure]}
    never = [[0.3, 0.2], doubt, doubt, doubt, doubt]
    probabilities = torch.tensor([*cases.values(), never]).transpose(0, 1)
    assert settled(probabilities).tolist() == [*cases, 4]


@pytest.mark.parametrize("path", [OT(), VP()])
def test_on_the_clock_of_ot_signal_and_noise_are_in_the_same_ratio(path: OT | VP) -> None:
    t = torch.linspace(0, path.last, 21, dtype=torch.float64)
    found = on_the_clock_of_ot(path, t)
    torch.testing.assert_close(
        OT().mean_scale(found) * path.sigma(t), path.mean_scale(t) * OT().sigma(found), rtol=1e-9, atol=1e-12
    )
    if isinstance(path, OT):
        torch.testing.assert_close(found, t)
    else:
        # T(s) = ln 2 where signal and noise are equal: s = 0.259.
        assert float(on_the_clock_of_ot(path, at(0.7410))) == pytest.approx(0.5, abs=1e-3)


def test_the_classifier_reads_clean_digits_and_what_is_off_the_scale_as_if_it_were_on_it() -> None:
    held_out = digits("test")
    read = classifier(held_out.x0)
    assert float((read.argmax(1) == held_out.labels).double().mean()) > 0.97
    torch.testing.assert_close(read.sum(1), torch.ones(len(held_out)))
    black_and_white = torch.where(held_out.x0 > 0, 1.0, -1.0)
    torch.testing.assert_close(classifier(50.0 * black_and_white), classifier(black_and_white))


def test_states_are_read_as_pictures_without_the_scale_of_the_path() -> None:
    """Along the conditional flow to one image, the posterior is asked at x/m and noise σ/m."""
    images = digits("test")
    x_1, x_0, path = images.x0[:3].double(), randn(3, 1, 8, 8), VP()

    def velocity(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return path.target(x_0, x_1, t.expand(3))

    times, states, read = read_along(velocity, path, x_0, 200, images)
    assert set(read) == set(READERS)
    assert read["posterior"].shape == read["classifier"].shape == (201, 3, 10)
    for k in (60, 140, 190):
        m, sigma = path.mean_scale(times[k]), path.sigma(times[k])
        torch.testing.assert_close(read["posterior"][k], class_posterior(states[k] / m, sigma / m, images))
        torch.testing.assert_close(read["classifier"][k], classifier(states[k] / m))
    assert (read["posterior"][-1].argmax(1) == images.labels[:3]).all()
