"""One training loop for every paper, its checkpoints, and the safe loading of published ones."""
