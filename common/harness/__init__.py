"""From a paper's claims to verdicts: cards, experiments, content-addressed runs, launch, reports.

A paper's package states claims (`paper.py`) and experiments (`experiments.py`); this room runs them and writes
`reports/`. It knows no science, and no science room knows it.
"""
