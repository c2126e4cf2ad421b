"""The card of SEDD."""

from common.harness.studies.paper import Paper, Reading

PAPER = Paper(
    slug="sedd",
    title="Discrete Diffusion Modeling by Estimating the Ratios of the Data Distribution",
    authors=("Aaron Lou", "Chenlin Meng", "Stefano Ermon"),
    arxiv="2310.16834",
    week=9,
    date="2024-11-27",
    theme="Discrete diffusion",
    summary=(
        "Diffusion on tokens by learning ratios p(y)/p(x) between neighbouring sequences. Score entropy keeps them "
        "positive and bounds the likelihood; reversing the chain with them writes and fills in text at any position."
    ),
    studies=(
        "training",
        "generation",
        "concrete_score",
        "sampling",
        "infilling",
        "bound",
        "masked",
        "precision",
        "sentence",
    ),
    further_reading=(
        Reading(
            "Structured Denoising Diffusion Models in Discrete State-Spaces",
            "2107.03006",
            "D3PM: both graphs, in discrete time",
        ),
        Reading(
            "A Continuous Time Framework for Discrete Denoising Models",
            "2205.14987",
            "the jump process, its reversal, and τ-leaping",
        ),
        Reading(
            "Simple and Effective Masked Diffusion Language Models",
            "2406.07524",
            "the absorbing graph as cross-entropy",
        ),
        Reading(
            "Masked Diffusion Models are Secretly Time-Agnostic Masked Models and Exploit Inaccurate "
            "Categorical Sampling",
            "2409.02908",
            "the float32 trap",
        ),
    ),
)
