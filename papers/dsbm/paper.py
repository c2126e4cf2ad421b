"""The card of DSBM."""

from common.harness.studies.paper import Paper, Reading

PAPER = Paper(
    slug="dsbm",
    title="Diffusion Schrödinger Bridge Matching",
    authors=("Yuyang Shi", "Valentin De Bortoli", "Andrew Campbell", "Arnaud Doucet"),
    arxiv="2303.16852",
    week=6,
    date="2024-11-06",
    theme="Schrödinger bridges",
    summary=(
        "The Schrödinger bridge between two data sets by iterative Markovian fitting: bridge matching, repeated on the "
        "pairs that the last process made. Both marginals are kept at every iteration, where iterative proportional "
        "fitting keeps one and lets the other drift."
    ),
    studies=("exact", "iterates", "limits", "gaussian", "estimator", "plane", "energy", "plan", "transfer"),
    further_reading=(
        Reading(
            "Diffusion Schrödinger Bridge with Applications to Score-Based Generative Modeling",
            "2106.01357",
            "DSB: the same bridge by iterative proportional fitting, the method that this paper replaces",
        ),
        Reading(
            "Flow Straight and Fast: Learning to Generate and Transfer Data with Rectified Flow",
            "2209.03003",
            "the limit without noise: bridge matching once, and again on its own pairs",
        ),
        Reading(
            "Simulation-free Schrödinger bridges via score and flow matching",
            "2307.03672",
            "[SF]²M: the bridge in one regression, where mini-batch Sinkhorn gives the pairs",
        ),
        Reading(
            "The Schrödinger Bridge between Gaussian Measures has a Closed Form",
            "2202.05722",
            "the exact answer that everything here is measured against",
        ),
    ),
)
