"""From a paper's claims to verdicts, in four rooms, each of which imports only those below it.

    cli       the command line, one module per command
    reports   findings, tables in words, figures, the index across papers, the comparison with what is committed
    runs      plan, store, launch, cluster, progress, provenance
    studies   what a paper's author writes with: Paper, Study, Experiment, Claim, Quantity, measures, Figure, panels

It knows no science, and no science room knows it.
"""
