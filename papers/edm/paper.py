"""The card of EDM."""

from common.harness.studies.paper import Paper, Reading

PAPER = Paper(
    slug="edm",
    title="Elucidating the Design Space of Diffusion-Based Generative Models",
    authors=("Tero Karras", "Miika Aittala", "Timo Aila", "Samuli Laine"),
    arxiv="2206.00364",
    week=1,
    date="2024-10-02",
    theme="The SDE view",
    summary=(
        "Diffusion models as one design space: the noise schedule, the solver, the preconditioning of the network and "
        "its training are independent choices, and each can be made for its own reason. Good choices bring sampling "
        "down to 35 network evaluations at a better FID."
    ),
    studies=("convergence", "cost", "rho", "curvature", "preconditioning", "training", "churn", "official"),
    further_reading=(
        Reading(
            "Denoising Diffusion Probabilistic Models in Six Simple Steps",
            "2402.04384",
            "the discrete-time view, derived from nothing in six steps",
        ),
        Reading(
            "Score-Based Generative Modeling through Stochastic Differential Equations",
            "2011.13456",
            "where the probability-flow ODE and the VP and VE baselines come from",
        ),
        Reading(
            "Analyzing and Improving the Training Dynamics of Diffusion Models",
            "2312.02696",
            "the sequel: the same design space, with a network whose magnitudes stay put",
        ),
    ),
)
