"""The questions that are put to DSBM, one module each; each ends in its `STUDY`.

Between Gaussians, where the answer is known: `gaussian.py` (how near to the bridge), `estimator.py` (what the measured
distance is worth), `iterates.py` (pass by pass), and without any training `exact.py` and `limits.py`. In the plane:
`plane.py` (samples), `energy.py` (paths) and `plan.py` (pairs). With images: `transfer.py`.

They share `methods.py` (every method by its name), `drawing.py` (how it is drawn), `pairs.py` and `passes.py` (Gaussian
ends, and what a pass between them is measured by), `growth.py` (a measure), and `tasks.py` (2-D data).
"""
