"""What papers on transport share: couplings of two samples, optimal and not."""
