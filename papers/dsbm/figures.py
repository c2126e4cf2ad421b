"""The figures of DSBM, drawn from finished runs."""

from papers.dsbm.figures_gaussian import GAUSSIAN_FIGURES
from papers.dsbm.figures_plane import PLANE_FIGURES

FIGURES = (*GAUSSIAN_FIGURES, *PLANE_FIGURES)
