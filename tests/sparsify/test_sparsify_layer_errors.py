"""Solvers of one's own, and what a layer refuses, each in one line."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from yoco.data import Splits
from yoco.rng import Rng
from yoco.sparsify import Pruner
from yoco.sparsify.layer import Solved, solve, try_solver
from yoco.sparsify.solvers.problem import Problem
from yoco.sparsify.study import Study


def layer(d: int = 8) -> tuple[Tensor, Tensor]:
    """Weights [3, d], and the Hessian of inputs above 0, of which the last is constant."""
    weight, inputs = torch.randn(43, d, generator=Rng(0).generator(), dtype=torch.float64).abs().split([3, 40])
    inputs[:, -1] = 1
    return weight, inputs.T @ inputs / 40


def everything(problem: Problem, zeros: int, *, rng: Rng | None = None, first: int = 0) -> tuple[Tensor, Tensor]:
    mask = torch.ones_like(problem.weight, dtype=torch.bool)
    mask.view(-1)[first : first + zeros] = False
    return problem.weight, mask


def careless(problem: Problem, zeros: int, **options: Any) -> tuple[Tensor, Tensor]:
    return everything(problem, zeros - 1)


def misshapen(problem: Problem, zeros: int, **options: Any) -> tuple[Tensor, Tensor]:
    return problem.weight, torch.ones(2, 2)


def placed(problem: Problem, zeros: int, first: int = 0, *, rng: Rng | None = None) -> tuple[Tensor, Tensor]:
    return everything(problem, zeros, first=first)


def blind(problem: Problem, zeros: int) -> tuple[Tensor, Tensor]:
    return everything(problem, zeros)


def lacking(problem: Problem, zeros: int, *, rng: Rng, span: Any) -> tuple[Tensor, Tensor]:
    return everything(problem, zeros)


def strict(problem: Problem, zeros: int, *, rng: Rng | None = None, ridge: float = 0.1) -> tuple[Tensor, Tensor]:
    return everything(problem, zeros)


def test_a_solver_of_ones_own_is_found_and_checked() -> None:
    weight, hessian = layer(9)
    found = solve(weight, hessian, zeros=4, solver=f"{__name__}:everything", first=2, bias=True)
    assert (~found.mask).nonzero().tolist() == [[0, 2], [0, 3], [0, 4], [0, 5]]
    assert isinstance(found, Solved)
    cases: list[tuple[str, int, dict[str, Any], str]] = [
        ("careless", 4, {}, "must leave 4 zeros in the pattern and finite weights, got 3"),
        ("everything", 9, {}, "must leave 9 zeros in the pattern and finite weights, got 9"),
        ("everything", 6, {"pattern": "row"}, "must leave 6 zeros in the pattern and finite weights, got 6"),
        ("misshapen", 4, {}, "must return weights and a bool mask [3, 9], got other shapes"),
        ("everything", 4, {"last": 1}, "has options first, got 'last'"),
        ("placed", 4, {"first": 1}, "options must be keyword-only, got 'first'"),
    ]
    for name, zeros, options, line in cases:
        with pytest.raises(ValueError, match=rf"^solver {__name__}:{name}: {re.escape(line)}$"):
            solve(weight, hessian, zeros=zeros, solver=f"{__name__}:{name}", bias=True, **options)


@pytest.mark.parametrize("name", ["blind", "lacking"])
def test_the_call_of_a_solver_of_ones_own_is_looked_at_before_any_training(tiny: Splits, name: str) -> None:
    own = f"{__name__}:{name}"
    rule = "must accept problem, zeros, rng and its options"
    with pytest.raises(ValueError, match=rf"^solver {own}: {rule}, got: [^\n]*$"):
        Study(data=tiny, network="mlp:width=4", sparsity=0.5, options={"solver": own})


def test_solvers_of_ones_own_may_want_more_than_a_small_layer_has() -> None:
    try_solver(f"{__name__}:lacking", None, {"span": torch.ones(3)})
    try_solver(f"{__name__}:misshapen", None, {"span": 64})


def test_options_of_a_solver_are_not_named_as_those_of_a_pruner() -> None:
    with pytest.raises(ValueError, match=r":strict: options must not be named like those of Pruner, got ridge$"):
        Pruner.of({"solver": f"{__name__}:strict", "ridge": 0.5})
    assert Pruner.of({"solver": f"{__name__}:careless", "ridge": 0.5, "span": 3}).options == {"span": 3}


def entry(*place: int, value: float) -> Callable[[Tensor], Tensor]:
    def change(matrix: Tensor) -> Tensor:
        changed = matrix.clone()
        changed[place] = value
        return changed

    return change


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda h: h[:7], "solve: hessian must be floats [8, 8], got float64 [7, 8]"),
        (lambda h: h[:7, :7], "solve: hessian must be floats [8, 8], got float64 [7, 7]"),
        (lambda h: h.long(), "solve: hessian must be floats [8, 8], got int64 [8, 8]"),
        (entry(2, 3, value=float("nan")), "solve: hessian must be finite, got nan or inf"),
        (entry(1, 1, value=-0.5), "solve: hessian must have a diagonal of at least 0, got -0.5"),
        (entry(1, 1, value=0), "solve: hessian must be 0 in every row whose diagonal is 0, got other entries"),
        (lambda h: -h + 2 * torch.diag(h.diagonal()), "hessian: must be positive semidefinite, got one that is not"),
        (lambda h: torch.triu(h), "solve: hessian must be symmetric, got entries that differ by"),
    ],
)
def test_bad_hessians_are_one_line(change: Callable[[Tensor], Tensor], line: str) -> None:
    weight, hessian = layer()
    with pytest.raises(ValueError, match=rf"^{re.escape(line)}[^\n]*$"):
        solve(weight, change(hessian), zeros=3)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            {"weight": torch.ones(8)},
            "solve: weight must be floats [out, in] with inputs besides a bias, got float32 [8]",
        ),
        (
            {"weight": torch.ones(0, 8)},
            "solve: weight must be floats [out, in] with inputs besides a bias, got float32 [0, 8]",
        ),
        (
            {"weight": torch.ones(2, 8).int()},
            "solve: weight must be floats [out, in] with inputs besides a bias, got int32 [2, 8]",
        ),
        ({"weight": torch.full((2, 8), torch.inf)}, "solve: weight must be finite, got nan or inf"),
        ({"zeros": 25}, "zeros: a count must be in 0..24, got 25"),
        ({"zeros": 22, "bias": True}, "zeros: a count must be in 0..21, got 22"),
        ({"zeros": 1.5}, "zeros: must be a count, or a share as a float in 0..1, got 1.5"),
        ({"zeros": 3, "pattern": "2:4"}, "pattern 2:4: zeros must be 12 as the pattern says, got 3"),
        ({"zeros": None, "pattern": "2:4", "bias": True}, "pattern 2:4: inputs must be a multiple of 4, got 7"),
        ({"pattern": "3x3"}, "pattern: must be unstructured, row, N:M (N kept of M) or block:C, got '3x3'"),
        ({"ridge": -1.0}, "solve: ridge must be in 0..1, got -1"),
        ({"ridge": float("nan")}, "solve: ridge must be in 0..1, got nan"),
        (
            {"prune_bias": True},
            "solve: prune_bias needs a bias and no pattern N:M or block:C, got bias=False and pattern unstructured",
        ),
        (
            {"prune_bias": True, "bias": True, "pattern": "block:2"},
            "solve: prune_bias needs a bias and no pattern N:M or block:C, got bias=True and pattern block:2",
        ),
        ({"swap": 1}, "solver exact: has options memory, second, swaps, got 'swap'"),
        ({"solver": "magnitude", "span": 1}, "solver magnitude: has options none, got 'span'"),
    ],
)
def test_bad_input_is_one_line(change: dict[str, Any], line: str) -> None:
    weight, hessian = layer()
    with pytest.raises(ValueError, match=rf"^{re.escape(line)}$"):
        solve(**{"weight": weight, "hessian": hessian, "zeros": 3, **change})


def test_unknown_solvers_are_told_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"^solver: unknown name 'exakt'; did you mean 'exact'\? known: admm, column"):
        solve(*layer(), zeros=3, solver="exakt")
