"""The paper's own numbers (Lou et al. 2024, Section 5)."""

TEXT8_BPC = {
    "ar": 1.23,
    "sedd-absorb": 1.39,
    "d3pm-absorb": 1.45,
    "sedd-uniform": 1.47,
    "d3pm-uniform": 1.61,
}
"""Bits per character on text8: upper bounds, but for the autoregressive transformer's likelihood."""

FEWER_EVALUATIONS = 32.0
"""Evaluations of un-annealed GPT-2 over those of SEDD at its quality: 1024 to 32, for sequences of 1024 tokens."""
