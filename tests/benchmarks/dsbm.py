"""What the DSBM code costs beside the same loops written bare: network, optimiser and noise, and nothing else.

    python tests/benchmarks/dsbm.py          measures, prints, and writes reports/benchmarks/dsbm.{json,md}

At d = 50 with the paper's MLP (256, 256) and batches of 128, in float32 on one thread: a training step, and a refresh
of 10 000 pairs by 20 Euler-Maruyama steps. The two of a pair take turns in one process, so that whatever slows one down
slows the other; times are CPU times. Couplings of mini-batches are timed too, per training step that they serve.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.harness.runs.provenance import cpu_model
from common.training.allocator import keep_freed_memory
from common.training.loop import TrainConfig, train
from common.transport.coupling import Coupling, independent, minibatch_ot, minibatch_sinkhorn
from papers.dsbm.imf import Cache, IMFConfig, Pass, matching, network, squared_error

REPORT = Path(__file__).resolve().parents[2] / "reports" / "benchmarks"
DIM, BATCH, PAIRS, STEPS = 50, 128, 10_000, 20
Loop = Callable[[], None]


class Bare(nn.Module):
    """[x, t] -> 256 -> 256 -> d, of PyTorch's own layers."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(DIM + 1, 256), nn.SiLU(), nn.Linear(256, 256), nn.SiLU(), nn.Linear(256, DIM)
        )

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.net(torch.cat([x, t], 1))


def data() -> tuple[Tensor, Tensor, torch.Generator]:
    """x_0, x_1: (PAIRS, DIM)."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(PAIRS, DIM, generator=generator), torch.randn(PAIRS, DIM, generator=generator), generator


def bare_training(steps: int) -> Loop:
    """`steps` optimiser steps on the forward loss, with the noise drawn batch by batch."""
    x_0, x_1, generator = data()
    net = Bare()
    adam = torch.optim.Adam(net.parameters(), lr=1e-4, fused=True)

    def loop() -> None:
        for step in range(steps):
            rows = slice(step % 78 * BATCH, (step % 78 + 1) * BATCH)
            start, end = x_0[rows], x_1[rows]
            t = torch.rand(BATCH, 1, generator=generator)
            eps = torch.randn(BATCH, DIM, generator=generator)
            x_t = (1 - t) * start + t * end + (t * (1 - t)).sqrt() * eps
            target = (end - x_t) / (1 - t + 1e-3)
            adam.zero_grad()
            F.mse_loss(net(x_t, t), target).backward()
            adam.step()

    return loop


def our_training(steps: int) -> Loop:
    """A pass of `steps` steps by common.training on the cache of papers.dsbm, without refreshes but the first."""
    x_0, x_1, generator = data()
    net = network(DIM, generator)
    method = matching(independent, IMFConfig())
    config = TrainConfig(steps, BATCH, 1e-4, ema_halflife=None, log_every=0)

    def loop() -> None:
        cache = Cache(lambda g: method(x_0, x_1, "f", None, g), steps)
        train(net, squared_error, cache, config, generator)

    return loop


def bare_refresh() -> Loop:
    """PAIRS points, all at once, STEPS times through the network, with noise."""
    x_0, _, generator = data()
    net = Bare()

    @torch.no_grad()
    def loop() -> None:
        x = x_0
        for k in range(STEPS):
            t = torch.full((len(x), 1), k / STEPS)
            x = x + net(x, t) / STEPS + torch.randn(x.shape, generator=generator) / math.sqrt(STEPS)

    return loop


def our_refresh() -> Loop:
    """The pairs of a pass, as the next pass draws them."""
    x_0, x_1, generator = data()
    config = IMFConfig()
    previous = Pass(2, "f", network(DIM, generator), None)
    method = matching(independent, config)

    def loop() -> None:
        method(x_0, x_1, "b", previous, generator)

    return loop


def couplings() -> dict[str, Loop]:
    """Mini-batch transport of as many pairs as a refresh has."""
    x_0, x_1, generator = data()

    def solving(coupling: Coupling) -> Loop:
        def loop() -> None:
            coupling(x_0, x_1, generator)

        return loop

    return {
        "exact, network simplex": solving(minibatch_ot(BATCH)),
        "Sinkhorn, all mini-batches at once": solving(minibatch_sinkhorn(1.0, BATCH)),
    }


def measure(loops: dict[str, Loop], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of every loop in every round, after one to warm up; the loops take turns."""
    times: dict[str, list[float]] = {name: [] for name in loops}
    for turn in range(rounds + 1):
        for name, loop in loops.items():
            start = time.process_time()
            loop()
            if turn:
                times[name].append(time.process_time() - start)
    return times


def compare(times: dict[str, list[float]], per: int = 1) -> dict[str, Any]:
    """Medians, and the median and range of ours over bare round by round."""
    ratios = [ours / bare for ours, bare in zip(times["ours"], times["bare"], strict=True)]
    return {
        "bare_ms": 1e3 * statistics.median(times["bare"]) / per,
        "ours_ms": 1e3 * statistics.median(times["ours"]) / per,
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "rounds": len(ratios),
    }


def benchmark(rounds: int = 8, steps: int = 390) -> dict[str, Any]:
    """Training steps, refreshes and couplings; `steps` is five epochs over a cache."""
    torch.set_num_threads(1)
    keep_freed_memory()
    training = measure({"bare": bare_training(steps), "ours": our_training(steps)}, rounds)
    refresh = measure({"bare": bare_refresh(), "ours": our_refresh()}, rounds)
    solved = measure(couplings(), 2)
    return {
        "machine": {"processor": cpu_model(), "cores": os.cpu_count(), "torch": torch.__version__},
        "training_step": compare(training, steps),
        "refresh": compare(refresh),
        "couplings_ms": {name: 1e3 * statistics.median(times) for name, times in solved.items()},
    }


def as_markdown(result: dict[str, Any]) -> str:
    """The report as tables."""
    machine, step = result["machine"], result["training_step"]
    rows = [
        f"| {name} | {r['bare_ms']:.2f} | {r['ours_ms']:.2f} | {r['ratio']:.2f} "
        f"| {r['ratio_range'][0]:.2f} to {r['ratio_range'][1]:.2f} |"
        for name, r in (("training step", step), ("refresh of 10 000 pairs", result["refresh"]))
    ]
    solved = [f"| {name} | {ms:.0f} | {ms / 78:.2f} |" for name, ms in result["couplings_ms"].items()]
    in_steps = result["refresh"]["ours_ms"] / step["ours_ms"]
    return f"""# Cost of DSBM beside bare loops

The MLP of the Gaussian experiments (256, 256) at d = {DIM}, batch {BATCH}, float32, one thread: CPU milliseconds,
medians of {step["rounds"]} rounds in one process. A bare loop has the network, the
optimiser (fused Adam) and the noise only.
{machine["processor"]}, one of {machine["cores"]} cores, PyTorch {machine["torch"]}.
Made by `python tests/benchmarks/dsbm.py`.

| | bare | ours | ratio | range |
|---|---|---|---|---|
{chr(10).join(rows)}

A refresh costs as much as {in_steps:.0f} training steps; the paper has one every 78. Transport within mini-batches, for
as many pairs, and per training step where these serve 78:

| coupling of 10 000 pairs | ms | ms per step |
|---|---|---|
{chr(10).join(solved)}
"""


def main() -> None:
    result = benchmark()
    REPORT.mkdir(parents=True, exist_ok=True)
    (REPORT / "dsbm.json").write_text(json.dumps(result, indent=2) + "\n")
    (REPORT / "dsbm.md").write_text(as_markdown(result))
    print(as_markdown(result))


if __name__ == "__main__":
    main()
