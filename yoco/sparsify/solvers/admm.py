"""ADMM: weights and a sparse copy of them are pulled together (ALPS: Meng et al., NeurIPS 2024, algorithm 1).

On inputs scaled to a unit diagonal of H, with W0 the weights, from D = W0 and V = 0:

    B <- (W0 H - V + rho D)(H + rho I)^-1;      D <- project(B + V / rho);      V <- V + rho (B - D)

project keeps the largest weights that the pattern allows. Every third step the support of D is compared with that of
three steps before. With more changes than 10 % of the kept weights rho is multiplied by 1.3, above 0.5 % by 1.2, below
by 1.1; without a change the search ends.

Not in the paper: the weights are fitted to the support exactly and outside of the solver, see `refit`; the authors'
code runs ten steps of conjugate gradients. The caller sets the ridge: the 1 % that the code adds is `ridge=0.01`.
"""

from typing import Any

import torch
from torch import Tensor

from yoco.rng import Rng
from yoco.sparsify.solvers.problem import Problem

GROWTH = ((0.1, 1.3), (0.005, 1.2), (0.0, 1.1))


def admm(
    problem: Problem, zeros: int, *, rng: Rng | None = None, rho: float = 0.1, steps: int = 300
) -> tuple[Tensor, Tensor]:
    """Find the support of the whole layer at once; deterministic.

    rho: the initial penalty. steps: the largest number of steps.

    Raises:
        ValueError: rho is not above 0, or steps below 1.
    """
    if not 0 < rho < float("inf") or steps < 1:
        raise ValueError(f"admm: rho must be above 0 and steps at least 1, got {rho:g} and {steps}")
    root, values, vectors = _spectrum(problem)
    target = problem.live * root
    pulled, columns = (target @ vectors) * values, problem.columns
    sparse, dual, support = target, torch.zeros_like(target), torch.ones_like(target, dtype=torch.bool)
    for step in range(1, steps + 1):
        dense = ((pulled - (dual - rho * sparse) @ vectors) / (values + rho)) @ vectors.T
        aim = dense + dual / rho
        mask = problem.kept(problem.pattern.pool(aim[:, :columns].square()), zeros)
        sparse = aim * mask
        dual = dual + rho * (dense - sparse)
        if step % 3 == 0:
            changed = int((mask != support).sum())
            if not changed:
                break
            kept, support = int(mask.sum()), mask
            rho *= next(growth for share, growth in GROWTH if changed > share * kept)
    return problem.restored(sparse / root) * mask, mask


def _spectrum(problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """Roots of the diagonal of H, and what H scaled by them is made of; once for all numbers of zeros."""
    if "admm" not in problem.memo:
        root = problem.hessian.diagonal().sqrt()
        problem.memo["admm"] = (root, *torch.linalg.eigh(problem.hessian / torch.outer(root, root)))
    found: Any = problem.memo["admm"]
    return found[0], found[1], found[2]
