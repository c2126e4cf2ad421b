"""The studies of SEEDS, one question each.

Exact, without a trained network: `strong_order` (paths converge), `weak_order` (laws converge, by recursion),
`identities` (what SEEDS contains, and what contains it), and of the further reading `deis` and `deis_orders`.

What several of them share: `looks` has names and colours, `methods` the solvers by name, `ring` the same for the
ODE of DEIS, and its law of data.
"""
