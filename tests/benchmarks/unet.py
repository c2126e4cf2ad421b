"""How much of the processor's matmul rate a training step of the U-Net reaches, beside diffusers' `UNet2DModel`.

    python tests/benchmarks/unet.py          measures, prints, and writes reports/benchmarks/unet.{json,md}

A step is forward, backward and fused Adam at 28x28x1, batch 64, 32 channels, multipliers 1-2-2, one block, attention
at 7, in float32 on one thread. Every network has a process of its own, which times a 1024³ matmul before each step; the
processes take turns. Times are CPU times: on one thread they are the wall's on an idle core, without others' work.
torchcfm and denoising_diffusion_pytorch, which the project does not depend on, are measured where they are installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from common.harness.runs.provenance import cpu_model
from common.nets.unet import ddpmpp
from common.nets.unet_block import Conv, ResidualDown
from common.training.allocator import keep_freed_memory

REPORT = Path(__file__).resolve().parents[2] / "reports" / "benchmarks"
BATCH = 64
Forward = Callable[[Tensor, Tensor], Tensor]
KEPT = "diffusers, memory kept"
LABELS = {
    "ours": "common.nets.unet.ddpmpp, as common.training runs it",
    "diffusers": "diffusers UNet2DModel, channels_last",
    "diffusers, contiguous": "diffusers UNet2DModel, as it comes",
    KEPT: "diffusers, channels_last, with our allocator setting",
    "torchcfm": "torchcfm UNetModel, as it comes (channels_last is slower)",
    "denoising_diffusion_pytorch": "lucidrains' Unet, channels_last (as it comes is slower)",
}
OPTIONAL = ("torchcfm", "denoising_diffusion_pytorch")
NETWORKS = [name for name in LABELS if name not in OPTIONAL or importlib.util.find_spec(name)]


def build(name: str) -> tuple[nn.Module, Forward]:
    """A network in training mode, and how it is called with x: (B, 1, 28, 28) and c_noise: (B,)."""
    if name in ("ours", KEPT):
        keep_freed_memory()
    if name == "ours":
        net = ddpmpp(28, 1, model_channels=32, channel_mult=(1, 2, 2), num_blocks=1, attn_resolutions=(7,), dropout=0.0)
        return net.train(), net
    other: Any
    if name == "torchcfm":
        torchcfm = importlib.import_module("torchcfm.models.unet")
        other = torchcfm.UNetModel((1, 28, 28), 32, 1, channel_mult=[1, 2, 2], attention_resolutions="7")
        return other.train(), lambda x, c_noise: other(c_noise, x.contiguous(memory_format=torch.contiguous_format))
    if name == "denoising_diffusion_pytorch":
        lucidrains = importlib.import_module("denoising_diffusion_pytorch.denoising_diffusion_pytorch")
        other = lucidrains.Unet(32, dim_mults=(1, 2, 2), channels=1).to(memory_format=torch.channels_last)
        return other.train(), other
    from diffusers import UNet2DModel

    other = UNet2DModel(
        sample_size=28,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(32, 64, 64),
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
        attention_head_dim=64,
    )
    if name == "diffusers, contiguous":
        return (
            other.train(),
            lambda x, c_noise: other(x.contiguous(memory_format=torch.contiguous_format), c_noise).sample,
        )
    other.to(memory_format=torch.channels_last)
    return other.train(), lambda x, c_noise: other(x, c_noise).sample


def training_step(net: nn.Module, forward: Forward, batch: int = BATCH) -> Callable[[], None]:
    """One optimiser step on a fixed batch."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, 1, 28, 28, generator=generator).contiguous(memory_format=torch.channels_last)
    c_noise = torch.rand(batch, generator=generator)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        (forward(x, c_noise) - x).square().mean().backward()
        optimizer.step()

    return step


def count_flops(net: nn.Module, step: Callable[[], None]) -> tuple[int, int]:
    """(FLOPs of the network as defined, FLOPs run) of a step, both by PyTorch's counter.

    They differ where our `Conv` finds the same numbers with less work: on its way up. There the definition, pixels
    repeated and then convolved, is counted; each convolution runs three times: forward, and back to input and weight.
    """
    saved = 0

    def count(conv: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal saved
        assert isinstance(conv, Conv)
        if conv.up and not isinstance(conv, ResidualDown):
            taps = conv.weight.numel()
            low, high = inputs[0][:, 0].numel(), output[:, 0].numel()
            # Run: a 4x4 kernel per low pixel in place of a 3x3 one per high pixel; or a pointwise one on low pixels.
            run = low * taps * 16 // 9 if conv.weight.shape[-1] == 3 else low * taps
            saved += 3 * 2 * (high * taps - run)

    hooks = [module.register_forward_hook(count) for module in net.modules() if isinstance(module, Conv)]
    with FlopCounterMode(display=False) as counter:
        step()
    for hook in hooks:
        hook.remove()
    return counter.get_total_flops() + saved, counter.get_total_flops()


def matmul_rate(n: int = 1024, repeats: int = 5) -> float:
    """FLOP/s of a float32 n³ matmul, the best of `repeats`."""
    a, b, c = torch.randn(n, n), torch.randn(n, n), torch.empty(n, n)
    times = []
    for _ in range(repeats):
        start = time.process_time()
        torch.mm(a, b, out=c)
        times.append(time.process_time() - start)
    return 2 * n**3 / min(times)


def serve(name: str) -> None:
    """One network in this process: its FLOPs, then a round for every line of standard input, and at its end a profile.

    A round is the rate of a matmul and the seconds of a training step just after it.
    """
    torch.set_num_threads(1)
    net, forward = build(name)
    step = training_step(net, forward)
    print(json.dumps(count_flops(net, step)), flush=True)
    step()
    for _ in sys.stdin:
        matmul = matmul_rate()
        start = time.process_time()
        step()
        print(json.dumps([matmul, time.process_time() - start]), flush=True)
    print(json.dumps(profile(step) if name == "ours" else {}), flush=True)


CLASSES = {
    "convolution, forward": ("mkldnn_convolution", "conv"),
    "convolution, backward": ("convolution_backward",),
    "group normalisation": ("addcmul", "sum", "native_group_norm"),
    "SiLU": ("silu",),
    "attention": ("scaled_dot_product", "softmax"),
    "linear layers": ("mm",),
    "optimiser": ("fused_adam", "Optimizer"),
}


def profile(step: Callable[[], None], steps: int = 3) -> dict[str, float]:
    """The share of a step's time in each class of operations (by torch.profiler's own times)."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        for _ in range(steps):
            step()
    shares = dict.fromkeys([*CLASSES, "all else (sums of skips, squares, copies, resampling, Python)"], 0.0)
    for event in profiler.key_averages():
        name = event.key.lower()
        # Backward before forward: "convolution_backward" also begins with "conv".
        order = ["convolution, backward", *CLASSES, list(shares)[-1]]
        kind = next((c for c in order if any(part.lower() in name for part in CLASSES.get(c, ("",)))), order[-1])
        shares[kind] += event.self_cpu_time_total
    total = sum(shares.values())
    return {kind: share / total for kind, share in shares.items()}


def summarise(flops: int, run: int, rounds: list[list[float]]) -> dict[str, Any]:
    """Medians over a network's rounds; shares are taken against the matmul just before each step."""
    shares = [flops / seconds / matmul for matmul, seconds in rounds]
    share = statistics.median(shares)
    return {
        "share": share,
        "share_range": [min(shares), max(shares)],
        "share_run": share * run / flops,
        "seconds_per_step": statistics.median(seconds for _, seconds in rounds),
        "gflop_defined": flops / 1e9,
        "gflop_run": run / 1e9,
        "matmul_gflops": statistics.median(matmul for matmul, _ in rounds) / 1e9,
        "rounds": len(rounds),
    }


def benchmark(rounds: int, names: Sequence[str] = NETWORKS) -> dict[str, Any]:
    """Every network in a process of its own, by turns: a slow spell of a shared machine meets all of them."""
    workers = {
        name: subprocess.Popen(
            [sys.executable, __file__, "--serve", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for name in names
    }
    flops: dict[str, tuple[int, int]] = {name: json.loads(answer(worker)) for name, worker in workers.items()}
    measured: dict[str, list[list[float]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name, worker in workers.items():
            measured[name].append(json.loads(answer(worker, "round\n")))
    classes = {name: json.loads(worker.communicate()[0]) for name, worker in workers.items()}
    networks = {name: summarise(*flops[name], measured[name]) for name in names}
    versions = {"torch": torch.__version__, "python": platform.python_version()}
    best = best_peer(networks)
    return {
        "machine": {"processor": cpu_model(), "cores": os.cpu_count(), "threads": 1, **versions},
        "networks": networks,
        "ratio_to_diffusers": networks["ours"]["share"] / networks["diffusers"]["share"],
        "best_peer": best,
        "ratio_to_best_peer": networks["ours"]["share"] / networks[best]["share"],
        "where_a_step_goes": classes["ours"],
    }


def answer(worker: subprocess.Popen[str], line: str = "") -> str:
    """The next line a worker prints, after `line` was sent to it."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(line)
    worker.stdin.flush()
    return worker.stdout.readline()


def best_peer(networks: dict[str, Any]) -> str:
    """The fastest network that is not ours, none of ours' settings lent to it."""
    return max((name for name in networks if name not in ("ours", KEPT)), key=lambda name: networks[name]["share"])


WHY = """
What is in the way: the convolutions, which all networks here run in the same kernels of oneDNN, and which no other
layout makes faster. The rest is passes over activations that leave the cache: sums and affine maps of group
normalisation, SiLU, skips. Slices that stay in the cache, the last convolution as a matmul, pointwise convolutions as
matmuls, sums by broadcasting, smaller batches with their gradients added, and huge pages were tried: each gains a few
per cent of a step at most, or loses. Kernels of our own would need a compiler on a bare machine."""


def as_markdown(result: dict[str, Any]) -> str:
    """The report as tables."""
    machine = result["machine"]
    rows = [
        f"| {LABELS[name]} | {n['share']:.1%} | {n['share_range'][0]:.0%} to {n['share_range'][1]:.0%} "
        f"| {n['share_run']:.1%} "
        f"| {n['seconds_per_step']:.3f} | {n['gflop_defined']:.1f} | {n['gflop_run']:.1f} | {n['matmul_gflops']:.0f} |"
        for name, n in result["networks"].items()
    ]
    classes = [f"| {kind} | {share:.1%} |" for kind, share in result["where_a_step_goes"].items()]
    ours, best = result["networks"]["ours"]["share"], result["networks"][result["best_peer"]]["share"]
    convolutions = sum(share for kind, share in result["where_a_step_goes"].items() if kind.startswith("convolution"))
    left = ours / (1.25 * best) - convolutions
    ahead = f"""Ours is {ours / best:.2f} times the best of the others as they come ({result["best_peer"]}),
and {result["ratio_to_diffusers"]:.2f} times diffusers in channels_last."""
    if ours < 1.25 * best:
        ahead += f" The aim, a lead of a quarter, is not reached.\n{WHY}"
    return f"""# Training throughput of the U-Net

Forward, backward and fused Adam at 28×28×1, batch 64, 32 channels, multipliers 1-2-2, one block, attention at 7,
float32, as a share of the float32 matmul rate (1024³) of the same process: medians over rounds.
{machine["processor"]}, one of {machine["cores"]} cores, PyTorch {machine["torch"]}.
Made by `python tests/benchmarks/unet.py`.

| network | share of matmul | range | by FLOPs run | CPU s per step | GFLOP | GFLOP run | matmul GFLOP/s |
|---|---|---|---|---|---|---|---|
{chr(10).join(rows)}

{ahead}

The share counts the FLOPs of the network as it is defined, by PyTorch's counter, the same way for all. Ours runs fewer
for the same numbers (a convolution of repeated pixels is one transposed convolution); the column by FLOPs run gives it
no credit for that.

Where a step of ours goes:

| operations | time |
|---|---|
{chr(10).join(classes)}

Convolutions, which run in oneDNN's own kernels, are {convolutions:.0%} of the step. To be 1.25 times the best, all else
would have to come down from {1 - convolutions:.0%} of the present step to {left:.0%}.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", choices=NETWORKS, help="run one network in this process, a round per line of input")
    parser.add_argument("--rounds", type=int, default=16)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
        return
    result = benchmark(arguments.rounds)
    REPORT.mkdir(parents=True, exist_ok=True)
    (REPORT / "unet.json").write_text(json.dumps(result, indent=2) + "\n")
    (REPORT / "unet.md").write_text(as_markdown(result))
    print(as_markdown(result))


if __name__ == "__main__":
    main()
