"""What a step of SEDD's samplers costs beside the one network call that it needs.

    python tests/benchmarks/sedd.py          measures, prints, and writes reports/benchmarks/sedd.{json,md}

The 1.2 M network (d 128, 4 layers, 4 heads) on 27 characters, 32 sequences of 64 and 16 of 256, in float32 on one
thread. Calls of the network and whole steps (law in float64, and the draw) take turns in one process; times are CPU
times.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from common.harness.runs.provenance import cpu_model
from common.nets.dit import TokenTransformer
from common.training.allocator import keep_freed_memory
from papers.sedd.graph import Absorbing, Graph, Uniform
from papers.sedd.network import RatioNetwork
from papers.sedd.noise import LogLinear
from papers.sedd.sampler import Step, euler_step, reverse_times, sample, tweedie_step

REPORT = Path(__file__).resolve().parents[2] / "reports" / "benchmarks"
N, STEPS = 27, 7
SHAPES = ((32, 64), (16, 256))
CASES: dict[str, tuple[type[Graph], Step]] = {
    "absorbing, Tweedie": (Absorbing, tweedie_step),
    "absorbing, Euler": (Absorbing, euler_step),
    "uniform, Tweedie": (Uniform, tweedie_step),
}


def loops(graph: Graph, step: Step, shape: tuple[int, int]) -> tuple[Callable[[], None], Callable[[], None], list[int]]:
    """STEPS + 1 calls of the network, a sampler that makes as many, and what the latter counted."""
    generator = torch.Generator().manual_seed(0)
    net = RatioNetwork(TokenTransformer(graph.dim, generator=generator), graph).eval()
    x, times, noise = graph.sample_base(shape, generator), reverse_times(STEPS), LogLinear()
    tokens = torch.randint(N, shape, generator=generator)
    calls: list[int] = []

    def counted(x_t: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return net(x_t, sigma)

    @torch.no_grad()
    def bare() -> None:
        for t in times:
            net.net(tokens, noise.sigma(t).expand(len(tokens)).float())

    def whole() -> None:
        sample(counted, x, graph, noise, times, step, generator)

    return bare, whole, calls


def benchmark(rounds: int = 12) -> dict[str, Any]:
    """CPU milliseconds of a network call and of a sampler step, medians over rounds after one to warm up."""
    torch.set_num_threads(1)
    keep_freed_memory()
    results = []
    for shape in SHAPES:
        for name, (graph, step) in CASES.items():
            bare, whole, _ = loops(graph(N), step, shape)
            times: tuple[list[float], list[float]] = ([], [])
            for turn in range(rounds + 1):
                for loop, spent in zip((bare, whole), times, strict=True):
                    start = time.process_time()
                    loop()
                    if turn:
                        spent.append((time.process_time() - start) / (STEPS + 1))
            ratios = [whole_ / bare_ for bare_, whole_ in zip(*times, strict=True)]
            results.append(
                {
                    "sampler": name,
                    "shape": list(shape),
                    "call_ms": 1e3 * statistics.median(times[0]),
                    "step_ms": 1e3 * statistics.median(times[1]),
                    "ratio": statistics.median(ratios),
                    "ratio_range": [min(ratios), max(ratios)],
                    "rounds": rounds,
                }
            )
    machine = {"processor": cpu_model(), "cores": os.cpu_count(), "torch": torch.__version__}
    return {"machine": machine, "samplers": results}


def as_markdown(result: dict[str, Any]) -> str:
    """The report as a table."""
    machine, rounds = result["machine"], result["samplers"][0]["rounds"]
    rows = [
        f"| {r['sampler']} | {r['shape'][0]} × {r['shape'][1]} | {r['call_ms']:.1f} | {r['step_ms']:.1f} "
        f"| {r['ratio']:.3f} | {r['ratio_range'][0]:.3f} to {r['ratio_range'][1]:.3f} |"
        for r in result["samplers"]
    ]
    return f"""# Cost of a sampler step of SEDD

A step of `papers.sedd.sampler.sample` beside a bare call of the network that it makes: d 128, 4 layers, 4 heads, 27
characters, float32, one thread. CPU milliseconds, medians of {rounds} rounds in one process; the law of each position
and the draw are in float64. {machine["processor"]}, one of {machine["cores"]} cores, PyTorch {machine["torch"]}.
Made by `python tests/benchmarks/sedd.py`.

| sampler | sequences | network call | whole step | ratio | range |
|---|---|---|---|---|---|
{chr(10).join(rows)}
"""


def main() -> None:
    result = benchmark()
    REPORT.mkdir(parents=True, exist_ok=True)
    (REPORT / "sedd.json").write_text(json.dumps(result, indent=2) + "\n")
    (REPORT / "sedd.md").write_text(as_markdown(result))
    print(as_markdown(result))


if __name__ == "__main__":
    main()
