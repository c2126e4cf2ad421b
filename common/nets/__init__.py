"""Backbones F_θ(x, c_noise): a perceptron for points of a plane, and the U-Nets of Song et al. as EDM trains them."""
