"""One package per weekly paper; `common.harness.paper.discover` finds the cards."""
