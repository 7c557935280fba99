"""Solvers by name: each chooses the zeros of one layer, and may move the weights that stay.

Called as solver(problem, zeros, rng=...) with keyword-only options of its own, none named as a field of `Pruner`; it
answers (weight, mask), float64 and bool [m, d], with exactly `zeros` weights of the prunable columns not kept, in the
pattern of the problem.
"""

SOLVERS: dict[str, str] = {
    "exact": "yoco.sparsify.solvers.exact:exact",
    "column": "yoco.sparsify.solvers.column:column",
    "admm": "yoco.sparsify.solvers.admm:admm",
    "rounds": "yoco.sparsify.solvers.rounds:rounds",
    "lobs": "yoco.sparsify.solvers.lobs:lobs",
    "wanda": "yoco.sparsify.solvers.simple:wanda",
    "obd": "yoco.sparsify.solvers.simple:obd",
    "magnitude": "yoco.sparsify.solvers.simple:magnitude",
    "random": "yoco.sparsify.solvers.simple:random",
}
"""name -> function."""

CURVES: dict[str, str] = {"exact": "yoco.sparsify.solvers.exact:errors"}
"""name -> function(problem, counts of zeros) -> errors, for solvers that know the errors of many counts at once."""

FITTED = ("exact", "rounds")
"""Those whose last step is `refit`; it would find the same weights again."""
