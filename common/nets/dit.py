"""The transformer block that takes time by modulation (DiT), and the transformer over tokens that SEDD builds of it.

Peebles & Xie 2023 (arXiv 2212.09748), section 3.2, "adaLN-Zero"; Lou et al. 2024 (arXiv 2310.16834), appendix C.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.nets.attention import attend, head_width, rotary_phases
from common.nets.embedding import PositionalEmbedding, per_sample
from common.nets.init import linear
from common.nets.linear import linear_of_rows


class Modulation(nn.Module):
    """`parts` vectors of width W per sample, linear in its condition, and all zero at the start.

    cond: (B, K) -> `parts` tensors (B, 1, W).
    """

    def __init__(self, cond_features: int, width: int, parts: int) -> None:
        super().__init__()
        self.parts = parts
        self.linear = nn.utils.skip_init(nn.Linear, cond_features, parts * width)
        for parameter in self.linear.parameters():
            nn.init.zeros_(parameter)

    def forward(self, cond: Tensor) -> tuple[Tensor, ...]:
        return self.linear(cond)[:, None].chunk(self.parts, dim=2)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """x (1 + scale) + shift; x: (B, L, W), shift and scale: (B, 1, W)."""
    return torch.addcmul(shift, x, 1 + scale)


class DiTBlock(nn.Module):
    """x <- x + g₁ attention(m₁(LN x)), then x <- x + g₂ mlp(m₂(LN x)), with m(x) = x (1 + scale) + shift.

    width, heads        W and H; each head is W / H wide, else ValueError
    cond_features       length K of the condition, from which `Modulation` makes m₁, g₁, m₂ and g₂: all zero at the
                        start, so that the block begins as the identity. 0: no condition, m(x) = x and g = 1
    causal              whether position n attends to 0 .. n only
    mlp_ratio           hidden units of the perceptron (GELU), in W
    dropout             on what either branch adds
    generator           the source of the initial weights; None means torch's default generator
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        cond_features: int = 0,
        causal: bool = False,
        mlp_ratio: int = 4,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        head_width(width, heads)  # raises where it is none
        self.heads, self.causal, self.dropout = heads, causal, dropout
        self.norm1 = nn.LayerNorm(width)
        self.qkv = linear_of_rows(width, 3 * width, generator, bias=False)
        self.attention_out = linear_of_rows(width, width, generator, bias=False)
        self.norm2 = nn.LayerNorm(width)
        self.mlp_in = linear_of_rows(width, mlp_ratio * width, generator)
        self.mlp_out = linear_of_rows(mlp_ratio * width, width, generator)
        self.modulation = Modulation(cond_features, width, 6) if cond_features else None

    def forward(self, x: Tensor, cond: Tensor | None = None, phases: Tensor | None = None) -> Tensor:
        """x: (B, L, W); cond: (B, K), given where the block takes one; phases: as `attend` takes them -> (B, L, W)."""
        if self.modulation is None:
            x = x + self._drop(self._attention(self.norm1(x), phases))
            return x + self._drop(self._mlp(self.norm2(x)))
        assert cond is not None
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(cond)
        x = torch.addcmul(x, gate1, self._drop(self._attention(modulate(self.norm1(x), shift1, scale1), phases)))
        return torch.addcmul(x, gate2, self._drop(self._mlp(modulate(self.norm2(x), shift2, scale2))))

    def _attention(self, h: Tensor, phases: Tensor | None) -> Tensor:
        qkv = self.qkv(h).unflatten(-1, (3, self.heads, -1))
        return self.attention_out(attend(qkv, phases=phases, causal=self.causal))

    def _mlp(self, h: Tensor) -> Tensor:
        return self.mlp_out(F.gelu(self.mlp_in(h)))

    def _drop(self, h: Tensor) -> Tensor:
        return F.dropout(h, self.dropout, self.training) if self.dropout else h


class TokenTransformer(nn.Module):
    """F(x, c_noise): tokens to one number per position and output token, by DiT blocks with rotary positions.

    vocab, out_vocab    sizes N of the input's and V of the output's alphabet; V is N where it is not given
    width, depth, heads W, number of blocks, H
    cond_features       length K of the condition that two layers make of c_noise's sines and cosines; 0 for a network
                        that knows no time, whose blocks are plain pre-norm ones
    causal              output n depends on tokens 0 .. n only: with cond_features=0, the autoregressive baseline
    dropout             on what either branch of a block adds
    generator           the source of the initial weights; None means torch's default generator

    Any length: positions enter by rotation alone. The output is zero at the start.
    """

    def __init__(
        self,
        vocab: int,
        out_vocab: int | None = None,
        *,
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        cond_features: int = 128,
        causal: bool = False,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.vocab, self.out_vocab = vocab, vocab if out_vocab is None else out_vocab
        self.head_width = head_width(width, heads)
        rotary_phases(1, self.head_width)  # an odd width is told now, not at the first call
        self.embed = nn.utils.skip_init(nn.Embedding, vocab, width)
        with torch.no_grad():
            self.embed.weight.copy_(torch.randn(vocab, width, generator=generator) / width**0.5)
        self.map_noise: nn.Sequential | None = None
        if cond_features:
            self.map_noise = nn.Sequential(
                PositionalEmbedding(256),
                linear(256, cond_features, generator),
                nn.SiLU(),
                linear(cond_features, cond_features, generator),
                nn.SiLU(),
            )
        self.blocks = nn.ModuleList(
            DiTBlock(width, heads, cond_features=cond_features, causal=causal, dropout=dropout, generator=generator)
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.modulation = Modulation(cond_features, width, 2) if cond_features else None
        self.head = linear(width, self.out_vocab, generator, gain=0.0)

    def forward(self, tokens: Tensor, c_noise: Tensor | None = None) -> Tensor:
        """tokens: (B, L) whole numbers below N; c_noise: () or (B,), given where the network knows time -> (B, L, V).

        Raises ValueError where c_noise is missing, not wanted, or of another shape.
        """
        if (c_noise is None) != (self.map_noise is None):
            raise ValueError(
                "c_noise is missing" if c_noise is None else "c_noise is given, but the network has no time"
            )
        x = self.embed(tokens)
        phases = rotary_phases(tokens.shape[1], self.head_width, tokens.device)
        phases = phases.to(torch.complex128 if x.dtype == torch.float64 else torch.complex64)
        if self.map_noise is None or c_noise is None:
            for block in self.blocks:
                x = block(x, None, phases)
            return self.head(self.norm(x))
        cond = self.map_noise(per_sample(c_noise, x))
        for block in self.blocks:
            x = block(x, cond, phases)
        assert self.modulation is not None
        return self.head(modulate(self.norm(x), *self.modulation(cond)))
