"""The models of Section 5 on one transformer and one budget: bits per character, and whether ratios are ratios."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import log
from pathlib import Path

import torch
from torch import Tensor, nn

from common.harness.studies.experiment import Experiment, Grid, Resources, Row, Run, at_least, one_of
from common.nets.attention import head_width, rotary_phases
from common.nets.dit import TokenTransformer
from common.training.checkpoint import load_checkpoint, save_checkpoint
from common.training.loop import TrainConfig, train
from papers.sedd.autoregression import autoregressive_loss
from papers.sedd.experiments_exact import above_entropy
from papers.sedd.graph import Absorbing, Graph, LogScore
from papers.sedd.languages import INITIAL, LANGUAGES, SAMPLING, TRAINING, Language, language, look_at, stream
from papers.sedd.loss import Bound, uniform_times
from papers.sedd.models import DIFFUSIONS, LOG_LINEAR, MODELS


@dataclass(frozen=True)
class TrainingConfig:
    """One model at one scale. The paper: 12 layers of 768, batch 512, learning rate 3e-4, warm-up, clipping at 1."""

    model: str
    language: str
    length: int
    width: int
    depth: int
    heads: int
    steps: int
    batch: int
    lr: float
    warmup: int
    """Steps over which the learning rate rises from 0."""
    dropout: float = 0.0
    ema_rampup: float | None = 0.05
    """The average of the weights has a half-life of 6931 steps (decay 0.9999), at most this share of those made."""
    n_test: int = 512
    n_times: int = 32
    checkpoint_every: int = 0

    def __post_init__(self) -> None:
        one_of(MODELS, self, "model")
        one_of(LANGUAGES, self, "language")
        at_least(1, self, "width", "depth", "heads", "steps", "batch", "n_times")
        at_least(2, self, "length", "n_test")
        at_least(0, self, "warmup", "dropout", "checkpoint_every")
        rotary_phases(1, head_width(self.width, self.heads))  # what the network would refuse, before anything runs


def network(config: TrainingConfig, vocab: int, generator: torch.Generator) -> nn.Module:
    """The untrained model. All see the same tokens and have the same blocks; the autoregressive one knows no time."""
    blocks = partial(
        TokenTransformer,
        width=config.width,
        depth=config.depth,
        heads=config.heads,
        dropout=config.dropout,
        generator=generator,
    )
    if config.model == "ar":
        return blocks(vocab + 1, vocab, cond_features=0, causal=True)
    diffusion = DIFFUSIONS[config.model]
    graph = diffusion.graph(vocab)
    net = blocks(graph.dim, cond_features=min(128, config.width))
    return diffusion.network(net, graph)


def optimisation(config: TrainingConfig) -> TrainConfig:
    return TrainConfig(
        steps=config.steps,
        batch_size=config.batch,
        lr=config.lr,
        lr_rampup=config.warmup * config.batch,
        ema_halflife=log(0.5) / log(0.9999) * config.batch,
        ema_rampup=config.ema_rampup,
        clip=1.0,
        checkpoint_every=config.checkpoint_every,
    )


def loss_of(config: TrainingConfig, vocab: int) -> Callable[..., Tensor]:
    """Nats per sequence divided by its length, so that gradients are clipped alike at every length."""

    def loss(net: nn.Module, x0: Tensor, generator: torch.Generator) -> Tensor:
        if config.model == "ar":
            return autoregressive_loss(net, x0, vocab) / config.length
        diffusion = DIFFUSIONS[config.model]
        return diffusion.loss(net, x0, generator, diffusion.graph(vocab), diffusion.noise) / config.length

    return loss


@torch.no_grad()
def invalid_ratios(score: LogScore, x0: Tensor, graph: Graph, generator: torch.Generator) -> float:
    """The share of ratios on the graph's edges that are not positive, at t ~ U(0, 1]."""
    sigma = LOG_LINEAR.sigma(uniform_times(len(x0), generator))
    x_t = graph.sample(x0, sigma, generator)
    edges = graph.rate_into(x_t) > 0
    return float((score(x_t, sigma) <= 0)[edges].double().mean())


def evaluate(config: TrainingConfig, net: nn.Module, lang: Language, seed: int, device: str) -> dict[str, float]:
    """Bits per character of the test set (an upper bound, but for autoregression), and how far they lie above the
    entropy, where that is known."""
    draws, x0 = stream(seed, SAMPLING, device), lang.test
    found: dict[str, float] = {}
    bounds: list[Bound] = []
    zero = torch.zeros(1, dtype=torch.float64, device=x0.device)
    for part in x0.split(256):
        if config.model == "ar":
            with torch.no_grad():
                nll = autoregressive_loss(net, part, lang.vocab).double()
            bounds.append(Bound(nll, zero.expand(len(part)), zero.expand(len(part))))
        else:
            diffusion = DIFFUSIONS[config.model]
            bounds.append(diffusion.bound(net, part, draws, diffusion.graph(lang.vocab), config.n_times))
    total = torch.cat([bound.total for bound in bounds])
    found["bpc"] = float(total.mean()) / config.length / log(2)
    if config.model == "csm-absorb":
        found["invalid"] = invalid_ratios(net, x0, Absorbing(lang.vocab), draws)
    elif config.model == "sedd-absorb":
        found["invalid"] = invalid_ratios(lambda x_t, sigma: net(x_t, sigma).exp(), x0, Absorbing(lang.vocab), draws)
    if lang.source is not None:
        found["entropy_bpc"] = lang.source.entropy(config.length) / config.length / log(2)
        above = above_entropy(Bound(total, zero, zero), lang.source.log_prob(x0.cpu()))
        found |= {name: above[name] for name in ("excess", "standard_error", "z")}
    return found


def training(config: TrainingConfig, seed: int, run: Run) -> list[Row]:
    """Train one model; what it says of the test set."""
    lang = language(config.language, config.length, config.n_test, seed, run.device)
    net = network(config, lang.vocab, stream(seed, INITIAL)).to(run.device)
    checkpoint = run.folder / "training.safetensors" if config.checkpoint_every else None
    generator = stream(seed, TRAINING, run.device)
    trained = train(
        net,
        loss_of(config, lang.vocab),
        lang.batches,
        optimisation(config),
        generator,
        log=run.log,
        checkpoint=checkpoint,
    )
    save_checkpoint(run.folder / "ema.safetensors", trained.ema.state_dict(), {"model": config.model})
    parameters = sum(p.numel() for p in net.parameters())
    return [{"parameters": parameters, **evaluate(config, trained.ema, lang, seed, run.device)}]


def load(config: TrainingConfig, vocab: int, folder: Path, device: str) -> nn.Module:
    """The averaged network that `training` left in `folder`."""
    net = network(config, vocab, torch.Generator())
    net.load_state_dict(load_checkpoint(folder / "ema.safetensors")[0])
    return net.to(device).eval()


QUICK = TrainingConfig(
    "ar", "markov", 32, width=32, depth=2, heads=2, steps=200, batch=64, lr=4e-3, warmup=25, n_test=256
)
SMALL = TrainingConfig(
    "ar",
    "tinyshakespeare27",
    64,
    width=64,
    depth=4,
    heads=4,
    steps=2000,
    batch=16,
    lr=1e-3,
    warmup=100,
    n_test=410,
    n_times=16,
    checkpoint_every=500,
)
GPU = TrainingConfig(
    "ar",
    "text8",
    256,
    width=768,
    depth=12,
    heads=12,
    steps=1_000_000,
    batch=512,
    lr=3e-4,
    warmup=2000,
    dropout=0.1,
    ema_rampup=None,
    n_test=19_000,
    n_times=128,
    checkpoint_every=5000,
)


def _models(base: TrainingConfig, *models: str) -> list[TrainingConfig]:
    return [replace(base, model=model) for model in models]


_CASED = replace(SMALL, language="tinyshakespeare")
TRAINING_EXPERIMENTS = (
    Experiment(
        training,
        TrainingConfig,
        {
            "quick": Grid(_models(QUICK, *(model for model in MODELS if model != "d3pm-uniform")), 4),
            "small": Grid([*_models(SMALL, *MODELS), *_models(_CASED, "ar", "sedd-absorb", "sedd-uniform")], 5),
            "gpu": Grid(_models(GPU, *MODELS), 3),
        },
        resources={"gpu": Resources(cpus=4, gpus=1.0)},
        prepare=lambda config: look_at(config.language),
    ),
)
