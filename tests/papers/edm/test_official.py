"""The published networks: sampled at 35 NFE, judged by torch-fidelity, and asked for where they are not."""

from pathlib import Path
from typing import Any

import pytest
import torch

from common.nets.unet import ddpmpp
from papers.edm.studies import official
from papers.edm.studies.fid import as_bytes, fid_cifar10
from papers.edm.studies.official import OfficialConfig, given, official_fid
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


@pytest.mark.parametrize("label_dim", [0, 10])
def test_official_network_samples_at_35_nfe(
    label_dim: int,
    run: FakeRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    torch_fidelity: dict[str, Any],
) -> None:
    net = ddpmpp(8, 3, model_channels=4, channel_mult=(1,), num_blocks=1, label_dim=label_dim, generator=generator())
    monkeypatch.setenv("REPRO_DATA", str(tmp_path))
    monkeypatch.setattr(official, "load_official_edm", lambda path: (net, {}))
    config = OfficialConfig("net.pkl", n_samples=5, chunk=3)
    with pytest.raises(FileNotFoundError, match=r"net\.pkl is not there; the official file is https://"):
        made(official_fid, config, 0, run)
    (tmp_path / "edm").mkdir()
    assert given([config]) == []
    (tmp_path / "edm" / "net.pkl").touch()
    assert given([config, OfficialConfig("other.pkl")]) == [config]
    (row,) = made(official_fid, config, 0, run)
    assert (row["n"], row["nfe"]) == (5, 35)
    assert torch_fidelity["images"].shape == (5, 3, 8, 8)
    # An untrained network returns about 0, so that D = c_skip x: samples are N(0, 0.5²) about byte 128.
    assert float(row["fid"]) == pytest.approx(128, abs=40)
