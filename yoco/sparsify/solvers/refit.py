"""Least squares on the weights that stay, row by row: exact, with the Cholesky factor of the smaller side.

With D what changes, S the kept and P the removed inputs of a row, w its weights, H the Hessian and A its inverse:

    D_S = H_SS^-1 H_SP w_P        or, the same,        D = -A_:P A_PP^-1 w_P

(Hassibi and Stork, NIPS 1992, for one weight; Frantar and Alistarh, NeurIPS 2022, for many at once.) The second moment
of what is left, (H_SS)^-1, is A - A_:P A_PP^-1 A_P:, from which the cost of removing the next weights follows.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from yoco.sparsify.solvers.problem import MEMORY, Problem

ROWS = 64


def refit(problem: Problem, mask: Tensor) -> Tensor:
    """The best weights [m, d] with zeros where the mask [m, d] is False; kept weights of dead inputs stay as given."""
    weight = torch.empty_like(problem.live)
    for rows, side in sides(problem, mask):
        weight[rows] = side.solution(rows)
    return problem.restored(weight) * mask


def refit_with_inverse(problem: Problem, mask: Tensor) -> tuple[Tensor, Tensor]:
    """`refit`, and diagonal blocks [m, p / block, block, block] of each row's (H_SS)^-1; of no use where not kept."""
    weight = torch.empty_like(problem.live)
    size, count = problem.pattern.block, problem.columns // problem.pattern.block
    blocks = weight.new_empty(len(mask), count, size, size)
    for rows, side in sides(problem, mask, wide=2):
        weight[rows] = side.solution(rows)
        blocks[rows] = side.blocks()
    return problem.restored(weight) * mask, blocks


class Side:
    """Rows of which one side has at most k inputs: their places [b, k], padded, and the factor of the matrix there.

    kept: the side is S and the matrix H, else it is P and A. chosen: bool [b, d], the side; real: bool [b, k], no pads.
    """

    def __init__(self, problem: Problem, chosen: Tensor, kept: bool) -> None:
        self.problem, self.kept, self.chosen = problem, kept, chosen
        sizes = chosen.sum(1)
        self.real = torch.arange(int(sizes.max()), device=chosen.device) < sizes[:, None]
        self.places = chosen.byte().argsort(dim=1, descending=True, stable=True)[:, : self.real.shape[1]]
        self.matrix = problem.hessian if kept else problem.inverse
        square = self.matrix[self.places[:, :, None], self.places[:, None, :]]
        square *= self.real[:, :, None] & self.real[:, None, :]
        square.diagonal(dim1=1, dim2=2).add_(~self.real)
        self.factor = torch.linalg.cholesky(square)

    def found(self, rows: Tensor) -> Tensor:
        """H_SS^-1 H_SP w_P or A_PP^-1 w_P of these rows: [b, k]."""
        weight = self.problem.live[rows]
        wanted = torch.where(self.chosen, 0, weight) @ self.matrix if self.kept else weight
        right = (wanted.gather(1, self.places) * self.real)[:, :, None]
        return torch.cholesky_solve(right, self.factor).squeeze(2) * self.real

    def solution(self, rows: Tensor) -> Tensor:
        """The weights [b, d] of these rows; of no use where they are not kept."""
        weight = self.problem.live[rows]
        change = torch.zeros_like(weight).scatter_add(1, self.places, self.found(rows))
        return weight + change if self.kept else weight - change @ self.matrix

    def lines(self) -> Tensor:
        """The rows of the matrix on this side: [b, k, d]."""
        return self.matrix[self.places] * self.real[:, :, None]

    def cross(self) -> Tensor:
        """H_SS^-1 H_S: or A_PP^-1 A_P: [b, k, d]."""
        return torch.cholesky_solve(self.lines(), self.factor)

    def inverse_diagonal(self) -> Tensor:
        """Of H_SS^-1 or A_PP^-1: [b, k]."""
        return torch.cholesky_inverse(self.factor).diagonal(dim1=1, dim2=2)

    def blocks(self) -> Tensor:
        """Diagonal blocks of H_SS^-1, at the places of their inputs, 1 for dead ones: [b, p / block, block, block]."""
        columns, size = self.problem.columns, self.problem.pattern.block
        if self.kept:
            eye = torch.diag_embed(self.real.to(self.factor.dtype))
            square = torch.linalg.solve_triangular(self.factor, eye, upper=False)
            spread = square.new_zeros(*square.shape[:2], self.chosen.shape[1])
            root = spread.scatter_add(2, self.places[:, None, :].expand_as(square), square)
        else:
            root = torch.linalg.solve_triangular(self.factor, self.lines(), upper=False)
        root = root[:, :, :columns].unflatten(2, (-1, size))
        squares = torch.einsum("bkgi,bkgj->bgij", root, root)
        if self.kept:
            return squares + torch.diag_embed(self.problem.dead[:columns].view(-1, size).to(squares.dtype))
        return diagonal_blocks(self.matrix[:columns, :columns], size) - squares


def diagonal_blocks(matrix: Tensor, size: int) -> Tensor:
    """[n, n] -> [n / size, size, size]."""
    places = torch.arange(len(matrix), device=matrix.device).view(-1, size)
    return matrix[places[:, :, None], places[:, None, :]]


def sides(
    problem: Problem, mask: Tensor, numbers: Tensor | None = None, *, wide: int = 0, memory: int = MEMORY
) -> Iterator[tuple[Tensor, Side]]:
    """All rows in groups of like size, as many at once as memory allows, each on its smaller side.

    numbers: long [rows of the mask], if they are not all rows of the layer; answered with each side. wide: how many
    arrays [b, k, d] will be made of a side.
    """
    kept, gone = mask & ~problem.dead, ~mask & ~problem.dead
    smaller = kept.sum(1) < gone.sum(1)
    for on_kept in (False, True):
        chosen = kept if on_kept else gone
        rows = torch.nonzero(smaller == on_kept).flatten()
        rows = rows[chosen[rows].sum(1).argsort(descending=True, stable=True)]
        while len(rows):
            k = int(chosen[rows[0]].sum())
            now = min(ROWS, max(1, memory // (8 * (4 * k * k + wide * k * mask.shape[1] + mask.shape[1]))))
            yield rows[:now] if numbers is None else numbers[rows[:now]], Side(problem, chosen[rows[:now]], on_kept)
            rows = rows[now:]
