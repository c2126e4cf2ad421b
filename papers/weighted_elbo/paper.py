"""The card of weighted ELBOs."""

from common.harness.studies.paper import Paper, Reading

PAPER = Paper(
    slug="weighted_elbo",
    title="Understanding Diffusion Objectives as the ELBO with Simple Data Augmentation",
    authors=("Diederik P. Kingma", "Ruiqi Gao"),
    arxiv="2303.00848",
    week=2,
    date="2024-10-09",
    theme="The ELBO view",
    summary=(
        "Every diffusion loss in use is a weighted integral of ELBOs over noise levels. If the weighting never rises "
        "with the log-SNR, it is the ELBO itself, of data with Gaussian noise added; and such weightings give samples "
        "as good as the others."
    ),
    studies=(
        "objectives",
        "augmentation",
        "weightings",
        "schedules",
        "adaptive_training",
        "derivative",
        "bound",
        "swirl",
    ),
    further_reading=(
        Reading(
            "Variational Diffusion Models",
            "2107.00630",
            "the ELBO of a diffusion model, which the schedule between its endpoints does not change",
        ),
        Reading(
            "Elucidating the Design Space of Diffusion-Based Generative Models",
            "2206.00364",
            "week 1: the weighting that the paper makes monotone",
        ),
        Reading(
            "Perception Prioritized Training of Diffusion Models",
            "2204.00227",
            "P2, one of the weightings that are not monotone",
        ),
        Reading(
            "Efficient Diffusion Training via Min-SNR Weighting Strategy",
            "2303.09556",
            "another, clipped at a signal-to-noise ratio",
        ),
    ),
)
