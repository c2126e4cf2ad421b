"""The published networks: each is sampled under the preconditioning that its file names, and judged by FID."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from common.diffusion.precond import EDMPrecond, IDDPMPrecond, VEPrecond, VPPrecond, official_precond
from common.diffusion.schedule import iddpm_u
from papers.edm.studies import official
from papers.edm.studies.fid import as_bytes, fid_cifar10
from papers.edm.studies.official import OfficialConfig, given, official_denoiser, official_fid
from tests.official_files import ATTRIBUTES, official_names, write_official
from tests.papers.edm.made import made
from tests.papers.fake_run import FakeRun


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_fid_hands_over_bytes_and_names_the_training_set(torch_fidelity: dict[str, Any]) -> None:
    assert as_bytes(torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0])).tolist() == [0, 0, 128, 255, 255]
    every_byte = torch.arange(256) / 127.5 - 1
    assert as_bytes(every_byte).tolist() == list(range(256))
    assert fid_cifar10(torch.zeros(3, 3, 32, 32)) == 128
    assert torch_fidelity["input2"] == "cifar10-train"
    assert torch_fidelity["fid"] is True
    assert torch_fidelity["images"].dtype == torch.uint8


def _by_the_official_code(F: Callable[..., Tensor], x: Tensor, sigma: Tensor) -> dict[str, Tensor]:
    """D(x; sigma) as `forward` of each official class has it (training/networks.py of NVlabs/edm)."""
    s = sigma.reshape(-1, 1, 1, 1)
    t = ((0.1**2 + 2 * 19.9 * (1 + sigma**2).log()).sqrt() - 0.1) / 19.9
    j = (sigma[:, None] - iddpm_u().float()).abs().argmin(1)
    v = s**2 + 0.25
    return {
        "VPPrecond": x - s * F(x / (s**2 + 1).sqrt(), 999 * t)[:, :3],
        "VEPrecond": x + s * F(x, (0.5 * sigma).log())[:, :3],
        "iDDPMPrecond": x - s * F(x / (s**2 + 1).sqrt(), (999 - j).float())[:, :3],
        "EDMPrecond": 0.25 / v * x + 0.5 * s / v.sqrt() * F(x / v.sqrt(), sigma.log() / 4)[:, :3],
    }


@pytest.mark.parametrize("precond", ATTRIBUTES)
def test_each_official_class_of_file_denoises_as_the_official_code_does(
    precond: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    official_names(monkeypatch)
    network = write_official(tmp_path / "net.pkl", precond=precond)
    denoiser = official_denoiser(tmp_path / "net.pkl")
    x = torch.randn(3, 3, 8, 8, generator=generator(), dtype=torch.float32)
    sigma = torch.tensor([0.03, 1.0, 60.0])
    with torch.no_grad():
        expected = _by_the_official_code(network, x, sigma)
    denoised = denoiser(x, sigma)
    torch.testing.assert_close(denoised, expected.pop(precond), rtol=1e-4, atol=1e-4)
    for other in expected.values():
        assert (denoised - other).abs().max() > 0.01, "another preconditioning would pass"
    assert not denoiser.training


def test_settings_of_a_file_are_taken_and_its_range_is_held_against_them() -> None:
    own = {name: dict(values) for name, values in ATTRIBUTES.items()}
    own["VEPrecond"] |= {"sigma_max": 50.0}
    own["EDMPrecond"] |= {"sigma_data": 0.75, "sigma_min": 0.004, "sigma_max": 90.0}
    own["iDDPMPrecond"] |= {"M": 500, "C_2": 0.01, "sigma_min": float(iddpm_u(500, 0.001, 0.01)[499])}
    own["iDDPMPrecond"]["sigma_max"] = float(iddpm_u(500, 0.001, 0.01)[0])
    assert official_precond("VPPrecond", own["VPPrecond"]) == VPPrecond()
    assert official_precond("VEPrecond", own["VEPrecond"]) == VEPrecond(0.02, 50.0)
    assert official_precond("iDDPMPrecond", own["iDDPMPrecond"]) == IDDPMPrecond(500, 0.001, 0.01)
    assert official_precond("EDMPrecond", own["EDMPrecond"]) == EDMPrecond(0.75, 0.004, 90.0)
    with pytest.raises(ValueError, match=r"VPPrecond has sigma_max = 99, where its settings give 152\.167"):
        official_precond("VPPrecond", {**own["VPPrecond"], "sigma_max": 99.0})
    with pytest.raises(ValueError, match="no preconditioning 'VPrecond'; there are VPPrecond, VEPrecond, "):
        official_precond("VPrecond", {})


@pytest.mark.parametrize(("precond", "label_dim"), [("EDMPrecond", 0), ("EDMPrecond", 10), ("VEPrecond", 10)])
def test_official_network_samples_at_35_nfe(
    precond: str,
    label_dim: int,
    run: FakeRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    torch_fidelity: dict[str, Any],
) -> None:
    official_names(monkeypatch)
    monkeypatch.setenv("REPRO_DATA", str(tmp_path))
    config = OfficialConfig("net.pkl", n_samples=5, chunk=3)
    with pytest.raises(FileNotFoundError, match=r"net\.pkl is not there; the official file is https://"):
        made(official_fid, config, 0, run)
    (tmp_path / "edm").mkdir()
    assert given([config]) == []
    write_official(tmp_path / "edm" / "net.pkl", precond=precond, label_dim=label_dim)
    assert given([config, OfficialConfig("other.pkl")]) == [config]
    seen: list[tuple[Any, Any, float, int]] = []
    generate = official.generate

    def recorded(denoiser: Any, n: int, shape: Any, sigmas: Tensor, *others: Any, **named: Any) -> Any:
        labels = denoiser.keywords["class_labels"] if label_dim else None
        net = denoiser.func if label_dim else denoiser
        seen.append((type(net.precond).__name__, labels, float(sigmas[-2]), n))
        return generate(denoiser, n, shape, sigmas, *others, **named)

    monkeypatch.setattr(official, "generate", recorded)
    (row,) = made(official_fid, config, 0, run)
    assert (row["n"], row["nfe"]) == (5, 35)
    assert torch_fidelity["images"].shape == (5, 3, 8, 8)
    # Within the network's range: VE is made for noise levels from 0.02.
    lowest = {"EDMPrecond": 0.002, "VEPrecond": 0.02}[precond]
    assert [(name, level, n) for name, _, level, n in seen] == [
        (precond, pytest.approx(lowest), 3),
        (precond, pytest.approx(lowest), 2),
    ]
    if label_dim:
        labels = torch.cat([labels for _, labels, _, _ in seen])
        assert labels.unique().numel() > 1
        assert 0 <= labels.min() <= labels.max() < label_dim
