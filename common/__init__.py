"""Shared ground of all papers: backbones, diffusion mathematics, data, metrics, training, and the harness of claims."""
