"""Rounds: optimal brain surgeon with a fresh estimate after each of a few rounds.

    repeat: A_S <- the inverse of H on what each row still keeps;   remove the lowest w_q^2 / A_qq of all rows;   refit

One round is one sort, as in L-OBS but with a refit; with as many rounds as weights it is greedy removal. Each round
keeps the same share of the weights left. Hassibi and Stork (NIPS 1992) re-estimate after every weight, Kurtic et al.
(oBERT, EMNLP 2022) a few times.
"""

import torch
from torch import Tensor

from yoco.rng import Rng
from yoco.sparsify.masks import keep_schedule
from yoco.sparsify.solvers.problem import Problem
from yoco.sparsify.solvers.refit import refit, refit_with_inverse


def rounds(problem: Problem, zeros: int, *, rng: Rng | None = None, count: int = 5) -> tuple[Tensor, Tensor]:
    """Sort, remove, refit, `count` times; deterministic.

    Raises:
        ValueError: count is below 1.
    """
    if count < 1:
        raise ValueError(f"rounds: count must be at least 1, got {count}")
    pattern, columns = problem.pattern, problem.columns
    mask, step = torch.ones_like(problem.live, dtype=torch.bool), pattern.step(len(problem.live))
    total = len(problem.live) * columns // step
    for left in keep_schedule(total, total - zeros // step, count):
        weight, inverse = refit_with_inverse(problem, mask)
        alive = mask[:, :columns].unflatten(1, (-1, pattern.block))[:, :, 0]
        eye = torch.eye(pattern.block, dtype=inverse.dtype, device=inverse.device)
        factor = torch.linalg.cholesky(torch.where(alive[:, :, None, None], inverse, eye))
        blocks = weight[:, :columns].masked_fill(problem.dead[:columns], 0).unflatten(1, (-1, pattern.block))
        scores = torch.linalg.solve_triangular(factor, blocks[..., None], upper=False).square().sum((2, 3))
        mask = problem.kept(scores.masked_fill(~alive, -torch.inf), (total - left) * step)
    return refit(problem, mask), mask
