"""Checkpoints: whole or not there, and without code."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch

from common.training import checkpoint
from common.training.checkpoint import load_checkpoint, save_checkpoint


def test_tensors_and_values_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state.safetensors"
    weight = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    tensors = {
        "weight": weight.contiguous(memory_format=torch.channels_last),
        "step": torch.tensor(7, dtype=torch.int64),
    }
    save_checkpoint(path, tensors, {"step": 7, "name": "σ", "nested": {"lr": 1e-3}})
    loaded, meta = load_checkpoint(path)
    assert meta == {"step": 7, "name": "σ", "nested": {"lr": 1e-3}}
    assert loaded.keys() == tensors.keys()
    assert torch.equal(loaded["weight"], weight)
    assert loaded["step"].dtype == torch.int64
    assert [found.name for found in path.parent.iterdir()] == ["state.safetensors"]


def test_the_old_checkpoint_is_replaced_and_never_written_into(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save_checkpoint(path, {"x": torch.zeros(3)}, {"step": 1})
    old = path.read_bytes()
    with path.open("rb") as reader:
        save_checkpoint(path, {"x": torch.ones(3)}, {"step": 2})
        # Whoever had it open still reads the whole old file: the new one came by a rename.
        assert reader.read() == old
    assert load_checkpoint(path)[1] == {"step": 2}


def test_a_failed_write_leaves_the_old_checkpoint_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.safetensors"
    save_checkpoint(path, {"x": torch.zeros(3)}, {"step": 1})

    def half_then_full(tensors: object, name: Path, metadata: object) -> None:
        name.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", half_then_full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, {"x": torch.ones(3)}, {"step": 2})
    assert load_checkpoint(path)[1] == {"step": 1}
    assert [found.name for found in tmp_path.iterdir()] == ["state.safetensors"]


def test_a_missing_cut_or_foreign_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*state\.safetensors"):
        load_checkpoint(path)
    save_checkpoint(path, {"x": torch.zeros(300)}, {"step": 1})
    os.truncate(path, path.stat().st_size - 5)
    with pytest.raises(ValueError, match=r"state\.safetensors is not a whole checkpoint"):
        load_checkpoint(path)


def test_a_pickle_in_place_of_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    witness = tmp_path / "witness"

    class Malicious:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(witness),)

    path.write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(ValueError, match="not a whole checkpoint"):
        load_checkpoint(path)
    assert not witness.exists()
