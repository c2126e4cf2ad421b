"""The card of CTM."""

from common.harness.studies.paper import Paper, Reading

PAPER = Paper(
    slug="ctm",
    title="Consistency Trajectory Models: Learning Probability Flow ODE Trajectory of Diffusion",
    authors=(
        "Dongjun Kim",
        "Chieh-Hsin Lai",
        "Wei-Hsiang Liao",
        "Naoki Murata",
        "Yuhta Takida",
        "Toshimitsu Uesaka",
        "Yutong He",
        "Yuki Mitsufuji",
        "Stefano Ermon",
    ),
    arxiv="2310.02279",
    week=8,
    date="2024-11-20",
    theme="Consistency trajectories",
    summary=(
        "One network for every jump along the probability-flow ODE, from any noise level to any lower one: the score "
        "at one end, a consistency model at the other. One step is as good as its teacher's many, and more steps do "
        "not make it worse."
    ),
    studies=(
        "jumps",
        "one_step",
        "gamma",
        "score",
        "losses",
        "guidance",
        "matching",
        "spread",
        "sensitivity",
        "official_likelihood",
    ),
    further_reading=(
        Reading(
            "Consistency Models",
            "2303.01469",
            "the jump to the data alone, by distillation and from data: the special case that CTM generalises",
        ),
        Reading(
            "Improved Techniques for Training Consistency Models",
            "2310.14189",
            "the pseudo-Huber distance, the noise law and the schedule that made them good without a teacher",
        ),
        Reading(
            "Progressive Distillation for Fast Sampling of Diffusion Models",
            "2202.00512",
            "a student's one step for two of its teacher's, again and again: the other way to few steps",
        ),
        Reading(
            "Mean Flows for One-step Generative Modeling",
            "2505.13447",
            "the mean velocity between two times: a network of two times again, learned from data by a derivative",
        ),
    ),
)
