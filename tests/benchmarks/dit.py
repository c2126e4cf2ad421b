"""Tokens per second of a training step of the token transformer, beside a plain `torch.nn.TransformerEncoder`.

    python tests/benchmarks/dit.py          measures, prints, and writes reports/benchmarks/dit.{json,md}

A step is forward, backward and fused Adam on 4096 tokens of 28 kinds, in float32 on one thread. The networks take turns
in one process, after a 1024³ matmul, so that whatever slows one down slows the others; all have our allocator setting.
Times are the process's CPU times: on one thread they are the wall's on an idle core, without others' work.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.harness.runs.provenance import cpu_model
from common.nets.dit import TokenTransformer
from common.training.allocator import keep_freed_memory

# Beside this file, wherever it is run from.
spec = importlib.util.spec_from_file_location("unet_benchmark", Path(__file__).with_name("unet.py"))
assert spec is not None
assert spec.loader is not None
unet = importlib.util.module_from_spec(spec)
spec.loader.exec_module(unet)

REPORT = Path(__file__).resolve().parents[2] / "reports" / "benchmarks"
TOKENS, VOCAB = 4096, 28
TIMED, UNTIMED, PLAIN = "with time", "causal, without time", "torch"
NETWORKS = {
    TIMED: "TokenTransformer, time by modulation",
    UNTIMED: "TokenTransformer, causal, without time",
    PLAIN: "torch.nn.TransformerEncoder (no time, learned positions)",
}


class Shape(NamedTuple):
    """A network's size: width W, depth, heads H, and the length L of its sequences."""

    width: int
    depth: int
    heads: int
    length: int

    def flops(self) -> int:
        """Of the matrix products of a step: weights and attention, forward and twice that backward."""
        layer = 24 * self.width**2 + 4 * self.length * self.width
        return 3 * TOKENS * (self.depth * layer + 2 * self.width * VOCAB)


SHAPES = {"1.2 M": Shape(128, 4, 4, 64), "7.1 M": Shape(256, 6, 4, 256)}


class PlainEncoder(nn.Module):
    """A table of tokens and one of positions, PyTorch's pre-norm encoder, and a head."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        W = shape.width
        self.embed = nn.Embedding(VOCAB, W)
        self.positions = nn.Parameter(torch.zeros(shape.length, W))
        layer = nn.TransformerEncoderLayer(W, shape.heads, 4 * W, 0.0, "gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, shape.depth, nn.LayerNorm(W), enable_nested_tensor=False)
        self.head = nn.Linear(W, VOCAB)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(tokens) + self.positions))


def build(name: str, shape: Shape) -> nn.Module:
    """The network `name`; with a condition as wide as itself."""
    if name == PLAIN:
        return PlainEncoder(shape)
    return TokenTransformer(
        VOCAB,
        width=shape.width,
        depth=shape.depth,
        heads=shape.heads,
        cond_features=shape.width if name == TIMED else 0,
        causal=name == UNTIMED,
    )


def training_step(net: nn.Module, shape: Shape, timed: bool) -> Callable[[], None]:
    """One optimiser step on a fixed batch."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(VOCAB, (TOKENS // shape.length, shape.length), generator=generator)
    inputs = (tokens, torch.rand(len(tokens), generator=generator)) if timed else (tokens,)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(net(*inputs).flatten(0, 1), tokens.flatten()).backward()
        optimizer.step()

    return step


def measure(shape: Shape, rounds: int) -> dict[str, Any]:
    """Medians over rounds; ratios and shares are taken within a round."""
    nets = {name: build(name, shape) for name in NETWORKS}
    steps = {name: training_step(net, shape, name == TIMED) for name, net in nets.items()}
    for step in steps.values():
        step()
    matmuls: list[float] = []
    seconds: dict[str, list[float]] = {name: [] for name in NETWORKS}
    for _ in range(rounds):
        matmuls.append(unet.matmul_rate())
        for name, step in steps.items():
            start = time.process_time()
            step()
            seconds[name].append(time.process_time() - start)
    rate = shape.flops()
    return {
        "shape": shape._asdict(),
        "gflop": rate / 1e9,
        "matmul_gflops": statistics.median(matmuls) / 1e9,
        "rounds": rounds,
        "networks": {
            name: {
                "parameters": sum(p.numel() for p in nets[name].parameters()),
                "seconds_per_step": statistics.median(times),
                "tokens_per_second": TOKENS / statistics.median(times),
                "share": statistics.median(rate / s / m for s, m in zip(times, matmuls, strict=True)),
                "ratio_to_torch": statistics.median(p / s for s, p in zip(times, seconds[PLAIN], strict=True)),
            }
            for name, times in seconds.items()
        },
    }


def benchmark(rounds: int) -> dict[str, Any]:
    """Both shapes; the larger one in half as many rounds."""
    torch.set_num_threads(1)
    keep_freed_memory()
    machine = {
        "processor": cpu_model(),
        "cores": os.cpu_count(),
        "threads": 1,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    first, second = SHAPES.values()
    measured = [measure(first, rounds), measure(second, rounds // 2)]
    return {"machine": machine, "shapes": dict(zip(SHAPES, measured, strict=True))}


def as_markdown(result: dict[str, Any]) -> str:
    """The report as a table."""
    machine = result["machine"]
    rows = [
        f"| {size} | {NETWORKS[name]} | {n['parameters'] / 1e6:.2f} M | {n['tokens_per_second']:,.0f} "
        f"| {1000 * n['seconds_per_step']:.0f} | {n['share']:.0%} | {n['ratio_to_torch']:.2f} |"
        for size, measured in result["shapes"].items()
        for name, n in measured["networks"].items()
    ]
    shapes = "; ".join(
        f"{size}: d {s['shape']['width']}, {s['shape']['depth']} layers, {s['shape']['heads']} heads, "
        f"L {s['shape']['length']}, {s['gflop']:.1f} GFLOP"
        for size, s in result["shapes"].items()
    )
    return f"""# Training throughput of the token transformer

Forward, backward and fused Adam on 4096 tokens, float32, one thread, as tokens per second and as a share of the float32
matmul rate (1024³) of the same process just before: medians over rounds, in which the networks take turns.
{shapes}.
{machine["processor"]}, one of {machine["cores"]} cores, PyTorch {machine["torch"]}.
Made by `python tests/benchmarks/dit.py`.

| size | network | parameters | tokens/s | CPU ms per step | share of matmul | times torch |
|---|---|---|---|---|---|---|
{chr(10).join(rows)}

All three are counted with the same matrix products, attention in full even where it is causal. Rotary positions and
modulations, which have one row for each sequence, count for nothing.
"""


def main() -> None:
    result = benchmark(rounds=12)
    REPORT.mkdir(parents=True, exist_ok=True)
    (REPORT / "dit.json").write_text(json.dumps(result, indent=2) + "\n")
    (REPORT / "dit.md").write_text(as_markdown(result))
    print(as_markdown(result))


if __name__ == "__main__":
    main()
