"""The hinge loss by its minimiser, spectral norms by the singular values, discriminators by what they learn."""

import pytest
import torch
from torch import nn

from common.data.images import digits
from common.metrics.features import load_classifier
from common.training.members import Members
from papers.ctm.adversarial import (
    PlaneDiscriminator,
    ProjectedDiscriminator,
    ProjectedHeads,
    SpectralLinear,
    generator_loss,
    hinge_loss,
)
from papers.ctm.critic import CriticClassifier, train_critic
from tests.papers.ctm.cases import randn, seeded


def constant(value: float, n: int = 5) -> list[torch.Tensor]:
    return [torch.full((n, 1), value, dtype=torch.float64)]


def test_the_hinge_is_least_where_real_is_above_one_and_fake_below_minus_one():
    assert float(hinge_loss(constant(1.0), constant(-1.0)).max()) == 0
    assert float(hinge_loss(constant(0.0), constant(0.0))[0]) == 2
    assert float(hinge_loss(constant(-1.0), constant(1.0))[0]) == 4
    # With equal laws D = 0 is optimal: either side gains what the other loses.
    assert float(hinge_loss(constant(0.3), constant(0.3))[0]) == 2


def test_heads_count_alike_whatever_the_number_of_their_logits():
    fake = [torch.ones(2, 100), torch.zeros(2, 1)]
    assert torch.equal(generator_loss(fake), torch.full((2,), -0.5))


def test_the_spectral_norm_is_the_largest_singular_value():
    layer = SpectralLinear(20, 30, seeded())
    x = randn(1, 20).float()
    for _ in range(60):
        layer(x)
    largest = torch.linalg.matrix_norm(layer.weight, 2)
    assert torch.allclose(layer(x), x @ (layer.weight / largest).T + layer.bias, atol=1e-4)
    moved = layer.u.clone()
    layer.eval()(x)
    assert torch.equal(layer.u, moved)


@pytest.mark.parametrize("stacked", [False, True])
def test_a_discriminator_learns_to_tell_two_laws_apart_and_the_generator_is_sent_to_the_real_one(stacked):
    made = [PlaneDiscriminator(hidden=16, features=8, generator=seeded(seed)) for seed in (0, 1)]
    D: nn.Module = Members(made).stacked if stacked else made[0]
    shape = (2, 64, 2) if stacked else (64, 2)
    real, fake = randn(*shape).float() * 0.1 + 1, randn(*shape, seed=1).float() * 0.1 - 1
    optimizer = torch.optim.RAdam([p for p in D.parameters() if p.requires_grad], lr=1e-2, betas=(0.5, 0.9))
    first = float(hinge_loss(D(real), D(fake)).mean().detach())
    for _ in range(40):
        loss = hinge_loss(D(real), D(fake)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.7 * first
    with torch.no_grad():
        assert float(D(real)[0].mean()) > float(D(fake)[0].mean()) + 0.3
    moving = fake.clone().requires_grad_()
    (slope,) = torch.autograd.grad(generator_loss(D(moving)).sum(), moving)
    # Both coordinates of the real points are larger: going down the loss raises their sum.
    assert float(slope.sum(-1).mean()) < 0


def test_a_stack_of_discriminators_is_what_they_are_alone():
    made = [PlaneDiscriminator(hidden=8, features=4, generator=seeded(seed)) for seed in (0, 1)]
    x = randn(2, 3, 2).float()
    together = Members(made).stacked(x)[0]
    for i, own in enumerate(made):
        assert torch.allclose(together[i], own(x[i])[0], atol=1e-6)
    critic = CriticClassifier(generator=seeded())
    heads = [ProjectedHeads(critic.channels, 4, 6, generator=seeded(seed)) for seed in (0, 1)]
    images = randn(2, 3, 1, 8, 8).float()
    both = ProjectedDiscriminator(critic, Members(heads).stacked)(images)
    for i, head in enumerate(heads):
        alone = ProjectedDiscriminator(critic, head)(images[i])
        assert [logits.shape for logits in alone] == [(3, 64), (3, 16), (3, 4)]
        for logits, stack in zip(alone, both, strict=True):
            assert torch.allclose(stack[i], logits, atol=1e-5)


def test_the_backbone_is_frozen_and_the_heads_are_not():
    critic = CriticClassifier(generator=seeded())
    D = ProjectedDiscriminator(critic, ProjectedHeads(critic.channels, 4, 6, generator=seeded())).train()
    assert not critic.training
    assert {name.split(".")[0] for name, p in D.named_parameters() if p.requires_grad} == {"heads"}
    x = randn(2, 1, 8, 8).float().requires_grad_()
    (slope,) = torch.autograd.grad(generator_loss(D(x)).sum(), x)
    assert float(slope.abs().min(0).values.max()) > 0


def test_the_critic_learns_digits_and_is_not_the_judge():
    data, held_out = digits("train"), digits("test")
    critic = train_critic(CriticClassifier(generator=seeded(7)), data.x0, data.labels, seeded(8), steps=150)
    share = (critic(held_out.x0).argmax(1) == held_out.labels).double().mean()
    assert float(share) > 0.85
    judge = load_classifier("digits")
    assert {type(m) for m in judge.modules()} != {type(m) for m in critic.modules()}
    assert {m.kernel_size for m in judge.modules() if isinstance(m, nn.Conv2d)}.isdisjoint(
        m.kernel_size for m in critic.modules() if isinstance(m, nn.Conv2d)
    )
