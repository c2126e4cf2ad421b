"""What the tests of SEDD share: graphs, a law of four tokens out of three, a Markov chain, naive oracles, and a tiny
network's config."""

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from papers.sedd.exact import sequences
from papers.sedd.graph import Absorbing, Graph, Uniform
from papers.sedd.noise import Geometric, LogLinear
from papers.sedd.studies.models import QUICK

N, L = 3, 4
UNIFORM, ABSORBING = Uniform(N), Absorbing(N)
GRAPHS = (UNIFORM, ABSORBING)
NOISES = (LogLinear(), Geometric(0.05, 8.0))
# Of many comparisons by p-value, each true one fails in one of 10⁴ seeds; the seeds are fixed.
P = 1e-4
TINY = replace(QUICK, width=8, depth=1, heads=1, steps=2, batch=4, n_test=6, n_times=2, length=8)


def name(value: object) -> str:
    return type(value).__name__


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_law(length: int = L, seed: int = 0) -> Tensor:
    """A law of sequences without structure, (N,)*length; squared, so that it is far from uniform."""
    p = torch.rand((N,) * length, generator=generator(seed), dtype=torch.float64) ** 2
    return p / p.sum()


def draw(p: Tensor, n: int, seed: int = 0) -> Tensor:
    """n sequences from a law (N,)*L."""
    return sequences(p.shape[0], p.ndim)[torch.multinomial(p.flatten(), n, replacement=True, generator=generator(seed))]


@dataclass(frozen=True)
class Chain:
    """A Markov chain that does not start in its stationary law."""

    start: Tensor
    transition: Tensor

    def law(self, length: int) -> Tensor:
        """(N,)*length, by the product over its steps."""
        p = self.start
        for _ in range(length - 1):
            p = p[..., None] * self.transition
        return p


CHAIN = Chain(
    torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64),
    torch.tensor([[0.1, 0.7, 0.2], [0.25, 0.05, 0.7], [0.8, 0.15, 0.05]], dtype=torch.float64),
)


def rates(graph: Graph) -> np.ndarray:
    """Q entry by entry, from the words: at rate 1 to the mask, or at rate 1 to any of the N tokens alike."""
    Q = np.zeros((graph.dim, graph.dim))
    for x, y in product(range(graph.dim), repeat=2):
        if graph.mask is None:
            Q[y, x] += 1 / graph.N
        elif y == graph.mask:
            Q[y, x] += 1
        if x == y:
            Q[y, x] -= 1
    return Q


def expm(graph: Graph, sigma: float) -> np.ndarray:
    """[y, x] = p(y | x), by scipy."""
    return scipy.linalg.expm(sigma * rates(graph))


def random_log_score(graph: Graph, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(*shape, graph.dim, generator=generator(seed), dtype=torch.float64)
