"""The claims about samples (Sections 4 and 5): steps, samplers, evaluations, infilling. Nothing heavy."""

from __future__ import annotations

from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.measures import loglog_slope
from papers.sedd.claims_precision import PRECISION
from papers.sedd.measures import (
    determination,
    fewer_evaluations,
    infilling_distance,
    infilling_order,
    largest_departure,
    mean_sampler_ratio,
    over_floor,
    sampler_difference,
    sampler_ratio,
)
from papers.sedd.published import FEWER_EVALUATIONS

ALL = ("quick", "small", "gpu")
GRAPH_NAMES = {"absorb": "absorbing", "uniform": "uniform"}
ENUMERATED = (
    "No network and no draw: the exact law of what a sampler returns, with exact scores of Markov sources of 3 tokens, "
    "L = 4, at 8 to 32 steps."
)
EXACT = (
    "No network: exact scores of Markov sources of 8 tokens, L = 32, at 2 to 16 steps; likelihood under the source. "
    "That entropies are compared with the source's own, and not with those of data drawn from it, was settled after "
    "numbers had been seen."
)
NOT_BELOW = Criterion(1.0 - 1e-9, reason="Tweedie at or below Euler at every number of steps, rounding aside")
KEPT = Criterion(upper=0.02, reason="2 %, at every number of steps")


def _tv_order(graph: str) -> Quantity:
    slope = loglog_slope("n_steps", "tv", graph=graph, noise="loglinear", sampler="tweedie")
    return Quantity(
        f"order in the step, {GRAPH_NAMES[graph]}",
        "sampler_error",
        lambda table: -slope(table),
        Criterion(0.85, 1.15, "first order; 0.15 for the next term at the step counts used"),
        published=1.0,
        floor=0.05,
    )


def _euler_over_tweedie(graph: str, noise: str) -> Quantity:
    return Quantity(
        f"least KL ratio, Euler over Tweedie, {GRAPH_NAMES[graph]}, {noise} noise",
        "sampler_error",
        sampler_ratio("kl", graph=graph, noise=noise),
        NOT_BELOW,
        unit="×",
        floor=0.05,
        scale="log",
    )


def _entropy_kept(graph: str) -> Quantity:
    return Quantity(
        f"largest departure of the tokens' entropy, {GRAPH_NAMES[graph]}",
        "generation",
        largest_departure("token_entropy_ratio", 1.0, model=f"sedd-{graph}", sampler="tweedie"),
        KEPT,
        floor=0.01,
    )


def _generated(language: str, preset: str) -> tuple[Claim, ...]:
    setup = (
        f"Trained networks as under the bits per character, {language}; likelihood under an autoregressive judge "
        "of the same size, trained for twice as long from another seed. Not judged in `quick`: there the "
        "autoregressive model all but is the source, and a pilot's samples of SEDD stayed above it at every number of "
        "steps. Sampled along log-linear noise, also on the uniform graph, where at few steps it is nearer the source "
        "than geometric noise (sampler_error). Entropy is that of single tokens, as papers report it; that of "
        "pairs is too high, most at few steps (next_token_entropy_ratio)."
    )
    economy = Claim(
        f"economy-{language}",
        "Absorbing SEDD writes as likely text as the un-annealed autoregressive model with a fraction of the "
        "evaluations.",
        "Section 5, Figure 2",
        (
            Quantity(
                "evaluations, autoregressive over SEDD",
                "generation",
                fewer_evaluations("sedd-absorb"),
                Criterion(
                    2.0, reason="half the evaluations; the paper's 32 is for 1024 tokens, here there are 64 or 256"
                ),
                published=FEWER_EVALUATIONS,
                unit="×",
                floor=0.3,
                scale="log",
            ),
            _entropy_kept("absorb"),
        ),
        presets=(preset,),
        deviation=setup,
    )
    return (
        economy,
        Claim(
            f"steps-{language}",
            "Likelihood of generated text improves log-linearly with the number of steps, at the entropy of the data.",
            "Section 5, Figure 2",
            (
                *(
                    Quantity(
                        f"R² of nats against log steps, {name}",
                        "generation",
                        determination("nfe", "nll", model=f"sedd-{graph}", sampler="tweedie"),
                        Criterion(0.9, reason="nine tenths of the variance is the straight line's"),
                        floor=0.05,
                    )
                    for graph, name in GRAPH_NAMES.items()
                ),
                Quantity(
                    "nats, Euler over Tweedie, uniform, mean over steps",
                    "generation",
                    mean_sampler_ratio("nll", model="sedd-uniform"),
                    Criterion(1.0, reason="the claim is the sign"),
                    unit="×",
                    floor=0.02,
                    scale="log",
                ),
                *(_entropy_kept(graph) for graph in GRAPH_NAMES),
            ),
            presets=(preset,),
            deviation=setup,
        ),
    )


SAMPLING_CLAIMS = (
    Claim(
        "steps",
        "Samples improve log-linearly with the number of steps: their error is of first order.",
        "Section 5, Figure 2; Theorem 4.2",
        (
            *(_tv_order(graph) for graph in GRAPH_NAMES),
            *(
                Quantity(
                    f"R² of log excess nats against log steps, {name}",
                    "quality",
                    determination("n_steps", "nll", base="entropy", graph=graph, sampler="tweedie"),
                    Criterion(0.9, reason="nine tenths of the variance is the straight line's"),
                    floor=0.05,
                )
                for graph, name in GRAPH_NAMES.items()
            ),
        ),
        presets=ALL,
        deviation=f"{ENUMERATED} Total variation gives the order. {EXACT}",
    ),
    Claim(
        "entropy",
        "Samples keep the entropy of the data's tokens at every number of steps.",
        "beside Figure 2; not in the paper",
        tuple(
            Quantity(
                f"largest departure, {name}",
                "quality",
                largest_departure("token_entropy_ratio", 1.0, graph=graph, sampler="tweedie"),
                KEPT,
                floor=0.005,
            )
            for graph, name in GRAPH_NAMES.items()
        ),
        presets=ALL,
        deviation=EXACT,
    ),
    Claim(
        "tweedie",
        "Tweedie τ-leaping is at or below Euler at every number of steps.",
        "Section 4.1, Theorem 4.2 and Appendix D.2",
        (
            _euler_over_tweedie("uniform", "loglinear"),
            _euler_over_tweedie("absorb", "geometric"),
            Quantity(
                "largest |KL ratio − 1|, absorbing, loglinear noise",
                "sampler_error",
                sampler_difference("kl", graph="absorb", noise="loglinear"),
                Criterion(upper=1e-6, reason="with e^Δσ̄ − 1 = Δt σ(t) the two are one step, rounding aside"),
                published=0.0,
                floor=1e-10,
            ),
        ),
        presets=ALL,
        deviation=f"{ENUMERATED} On the absorbing graph with log-linear noise the two samplers are the same one. The "
        "uniform graph with geometric noise was made a claim of its own after a pilot had shown it to be otherwise.",
    ),
    Claim(
        "tweedie-geometric",
        "Tweedie τ-leaping is at or below Euler on the uniform graph with geometric noise, too.",
        "Section 4.1, Theorem 4.2 and Appendix D.2",
        (_euler_over_tweedie("uniform", "geometric"),),
        presets=ALL,
        deviation=f"{ENUMERATED} Theorem 4.2 is about the law of a step given where it starts. Over many steps errors "
        "can cancel: Euler's rate, taken at the noisy end, moves tokens too much under a noise that falls by a factor "
        "each step, and positions that move on their own move too little. A pilot had shown it before the claim was "
        "written.",
    ),
    *_generated("tinyshakespeare27", "small"),
    *_generated("text8", "gpu"),
    Claim(
        "infilling",
        "Clamping any tokens fills in the others from their conditional law.",
        "Section 4.2",
        (
            Quantity(
                "order in the step, absorbing",
                "infilling",
                infilling_order("absorb"),
                Criterion(0.85, 1.15, "first order, as without given tokens"),
                published=1.0,
                floor=0.05,
            ),
            Quantity(
                "total variation at 128 steps, absorbing",
                "infilling",
                infilling_distance("absorb", 128),
                Criterion(upper=0.01, reason="a hundredth, less than any sample of below 1000 could show"),
                published=0.0,
                floor=0.001,
            ),
            Quantity(
                "total variation of draws over its floor, absorbing",
                "long_infilling",
                over_floor,
                Criterion(upper=1.2, reason="bias below two thirds of the floor: √(1 + 0.66²) = 1.2"),
                published=1.0,
                unit="×",
                floor=0.1,
            ),
        ),
        presets=ALL,
        deviation="No network. The exact law of the sampler on Markov sources of 3 tokens, L = 4, two tokens given in "
        "four patterns; and 1024 draws of three tokens in the middle of 16, at 64 steps, sources of 8 tokens. The "
        "floor is the total variation of 1024 true draws.",
    ),
    Claim(
        "infilling-uniform",
        "Clamping fills in from the conditional law on the uniform graph, too.",
        "Section 4.2",
        (
            Quantity(
                "total variation at 128 steps, uniform",
                "infilling",
                infilling_distance("uniform", 128),
                Criterion(upper=0.01, reason="as for the absorbing graph"),
                published=0.0,
                floor=0.01,
            ),
        ),
        presets=ALL,
        deviation="No network. The ratios given noisy tokens are right, but the tokens given are clean: at high noise "
        "they count for too little, however small the steps. That it would fail was derived before the claim was "
        "written.",
    ),
    PRECISION,
)
