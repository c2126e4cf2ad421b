"""The network of the swirl: what its features can tell apart, its first weights, and several at once."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from common.training.members import Members
from common.training.stream import stream
from papers.weighted_elbo.score_network import LOG_SNR_MAX, LOG_SNR_MIN, VariationalDiffusion


def net(seed: int = 0, dim: int = 2, hidden: int = 16) -> VariationalDiffusion:
    return VariationalDiffusion(dim, hidden, stream(seed, 0)).double()


def first_weight(model: VariationalDiffusion) -> torch.Tensor:
    """Of the first layer: it reads [z, λ], then the sines and cosines of each in octaves."""
    layer = model.layers[0]
    assert isinstance(layer, nn.Linear)
    return layer.weight.data


def z_and_level(n: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    z = torch.randn(n, 2, generator=stream(1, 0), dtype=torch.float64)
    return z, torch.linspace(LOG_SNR_MIN, LOG_SNR_MAX, n, dtype=torch.float64)


def test_features_are_octaves_from_a_period_of_one_on() -> None:
    """Without the inputs themselves the output has period 1 in z; without the first k octaves period 2^-k."""
    model = net()
    z, log_snr = z_and_level()
    weight = first_weight(model)
    weight[:, :3] = 0  # z and λ themselves
    for octave in range(8):
        period = 2.0**-octave
        torch.testing.assert_close(model(z + period, log_snr), model(z, log_snr), rtol=1e-7, atol=1e-9)
        assert (model(z + period / 2, log_snr) - model(z, log_snr)).abs().max() > 1e-4
        for part in range(2):  # sines, then cosines
            for each in range(3):
                weight[:, 3 + part * 24 + each * 8 + octave] = 0
    torch.testing.assert_close(model(z + 0.3, log_snr), model(z, log_snr)), "nothing is left"


def test_levels_go_from_minus_one_to_one() -> None:
    """With sines and cosines alone both ends look alike, and with the scaled level they do not."""
    model = net()
    z = torch.zeros(2, 2, dtype=torch.float64)
    ends = torch.tensor([LOG_SNR_MIN, LOG_SNR_MAX], dtype=torch.float64)
    apart = model(z, ends)
    assert (apart[0] - apart[1]).abs().max() > 1e-3
    first_weight(model)[:, 2] = 0
    alike = model(z, ends)
    torch.testing.assert_close(alike[0], alike[1], rtol=0, atol=1e-9)


def test_first_weights_have_a_variance_of_one_over_their_inputs() -> None:
    for layer in net(hidden=400).layers:
        assert isinstance(layer, nn.Linear)
        weight = layer.weight.detach()
        assert float(weight.var()) * weight.shape[1] == pytest.approx(1, rel=0.2)
        assert not layer.bias.any()


def test_several_at_once_are_each_alone() -> None:
    models = [net(seed) for seed in range(3)]
    z, log_snr = z_and_level()
    together = Members(models)(torch.stack([z, z + 1, z + 2]), torch.stack([log_snr] * 3))
    for s in range(3):
        torch.testing.assert_close(together[s], models[s](z + s, log_snr))


def test_it_runs_in_its_own_dtype() -> None:
    model = VariationalDiffusion(2, 8, stream(0, 0))
    z, log_snr = z_and_level()
    assert model(z, log_snr).dtype == torch.float64
    torch.testing.assert_close(model(z, log_snr), model.double()(z, log_snr), rtol=1e-3, atol=1e-4)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="dim is 0 and hidden 4"):
        VariationalDiffusion(0, 4)
