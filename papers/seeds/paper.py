"""The card of SEEDS."""

from common.harness.studies.paper import Paper, Reading

PAPER = Paper(
    slug="seeds",
    title="SEEDS: Exponential SDE Solvers for Fast High-Quality Sampling from Diffusion Models",
    authors=(
        "Martin Gonzalez",
        "Nelson Fernandez Pinto",
        "Thuy Tran",
        "Elies Gherbi",
        "Hatem Hajri",
        "Nader Masmoudi",
    ),
    arxiv="2305.14267",
    week=4,
    date="2024-10-23",
    theme="Stochastic solvers",
    summary=(
        "Exponential integrators for the diffusion SDE: in the log-SNR its linear part and the variance of its noise "
        "are exact, and stages share the noise of one Brownian path. Stochastic samplers so need three to five times "
        "fewer evaluations, and keep the quality that deterministic ones lose."
    ),
    studies=(
        "evaluations",
        "optimal_quality",
        "strong_order",
        "weak_order",
        "few_evaluations",
        "deis",
        "identities",
        "deis_orders",
    ),
    further_reading=(
        Reading(
            "Fast Sampling of Diffusion Models with Exponential Integrator",
            "2204.13902",
            "DEIS: the same idea for the probability-flow ODE, with past evaluations in the place of stages",
        ),
        Reading(
            "DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models",
            "2211.01095",
            "data prediction, two-step methods, and their SDE versions, the first of which is SEEDS-1",
        ),
        Reading(
            "SA-Solver: Stochastic Adams Solver for Fast Sampling of Diffusion Models",
            "2309.05019",
            "past evaluations for the SDE, with as much noise as one likes",
        ),
    ),
)
