"""SEDD's questions, one module each, and what several of them share: `models` are networks with their losses and
bounds, `languages` what they are trained and judged on, `judge` who says how likely a text is, `measures` what several
claims measure, `looks` what graphs, samplers and models are called and how they are drawn, `grids` the presets of what
needs no network."""
