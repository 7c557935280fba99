"""Scores without a matrix: the weights of the lowest leave, the others stay as they are until the refit.

Every score is a square, or chance, so that the score of a block is the sum of those of its weights.
"""

from dataclasses import replace

import torch
from torch import Tensor

from yoco.rng import Rng
from yoco.sparsify.solvers.problem import Problem


def magnitude(problem: Problem, zeros: int, *, rng: Rng | None = None) -> tuple[Tensor, Tensor]:
    """w^2 (Han et al., NIPS 2015): the inputs do not count, so dead ones are no exception."""
    return _masked(problem, problem.kept_by(problem.pattern.pool(_prunable(problem).square()), zeros))


def obd(problem: Problem, zeros: int, *, rng: Rng | None = None) -> tuple[Tensor, Tensor]:
    """w_q^2 H_qq / 2, over the whole layer (optimal brain damage: LeCun et al., NIPS 1989)."""
    return _masked(problem, problem.kept(_diagonal(problem) / 2, zeros))


def wanda(problem: Problem, zeros: int, *, rng: Rng | None = None) -> tuple[Tensor, Tensor]:
    """(|w_q| |x_q|)^2, compared within each output row (Sun et al., ICLR 2024).

    Without a pattern rows have equal counts, or differ by one where the zeros cannot be shared equally. It is the score
    of `obd`, whose comparison is over the layer.
    """
    pattern = problem.pattern
    if pattern.group or pattern.block > 1:
        return _masked(problem, problem.kept(_diagonal(problem), zeros))
    scores = _diagonal(problem).masked_fill(problem.dead_units, -1)
    return _masked(problem, problem.whole(replace(pattern, by_row=True).keep(scores, zeros)))


def random(problem: Problem, zeros: int, *, rng: Rng | None = None) -> tuple[Tensor, Tensor]:
    """Chance: every choice that the pattern allows is as likely.

    Raises:
        ValueError: there is no rng.
    """
    if rng is None:
        raise ValueError("random: needs rng, got None")
    units = len(problem.weight), len(problem.dead_units)
    scores = torch.rand(units, generator=rng.generator(), dtype=torch.float64).to(problem.weight.device)
    return _masked(problem, problem.kept_by(scores, zeros))


def _prunable(problem: Problem) -> Tensor:
    return problem.weight[:, : problem.columns]


def _diagonal(problem: Problem) -> Tensor:
    """w_q^2 H_qq of units, [m, p / block]."""
    return problem.pattern.pool(_prunable(problem).square() * problem.diagonal[: problem.columns])


def _masked(problem: Problem, mask: Tensor) -> tuple[Tensor, Tensor]:
    return problem.weight * mask, mask
