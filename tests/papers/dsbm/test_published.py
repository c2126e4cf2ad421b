"""A second copy of the paper's numbers, typed from its tables again (Shi et al. 2023, arXiv 2303.16852v3, Section 6).

Cells that could not be read are missing in both. Table 2: mean KL × 10³ ± standard deviation; Table 1: W2, and the path
energies beside it.
"""

from __future__ import annotations

from papers.dsbm.paper import PAPER
from papers.dsbm.published import GAUSSIAN_KL, PLANE_ENERGY, PLANE_W2

TABLE_2 = """
d   DSB          SB-CFM       DSBM-IPF    DSBM-IMF
5   3.26 1.60    1.45 .73     1.23 .23    1.34 .51
20  13.0 3.49    12.3 1.47    4.42 .76    5.05 .95
50  32.8 1.28    49.4 3.91    8.75 .87    9.76 1.67
"""
TABLE_1 = """
method     moons      scurve     8gaussians  moons-8gaussians
DSBM-IPF   .140 .006  .140 .024  .315 .079   .812 .092
DSBM-IMF   .144 .024  .145 .037  .338 .091   .838 .098
DSBM-IMF+  .123 .014  .130 .025  .276 .030   .802 .172
DSB        .190 .049  .272 .065  .411 .084   .987 .324
OT-CFM     .111 –     .102 –     .253 –      .716 .187
RF         .129 .022  .126 –     .267 –      1.522 .304
SB-CFM     – –        – –        – –         .843 .079
CFM        .215 .028  – –        – –         – –
FM         .212 .025  – –        – –         – –
"""
ENERGIES = """
method     moons    scurve   8gaussians  moons-8gaussians
DSBM-IPF   1.598 –  2.110 –  14.91 –     42.16 –
SB-CFM     1.649 –  2.144 –  15.08 –     45.69 –
CFM        – –      – –      – –         116.5 2.6
OT-CFM     – –      – –      – –         30.50 .63
"""
Cells = dict[tuple[str, str], tuple[float, float | None]]


def typed(text: str, methods_are_rows: bool) -> Cells:
    (_, *columns), *lines = (line.split() for line in text.strip().splitlines())
    cells: Cells = {}
    for name, *numbers in lines:
        for column, mean, spread in zip(columns, numbers[::2], numbers[1::2], strict=True):
            if mean != "–":
                key = (name, column) if methods_are_rows else (column, name)
                cells[key] = (float(mean), None if spread == "–" else float(spread))
    return cells


def test_the_tables_are_the_papers() -> None:
    kl = {(method, str(dim)): (cell.mean, cell.spread) for (method, dim), cell in GAUSSIAN_KL.items()}
    assert kl == typed(TABLE_2, methods_are_rows=False)
    for cells, text in ((PLANE_W2, TABLE_1), (PLANE_ENERGY, ENERGIES)):
        assert {key: (cell.mean, cell.spread) for key, cell in cells.items()} == typed(text, methods_are_rows=True)


def test_a_claim_shows_the_published_number_of_the_cell_that_it_names() -> None:
    kl, w2 = typed(TABLE_2, methods_are_rows=False), typed(TABLE_1, methods_are_rows=True)
    energy = typed(ENERGIES, methods_are_rows=True)
    tables = {"gaussian-kl": kl, "gaussian-kl-5": kl, "plane-w2": w2, "plane-energy": energy}
    shown = 0
    for claim in PAPER.claims:
        for quantity in claim.quantities:
            if claim.id in tables:
                method, _, place = quantity.name.partition(", ")
                assert quantity.published == tables[claim.id][method, place.removeprefix("d = ")][0]
                shown += 1
            elif claim.id != "gaussian-estimator":
                assert quantity.published is None, quantity.name
    assert shown == 12 + 3 + 27 + 8
    bounds = {
        q.name: q.criterion for claim in PAPER.claims if claim.id == "gaussian-estimator" for q in claim.quantities
    }
    at_50 = [mean for (_, dim), (mean, _) in kl.items() if dim == "50"]
    assert bounds["diagonal fit, d = 50"].upper == min(at_50)
    assert bounds["full fit, d = 50"].lower == max(at_50)


def test_expected_ratios_and_exponents_are_made_of_published_cells() -> None:
    """Typed as quotients, a few of each claim."""
    expected = {q.name: q.expected for claim in PAPER.claims for q in claim.quantities if q.expected is not None}
    assert round(expected["DSB over DSBM-IPF, d = 50"], 3) == 3.749
    assert round(expected["SB-CFM over DSBM-IMF, d = 50"], 3) == 5.061
    assert expected["exponent from d = 5 to 50, DSBM-IPF"] == 0.852
    assert expected["exponent from d = 5 to 50, DSBM-IMF"] == 0.862
    assert round(expected["DSB over DSBM-IPF, scurve"], 3) == 1.943
    assert round(expected["RF over DSBM-IMF, moons-8gaussians"], 3) == 1.816
    assert round(expected["DSBM-IMF over OT-CFM, moons-8gaussians"], 2) == 1.17
    assert round(expected["CFM over DSBM-IPF, moons-8gaussians"], 3) == 2.763
    assert "CFM over DSBM-IMF, moons-8gaussians" not in expected
