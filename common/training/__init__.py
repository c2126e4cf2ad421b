"""One training loop for every paper, for one seed or several; checkpoints; the safe loading of published ones."""
