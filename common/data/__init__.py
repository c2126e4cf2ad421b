"""Data sets as tensors: 2-D toys (`toy`), images (`images`), text (`text`), Markov sources (`markov`).

Files lie where `home` says. Nothing is downloaded for the `quick` preset: toys and Markov sources are drawn, and the
8×8 digits come inside scikit-learn.
"""
