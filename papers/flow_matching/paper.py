"""The card of flow matching."""

from common.harness.studies.paper import Paper, Reading

PAPER = Paper(
    slug="flow_matching",
    title="Flow Matching for Generative Modeling",
    authors=("Yaron Lipman", "Ricky T. Q. Chen", "Heli Ben-Hamu", "Maximilian Nickel", "Matt Le"),
    arxiv="2210.02747",
    week=7,
    date="2024-11-13",
    theme="Flow matching",
    summary=(
        "Continuous normalizing flows without simulation: regression on the velocity towards single data points has "
        "the gradient of regression on the velocity of the whole law. It trains diffusion paths more stably than score "
        "matching, and opens others: straight lines need fewer evaluations and give better samples."
    ),
    studies=(
        "simulation_free",
        "marginal_law",
        "checkerboard",
        "numerical_error",
        "table",
        "entropy",
        "fd_cost",
        "training_speed",
        "stability",
        "gradient_noise",
        "likelihood_samples",
        "class_time",
        "curvature",
        "super_resolution",
    ),
    further_reading=(
        Reading(
            "Flow Straight and Fast: Learning to Generate and Transfer Data with Rectified Flow",
            "2209.03003",
            "the same regression found at the same time, and how to make the marginal paths straight too",
        ),
        Reading(
            "Building Normalizing Flows with Stochastic Interpolants",
            "2209.15571",
            "the same idea a third time, for paths between any two laws",
        ),
        Reading(
            "Improving and Generalizing Flow-Based Generative Models with Minibatch Optimal Transport",
            "2302.00482",
            "pairs of noise and data by optimal transport, which straighten the marginal paths",
        ),
        Reading(
            "Flow Matching Guide and Code",
            "2412.06264",
            "the authors' own textbook: proofs, other spaces, and a library",
        ),
    ),
)
