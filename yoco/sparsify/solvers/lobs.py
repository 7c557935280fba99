"""L-OBS as its authors released it (Dong, Chen and Pan, NIPS 2017; the code for LeNet-300-100).

    score of each weight:  0.5 w_q^2 / A_qq,   A = H^-1, sorted once over the layer, the bias among the weights
    for the lowest, one after the other:   w <- w - (w_q / A_qq) A_:q;      w_q <- 0, and it stays so

A and the scores never change, so later steps push weight back onto entries that are zero already, and it is lost.
`exact` avoids that; this solver is for comparison. To follow the release: `bias` and `prune_bias`, zeros =
int(inputs * outputs * ratio) with inputs not counting the bias, `inverse=recursive_inverse(inputs)`, no refit.

Not in the paper, but in its code: a count of weights is removed, where the paper has a tolerance of the layer's error.
"""

import torch
from torch import Tensor

from yoco.rng import Rng
from yoco.sparsify.solvers.problem import Problem

CACHE = 2**15
"""Weights that are moved side by side: they stay in the cache, and torch does not split them among threads."""


def lobs(
    problem: Problem, zeros: int, *, rng: Rng | None = None, inverse: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """One sort, then the update of every removal with the same inverse; deterministic.

    inverse: [d, d], such as from `recursive_inverse`; dead inputs have huge entries in it and therefore leave early. By
    default that of the Hessian with its ridge, and dead inputs leave first.

    Raises:
        ValueError: the pattern is of blocks, or the inverse is not of the Hessian's size.
    """
    if problem.pattern.block > 1:
        raise ValueError(f"lobs: can only remove single weights, got pattern {problem.pattern.name}")
    literal, columns = inverse, problem.columns
    weight = (problem.live if literal is None else problem.weight).clone()
    inverse = problem.inverse if literal is None else _checked(literal, weight.shape[1]).to(weight)
    scores = 0.5 * weight.square() / inverse.diagonal()
    choose = problem.kept if literal is None else problem.kept_by
    mask = choose(scores[:, :columns], zeros)
    weight = _swept(weight, inverse, mask, scores)
    return (problem.restored(weight) if literal is None else weight) * mask, mask


def _swept(weight: Tensor, inverse: Tensor, mask: Tensor, scores: Tensor) -> Tensor:
    """The weights after the updates of all removals, each row in the order of its scores, some rows side by side."""
    counts, rows = (~mask).sum(1).sort(descending=True, stable=True)
    order = scores[rows].masked_fill(mask[rows], torch.inf).argsort(dim=1, stable=True)
    moved, columns, now = weight[rows], inverse.T.contiguous(), max(1, CACHE // weight.shape[1])
    for part, part_order, part_counts in zip(moved.split(now), order.split(now), counts.split(now), strict=True):
        _sweep(part, columns, part_order[:, : int(part_counts[0])].T.contiguous(), part_counts)
    return torch.empty_like(weight).index_copy_(0, rows, moved)


def _sweep(weight: Tensor, columns: Tensor, order: Tensor, counts: Tensor) -> None:
    """Move the weights [b, d] in place: row r by its first counts[r] removals of order [steps, b]."""
    ended = torch.arange(len(order), device=order.device)[:, None] >= counts
    divisors = (-columns.diagonal()[order]).masked_fill(ended, torch.inf)
    places = order + torch.arange(len(weight), device=order.device) * weight.shape[1]
    step = torch.empty_like(weight)
    for q, place, divisor in zip(order, places[:, :, None], divisors[:, :, None], strict=True):
        torch.index_select(columns, 0, q, out=step)
        weight += step.mul_(weight.take(place).div_(divisor))


def recursive_inverse(inputs: Tensor, start: float = 1e6) -> Tensor:
    """(X'X / n + I / start)^-1, float64 [d, d], by one rank-one update for each of the inputs [n, d] (equation 7).

    The start is a ridge of 1 / start, and the order of the inputs does not matter but for rounding. With a bias the
    last input is a constant 1.

    Raises:
        ValueError: the inputs are no matrix of finite numbers, or start is not above 0.
    """
    if inputs.dim() != 2 or not len(inputs) or not bool(inputs.isfinite().all()):
        raise ValueError(f"recursive_inverse: inputs must be finite numbers [n, d], got {list(inputs.shape)}")
    if not 0 < start < float("inf"):
        raise ValueError(f"recursive_inverse: start must be above 0, got {start:g}")
    inverse = start * torch.eye(inputs.shape[1], dtype=torch.float64, device=inputs.device)
    for x in inputs.double():
        moved = inverse @ x
        inverse -= torch.outer(moved, moved) / (len(inputs) + x @ moved)
    return inverse


def _checked(inverse: Tensor, d: int) -> Tensor:
    if inverse.shape != (d, d) or not bool((inverse.diagonal() > 0).all()) or not bool(inverse.isfinite().all()):
        raise ValueError(f"lobs: inverse must be finite [{d}, {d}] with a positive diagonal, got {list(inverse.shape)}")
    return inverse
