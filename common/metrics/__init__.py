"""Distances between samples, each named for exactly what it is.

`frechet` (fd_digits, fd_mnist), `distances` (w2, sliced_w2, energy_distance, mmd) and `manifold` (precision, recall,
density, coverage) compare two samples; `floor` says what the same number is for two samples of one distribution. Inputs
are tensors (N, ...), flattened to (N, D); sums are in float64. Report n and the floor beside a value.
"""
