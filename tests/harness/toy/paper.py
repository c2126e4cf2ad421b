"""The toy's cards: one paper without torch, one with, and one whose seeds are made together."""

from dataclasses import replace

from common.harness.studies.paper import Paper

PAPER = Paper(
    slug="toy",
    title="Toy",
    authors=("Nobody",),
    arxiv="0000.00000",
    week=0,
    date="2024-01-01",
    theme="Toys",
    summary="Nothing is claimed.",
    studies=("experiments",),
    presets=("quick", "small"),
    package="toy",
)
PAPERS = {
    "toy": PAPER,
    "tensors": replace(PAPER, slug="tensors", studies=("tensors",)),
    "batched": replace(PAPER, slug="batched", studies=("batched", "pupils")),
}
