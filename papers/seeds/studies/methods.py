"""The solvers of `looks` by name, on EDM's coordinates x = x0 + σ ε, and the two that are wrong on purpose.

On any other path they take the same steps, in other coordinates (`tests/papers/seeds/test_seeds.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from common.diffusion.path import EDM, VE
from common.diffusion.solvers import Denoiser
from papers.seeds.brownian import Noise
from papers.seeds.exponential import DataPrediction, EDMPrediction, Form, NoisePrediction
from papers.seeds.multistep import Multistep, dpm_solver_2m, euler_maruyama, run_multistep
from papers.seeds.runge_kutta import Tableau, run
from papers.seeds.seeds import seeds_1, seeds_2, seeds_3, type_2b

PATH = EDM()
FORMS: Mapping[str, Form] = {"data": DataPrediction(PATH), "noise": NoisePrediction(PATH), "edm": EDMPrediction(1.0)}
"""What is predicted. EDM's σ_data is twice the standard deviation of the data here: at the data's own, nothing would be
left to predict."""


def follow(table: Tableau | Multistep, denoiser: Denoiser, x: Tensor, noise: Noise) -> Tensor:
    """Run a table of either kind."""
    if isinstance(table, Tableau):
        return run(table, denoiser, x, noise)
    return run_multistep(table, denoiser, x, noise)


def fresh_stages(form: Form, sigmas: Tensor) -> Tableau:
    """SEEDS-2 with the noise of each state drawn afresh: every variance is right, and no covariance is."""
    tableau = seeds_2(form, sigmas)
    deviations = tableau.noises.square().sum(-1).sqrt()
    return replace(tableau, noises=torch.diag_embed(deviations))


def official_phi(form: Form, sigmas: Tensor) -> Tableau:
    """SEEDS-3 in data prediction with the weight of the third stage as the official code has it (`third_update`).

    On D_u − D_s it has (c_3/c_2) [expm1(−2 c_2 h)/(c_2 h) + 1], where (c_3/c_2) [expm1(−2 c_3 h)/(2 c_3 h) + 1] should
    be. As h → 0 the bracket goes to −1 and not to 0. So w gets −2 (D_u − D_s), an error of the first order in h in its
    mean, where the second would be allowed, and x_t the integral of D by a slope that is wrong.
    """
    tableau = seeds_3(form, sigmas)
    h = form.half_log_snr(sigmas).diff()
    c_2, c_3 = 1 / 3, 2 / 3
    weights = tableau.weights.clone()
    wrong = form.gain(tableau.read_at[:, 2]) * c_3 / c_2 * (torch.expm1(-2 * c_2 * h) / (c_2 * h) + 1)
    weights[:, 1, 0] += weights[:, 1, 1] - wrong
    weights[:, 1, 1] = wrong
    return replace(tableau, weights=weights)


METHODS: Mapping[str, Callable[[Tensor], Tableau | Multistep]] = {
    **{f"seeds-1-{kind}": partial(seeds_1, form) for kind, form in FORMS.items()},
    "seeds-2a-data": partial(seeds_2, FORMS["data"]),
    "seeds-2a-noise": partial(seeds_2, FORMS["noise"]),
    **{f"seeds-2b-{kind}": partial(seeds_2, form, slope_weight=type_2b) for kind, form in FORMS.items()},
    **{f"seeds-3-{kind}": partial(seeds_3, form) for kind, form in FORMS.items()},
    "em-sigma-squared": lambda sigmas: euler_maruyama(VE(), sigmas**2),
    "2m-sde": partial(dpm_solver_2m, DataPrediction(PATH)),
    "fresh-stages": partial(fresh_stages, FORMS["data"]),
    "official-phi": partial(official_phi, FORMS["data"]),
}
"""By the names of `looks.SOLVERS`: from a grid of σ, decreasing, to the table of its steps."""
