"""Data sets as tensors: 2-D toys (`toy`), images (`images`), and the place on disk where files lie (`home`).

Nothing here is downloaded for the `quick` preset: toys are drawn, and the 8×8 digits come inside scikit-learn.
"""
