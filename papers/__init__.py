"""One package per weekly paper; `common.harness.studies.paper.discover` finds the cards."""
