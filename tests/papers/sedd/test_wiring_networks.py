"""SEDD's networks are those of their configs, in training and where they are judged."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from common.nets.dit import DiTBlock
from common.training.checkpoint import load_checkpoint
from papers.sedd.graph import GRAPHS
from papers.sedd.noise import BOUND_NOISE
from papers.sedd.studies import models, training
from papers.sedd.studies.languages import language
from papers.sedd.studies.models import DIFFUSIONS, MODELS, network, optimisation
from tests.papers.fake_run import FakeRun
from tests.papers.sedd.cases import TINY, generator
from tests.papers.sedd.recorders import awake, seen_tokens, transformer_of


@pytest.mark.parametrize("model", MODELS)
def test_a_network_is_that_of_its_config(model: str) -> None:
    config = replace(TINY, model=model, width=12, depth=3, heads=2, dropout=0.25)
    net = network(config, 8, generator())
    transformer = transformer_of(net)
    blocks = [module for module in net.modules() if isinstance(module, DiTBlock)]
    assert len(blocks) == 3
    assert {(block.heads, block.dropout, block.causal) for block in blocks} == {(2, 0.25, model == "ar")}
    assert transformer.embed.embedding_dim == 12
    assert (transformer.map_noise is None) == (model == "ar")
    states = 8 if model.endswith("uniform") else 9
    assert (transformer.vocab, transformer.out_vocab) == (states, 8 if model == "ar" else states)
    if model != "ar":
        assert net.graph == GRAPHS[model.split("-")[1]](8)
    assert not torch.equal(transformer.embed.weight, transformer_of(network(config, 8, generator(1))).embed.weight)


@pytest.mark.parametrize("model", MODELS)
def test_autoregression_sees_what_came_before_and_the_others_see_all(model: str) -> None:
    net = awake(network(replace(TINY, model=model), 8, generator())).eval()
    mask = 8 if not model.endswith("uniform") else 3
    x = torch.full((1, 6), mask)
    later = x.clone()
    later[0, 4] = 1
    sigma = torch.ones(1, dtype=torch.float64)
    one, two = (net(tokens) if model == "ar" else net(tokens, sigma) for tokens in (x, later))
    moved = (one != two).any(-1)[0].tolist()
    assert moved == ([False] * 4 + [True] * 2 if model == "ar" else [True] * 6)


def test_training_drops_out_and_judging_does_not(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """In training every block drops with the config's probability; what is reported is of the network as it is."""
    config = replace(TINY, model="sedd-absorb", dropout=0.5, n_test=20)
    modes: list[tuple[str, bool, float]] = []
    where = ["training"]
    true = DiTBlock.forward

    def forward(self: DiTBlock, *args: Any) -> Tensor:
        modes.append((where[0], self.training, self.dropout))
        return true(self, *args)

    monkeypatch.setattr(DiTBlock, "forward", forward)
    judged = training.evaluate

    def evaluate(*args: Any) -> Any:
        where[0] = "judging"
        return judged(*args)

    monkeypatch.setattr(training, "evaluate", evaluate)
    training.training(config, 0, run)
    assert set(modes) == {("training", True, 0.5), ("judging", False, 0.5)}


def test_dropout_is_in_the_loss_and_not_in_the_bits() -> None:
    config = replace(TINY, model="sedd-absorb", dropout=0.5, n_test=20)
    lang = language("markov", 8, 20, 0)
    net = awake(network(config, lang.vocab, generator()))
    loss = models.loss_of(config, lang.vocab)

    def losses(mode: bool) -> list[list[float]]:
        net.train(mode)
        return [loss(net, lang.test, generator(3)).tolist() for _ in range(2)]

    dropped, whole = losses(True), losses(False)
    assert dropped[0] != dropped[1]
    assert whole[0] == whole[1]
    bits = [training.evaluate(config, net.eval(), lang, 0, "cpu")["bpc"] for _ in range(2)]
    assert bits[0] == bits[1]


def test_what_is_reported_and_left_is_the_average_of_the_weights(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[str, Any] = {}
    true = training.train

    def train(*args: Any, **kwargs: Any) -> Any:
        kept["trained"] = true(*args, **kwargs)
        kept["config"] = args[3]
        return kept["trained"]

    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(training, "evaluate", lambda config, net, *args: kept.update(judged=net) or {"bpc": 0.0})
    config = replace(TINY, model="sedd-absorb", steps=6, ema_rampup=None)
    training.training(config, 0, run)
    trained = kept["trained"]
    assert kept["judged"] is trained.ema
    assert kept["config"] == optimisation(config)
    left = load_checkpoint(run.folder / "ema.safetensors")[0]
    of_average, of_network = trained.ema.state_dict(), trained.network.state_dict()
    assert all(torch.equal(left[name], value) for name, value in of_average.items())
    assert not all(torch.equal(left[name], value) for name, value in of_network.items())
    loaded = models.load(config, 8, run.folder, "cpu")
    assert not loaded.training
    assert all(torch.equal(value, of_average[name]) for name, value in loaded.state_dict().items())


def test_optimisation_is_that_of_the_config() -> None:
    config = replace(TINY, steps=37, batch=5, lr=0.02, warmup=3, ema_rampup=0.2, checkpoint_every=11)
    made = optimisation(config)
    assert (made.steps, made.batch_size, made.lr, made.lr_rampup) == (37, 5, 0.02, 15)
    assert (made.clip, made.ema_rampup, made.checkpoint_every) == (1.0, 0.2, 11)


@pytest.mark.parametrize("model", DIFFUSIONS)
def test_a_bound_has_as_many_times_as_the_config_says(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(TINY, model=model, n_times=5)
    lang = language("markov", 8, 6, 0)
    seen = seen_tokens(monkeypatch)
    training.evaluate(config, network(config, lang.vocab, generator()), lang, 0, "cpu")
    more = 1 if model in ("csm-absorb", "sedd-absorb") else 0  # the count of ratios that are not positive
    last = 1 if model == "sedd-uniform" else 0  # geometric noise begins above 0
    assert len(seen) == 5 + more + last


@pytest.mark.parametrize("graph", GRAPHS)
def test_a_bound_is_sampled_along_the_noise_of_its_graph(graph: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []

    class Net(nn.Module):
        def forward(self, x_t: Tensor, sigma: Tensor) -> Tensor:
            seen.append(sigma)
            return torch.zeros(*x_t.shape, GRAPHS[graph](8).dim)

    x0 = torch.zeros(100, 4, dtype=torch.long)
    DIFFUSIONS[f"sedd-{graph}"].bound(Net(), x0, generator(), GRAPHS[graph](8), 64)
    wanted = BOUND_NOISE[graph].sigma(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))
    found = torch.cat(seen[:64]).quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))
    torch.testing.assert_close(found, wanted, rtol=0.05, atol=0)
