"""Optimal transport: couplings of two samples."""
