"""The digit classifier whose features the discriminator reads, and which guides. It is not the one that judges."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.nets.init import xavier_

WIDTHS = (24, 48, 96)


class CriticClassifier(nn.Module):
    """5×5 convolutions with ReLU, the second and third of stride 2, and a linear layer on the mean of what is left.

    The judge (`common.metrics.features`) has 3×3 convolutions with SiLU and two linear layers on all positions.
    Its taps are the three layers' outputs. x0: (B, C, H, W) in [-1, 1], of any even size -> (B, classes) logits.
    """

    channels = WIDTHS

    def __init__(self, in_channels: int = 1, classes: int = 10, generator: torch.Generator | None = None) -> None:
        super().__init__()
        widths = (in_channels, *WIDTHS)
        self.convs = nn.ModuleList(
            nn.utils.skip_init(nn.Conv2d, widths[i], widths[i + 1], 5, stride=1 if i == 0 else 2, padding=2)
            for i in range(len(WIDTHS))
        )
        self.head = nn.utils.skip_init(nn.Linear, WIDTHS[-1], classes)
        for layer in (*self.convs, self.head):
            xavier_(layer, 2**0.5, generator)

    def taps(self, x0: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        for conv in self.convs:
            maps.append(F.relu(conv(maps[-1] if maps else x0)))
        return maps

    def forward(self, x0: Tensor) -> Tensor:
        return self.head(self.taps(x0)[-1].mean((2, 3)))


def train_critic(
    net: CriticClassifier,
    x0: Tensor,
    labels: Tensor,
    generator: torch.Generator,
    steps: int = 1000,
    batch_size: int = 64,
    lr: float = 1e-3,
) -> CriticClassifier:
    """Cross-entropy by Adam on images x0: (n, C, H, W) that are shifted by up to one pixel; returned frozen."""
    optimizer = torch.optim.Adam(net.parameters(), lr)
    net.train().requires_grad_(True)
    for _ in range(steps):
        rows = torch.randint(len(x0), (batch_size,), generator=generator, device=generator.device)
        shift = torch.randint(-1, 2, (2,), generator=generator, device=generator.device).tolist()
        loss = F.cross_entropy(net(x0[rows].roll(shift, (2, 3))), labels[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return net.eval().requires_grad_(False)
