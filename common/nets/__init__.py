"""Backbones F_θ(x, c_noise): perceptrons for points and for digits, the U-Nets of Song et al., a transformer."""
