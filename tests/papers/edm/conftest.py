"""What stands in for torch-fidelity, which downloads a network."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch


@pytest.fixture
def torch_fidelity(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stands in for torch-fidelity: keeps what it is asked for, and answers with the mean byte."""
    asked: dict[str, Any] = {}

    def calculate_metrics(**arguments: Any) -> dict[str, float]:
        asked.update(arguments)
        data = arguments["input1"]
        asked["images"] = torch.stack([data[i] for i in range(len(data))])
        return {"frechet_inception_distance": float(asked["images"].double().mean())}

    monkeypatch.setitem(sys.modules, "torch_fidelity", SimpleNamespace(calculate_metrics=calculate_metrics))
    return asked
