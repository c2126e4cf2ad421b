"""The studies of weighted ELBOs, one question each.

Of known laws, without training: `objectives` (every loss is a weighted integral of ELBOs), `augmentation` (the monotone
ones are ELBOs of noisy data), `schedules` (given w the noise schedule only changes the variance), `bound` (the ELBO
against the entropy). Of trained networks: `weightings` (do new monotone weightings work?), `swirl` (VDM's own example).

What several of them share: `looks` has names and colours.
"""
