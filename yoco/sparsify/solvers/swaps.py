"""Swaps: after the choice, exchange a zero and a weight of one row wherever that lowers the error.

Greedy removal never takes a weight back. With S what a row keeps and P what it does not, x its weights as fitted to S,
and g = H (w - x), putting i out of S and j in changes the error by

    x_i^2 / 2 p_i  -  (g_j + B_ij x_i / p_i)^2 / 2 (s_j + B_ij^2 / p_i)

with p the diagonal of H_SS^-1, B = H_SS^-1 H_SP and s the diagonal of H_PP - H_PS B. The best pair of each row is
exchanged, and again, as long as there is one that helps. (No paper; exchanges are old in subset selection.)
"""

import torch
from torch import Tensor

from yoco.sparsify.solvers.problem import Problem
from yoco.sparsify.solvers.refit import Side, sides

MEMORY = 2**23
"""Bytes for the pairs of some rows: what a cache holds is quicker than more."""
LEAST = 1e-9
"""What a swap must gain, next to the error of a row without weights."""


def swapped(problem: Problem, mask: Tensor, most: int) -> Tensor:
    """The mask [m, d] after at most so many swaps in each row; row counts and N:M stay as they are.

    Raises:
        ValueError: the pattern is of blocks.
    """
    if problem.pattern.block > 1:
        raise ValueError(f"swaps: can only exchange single weights, got pattern {problem.pattern.name}")
    mask, rows = mask.clone(), torch.arange(len(mask), device=mask.device)
    least = LEAST / 2 * ((problem.live @ problem.hessian) * problem.live).sum(1)
    for _ in range(most):
        open_rows = [rows[:0]]
        for some, side in sides(problem, mask[rows], rows, wide=4, memory=MEMORY):
            if not side.places.shape[1]:  # rows that keep all their weights, or none
                continue
            change, out, back = _best(problem, side, mask[some], some)
            helps = change < -least[some]
            mask[some[helps], out[helps]], mask[some[helps], back[helps]] = False, True
            open_rows.append(some[helps])
        rows = torch.cat(open_rows).sort().values
        if not len(rows):
            break
    return mask


def _best(problem: Problem, side: Side, mask: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each row the change of its error by its best swap, the input that leaves and the one that comes back."""
    cross, inverse = side.cross(), side.inverse_diagonal()
    fit = side.solution(rows)
    if side.kept:
        weight, p = fit.gather(1, side.places)[:, :, None], inverse[:, :, None]
        slack = problem.hessian.diagonal() - (side.lines() * cross).sum(1)
        pull, slack = ((problem.live[rows] - fit * mask) @ problem.hessian)[:, None, :], slack[:, None, :]
    else:
        p = (problem.inverse.diagonal() - (side.lines() * cross).sum(1))[:, None, :]
        weight, pull, slack = fit[:, None, :], side.found(rows)[:, :, None], inverse[:, :, None]
        cross = -cross
    ratio = weight / p
    change = (weight * ratio - (pull + cross * ratio).square() / (slack + cross.square() / p)) / 2
    change = change.masked_fill(~_allowed(problem, side, mask), torch.inf).nan_to_num(nan=torch.inf)
    value, flat = change.flatten(1).min(1)
    near, far = side.places.gather(1, (flat // change.shape[2])[:, None]).squeeze(1), flat % change.shape[2]
    return (value, near, far) if side.kept else (value, far, near)


def _allowed(problem: Problem, side: Side, mask: Tensor) -> Tensor:
    """Which pairs of an input on this side and one beyond may be exchanged: bool [b, k, d]."""
    inputs = torch.arange(mask.shape[1], device=mask.device)
    free = (inputs < problem.columns) & ~problem.dead
    far = ((~mask if side.kept else mask) & free)[:, None, :]
    near = (side.real & free[side.places])[:, :, None]
    if not problem.pattern.group:
        return near & far
    groups = inputs // problem.pattern.group
    return near & far & (groups[side.places][:, :, None] == groups)
