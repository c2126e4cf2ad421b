"""Backbones F_θ(x, c_noise): a perceptron for points of a plane, the U-Nets of Song et al., a transformer."""
