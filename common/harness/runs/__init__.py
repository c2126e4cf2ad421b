"""From an experiment and its grid to finished, content-addressed runs."""
