"""Column: one pass over the inputs with one factor for all rows (SparseGPT: Frantar and Alistarh, ICML 2023).

With H^-1 = U'U, U upper triangular, U_ii^2 is the i-th diagonal entry of the inverse after the inputs before i left:

    for each span of inputs:   remove the weights of the lowest (w_i / U_ii)^2, over all rows
        for each input i in it:   e <- w_i / U_ii where removed, else 0;      w_j <- w_j - e U_ij   for j >= i

Each span gives zeros in proportion to its inputs. Under N:M a span is one group.

Not in the paper: dead inputs leave first, and do not count in the proportions; blocks by |U_BB^-T w_B|^2. The ridge is
the caller's: the 1 % of the mean diagonal that the paper adds is `ridge=0.01`.
"""

import torch
from torch import Tensor

from yoco.rng import Rng
from yoco.sparsify.solvers.problem import Problem


def column(problem: Problem, zeros: int, *, rng: Rng | None = None, span: int = 128) -> tuple[Tensor, Tensor]:
    """Choose the zeros span by span, and let the inputs to the right make up for them; deterministic.

    span: inputs that are compared at once.

    Raises:
        ValueError: span is below 1.
    """
    if span < 1:
        raise ValueError(f"column: span must be at least 1, got {span}")
    pattern, columns = problem.pattern, problem.columns
    span = pattern.group or max(1, span // pattern.block) * pattern.block
    upper = torch.linalg.cholesky(problem.inverse, upper=True)
    weight, mask = problem.live.clone(), torch.ones_like(problem.live, dtype=torch.bool)
    done = 0
    for start in range(0, columns, span):
        now = slice(start, min(start + span, columns))
        goal = quota(problem, zeros, now.stop)
        mask[:, now] = _chosen(problem, weight[:, now], upper[now, now], now, goal - done)
        done = goal
        steps = torch.zeros_like(weight[:, now])
        for i in range(start, now.stop):
            steps[:, i - start] = torch.where(mask[:, i], 0, weight[:, i] / upper[i, i])
            weight[:, i : now.stop] -= torch.outer(steps[:, i - start], upper[i, i : now.stop])
        weight[:, now.stop :] -= steps @ upper[now, now.stop :]
    return problem.restored(weight) * mask, mask


def _chosen(problem: Problem, weight: Tensor, upper: Tensor, now: slice, zeros: int) -> Tensor:
    """The mask [m, span] without the lowest scores of a span."""
    pattern, size = problem.pattern, problem.pattern.block
    places = torch.arange(len(upper), device=upper.device).view(-1, size)
    corners = upper[places[:, :, None], places[:, None, :]].mT
    scores = torch.linalg.solve_triangular(corners, weight.unflatten(1, (-1, size))[..., None], upper=False)
    dead = problem.dead_units[now.start // size : now.stop // size]
    return pattern.keep(scores.square().sum((2, 3)).masked_fill(dead, -1), zeros)


def quota(problem: Problem, zeros: int, stop: int) -> int:
    """How many of the `zeros` come before input `stop`: those of dead inputs first, the rest in proportion."""
    pattern, rows = problem.pattern, len(problem.weight)
    if pattern.group:
        return stop // pattern.group * pattern.limit * rows
    step, each = (rows, 1) if pattern.by_row else (pattern.block, rows)
    dead = problem.dead_units
    before, left = int(dead[: stop // pattern.block].sum()), stop // pattern.block
    free = min(zeros // step, int(dead.sum()) * each)
    rest, live = zeros // step - free, max(1, int((~dead).sum()))
    return (min(free, before * each) + (2 * rest * (left - before) + live) // (2 * live)) * step
