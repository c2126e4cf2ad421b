"""A fully connected layer, fast where CPU training spends its time: on many rows in float32."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from common.nets.init import xavier_

ROWS, WIDTH = 1024, 128
"""From this many rows, inputs and outputs on, oneDNN's matrix product is the faster one."""


class Linear(nn.Linear):
    """y = x Wᵀ + b; x: (..., n_in) -> (..., n_out).

    On a CPU the products with W, forward and back, are oneDNN's, 10 to 20 % ahead of the BLAS that PyTorch calls. Only
    first derivatives are defined there.
    """

    def forward(self, x: Tensor) -> Tensor:
        large = x.numel() >= ROWS * x.shape[-1] and min(self.weight.shape) >= WIDTH
        plain = x.device.type == "cpu" and x.dtype == self.weight.dtype == torch.float32
        if large and plain and not torch.is_autocast_enabled("cpu") and torch.backends.mkldnn.is_available():
            return _OneDNN.apply(x, self.weight, self.bias)
        return super().forward(x)


class _OneDNN(torch.autograd.Function):
    """dx = dy W by oneDNN; dW = dyᵀ x by BLAS, which sums over rows as fast; db = Σ dy."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        rows = dy.flatten(0, -2)
        dx = _product(dy, weight.t(), None) if ctx.needs_input_grad[0] else None
        dweight = rows.t() @ x.flatten(0, -2) if ctx.needs_input_grad[1] else None
        return dx, dweight, rows.sum(0) if ctx.needs_input_grad[2] else None


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def linear_of_rows(inputs: int, outputs: int, generator: torch.Generator | None, *, bias: bool = True) -> Linear:
    """A `Linear` whose weights come from `generator` as those of `common.nets.init.linear` do."""
    layer = nn.utils.skip_init(Linear, inputs, outputs, bias=bias)
    xavier_(layer, 1.0, generator)
    return layer
