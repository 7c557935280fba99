"""Make one layer sparse, given its weights and the second moments of its inputs: choose the zeros and fit the rest.

With inputs X [n, in] and H = X'X / n, weights W + D in place of W change the layer's outputs by (1 / n) |X D'|^2 =
tr(D H D'), exactly and for any D. Half of that is the error of the layer (Dong, Chen and Pan, NIPS 2017).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from yoco.device import cpu_by_default
from yoco.registry import resolve, signature_of
from yoco.rng import Rng
from yoco.sparsify.patterns import Zeros, parse
from yoco.sparsify.solvers import CURVES, FITTED, SOLVERS
from yoco.sparsify.solvers.problem import Problem, check_weight, checked_moments
from yoco.sparsify.solvers.refit import refit as fitted


@dataclass(frozen=True, eq=False)
class Solved:
    """A sparse layer: weight [out, in] in the dtype of the dense one, mask bool [out, in], True = kept.

    error: 0.5 tr(D H D') of this `weight`, with H as given, without ridge. ridge: what was added to the diagonal of H,
    in units of its mean over live inputs. dead: bool [in], inputs with H_qq = 0.
    """

    weight: Tensor
    mask: Tensor
    error: float
    ridge: float
    dead: Tensor


class Layer:
    """One layer, checked and factorised once, that can be solved for any number of zeros and by any solver.

    weight: float [out, in]. hessian: float [in, in], X'X / n. bias: the last input is the constant 1, and its weights
    are biases, which are not prunable and always stay, unless `prune_bias`.
    pattern: see `yoco.sparsify.patterns`. ridge: added to the diagonal of H, in units of its mean over live inputs;
    raised tenfold until H can be factorised.
    order: long [in], a permutation of the inputs, the bias last, in which the pattern finds its neighbours; by default
    their own order. Results have the inputs in their own order.

    Raises:
        ValueError: weight or hessian is invalid, or the pattern is unknown or does not fit the layer.
    """

    def __init__(
        self,
        weight: Tensor,
        hessian: Tensor,
        *,
        pattern: str | None = None,
        ridge: float = 1e-6,
        bias: bool = False,
        prune_bias: bool = False,
        order: Tensor | None = None,
    ) -> None:
        form = parse(pattern)
        check_weight(weight, bias)
        if prune_bias and (not bias or form.group or form.block > 1):
            got = f"bias={bias} and pattern {form.name}"
            raise ValueError(f"solve: prune_bias needs a bias and no pattern N:M or block:C, got {got}")
        if not 0 <= ridge <= 1:
            raise ValueError(f"solve: ridge must be in 0..1, got {ridge:g}")
        self.given, self.moments = weight.detach(), checked_moments(hessian.detach(), weight)
        self.order = order if form.group or form.block > 1 else None
        if order is not None and self.order is not None:
            self.given, self.moments = self.given[:, order], self.moments[order][:, order]
        columns = weight.shape[1] - (bias and not prune_bias)
        self.problem = Problem(self.given.double(), self.moments, columns, form, ridge)

    def solve(
        self,
        zeros: Zeros | None = None,
        solver: str = "exact",
        *,
        refit: bool = True,
        rng: Rng | None = None,
        **options: Any,
    ) -> Solved:
        """Choose the zeros and, with `refit`, fit what stays by least squares; see `solve` below."""
        count = self.count(zeros)
        if self.order is not None and isinstance(inverse := options.get("inverse"), Tensor):
            options["inverse"] = inverse[self.order][:, self.order]
        weight, mask = solver_of(solver, options)(self.problem, count, rng=rng, **options)
        self._check(solver, weight, mask, count)
        if refit and solver not in FITTED:
            weight = fitted(self.problem, mask)
        new = torch.where(mask, weight, 0).to(self.given.dtype)
        change = new.double() - self.problem.weight
        error = float(((change @ self.moments) * change).sum()) / 2
        dead = self.problem.dead
        if self.order is not None:
            back = self.order.argsort()
            new, mask, dead = new[:, back], mask[:, back], dead[back]
        return Solved(new, mask, max(error, 0.0), self.problem.ridge, dead)

    def curve(
        self,
        levels: Sequence[Zeros],
        solver: str = "exact",
        *,
        refit: bool = True,
        rng: Rng | None = None,
        **options: Any,
    ) -> Tensor:
        """The error at each of these numbers of zeros; see `curve` below."""
        solver_of(solver, options)
        counts = [self.count(level) for level in levels]
        if solver in CURVES:
            errors = resolve("solver", CURVES, solver)(self.problem, counts, **options)
        else:
            errors = [self.solve(count, solver, refit=refit, rng=rng, **options).error for count in counts]
        return torch.tensor(errors, dtype=torch.float64)

    def count(self, zeros: Zeros | None) -> int:
        """The number of zeros that is meant; see `Pattern.count`."""
        return self.problem.pattern.count(zeros, len(self.given), self.problem.columns)

    def _check(self, solver: str, weight: Tensor, mask: Tensor, count: int) -> None:
        """Check what a solver, which may be a custom one, has returned."""
        shape, columns = self.given.shape, self.problem.columns
        if weight.shape != shape or mask.shape != shape or mask.dtype != torch.bool:
            raise ValueError(f"solver {solver}: must return weights and a bool mask {list(shape)}, got other shapes")
        gone = int((~mask).sum())
        free = bool(mask[:, columns:].all()) and self.problem.pattern.allows(mask[:, :columns])
        if gone != count or not free or not bool(weight[mask].isfinite().all()):
            raise ValueError(f"solver {solver}: must leave {count} zeros in the pattern and finite weights, got {gone}")


@cpu_by_default
def solve(
    weight: Tensor,
    hessian: Tensor,
    *,
    zeros: Zeros | None = None,
    solver: str = "exact",
    pattern: str | None = None,
    refit: bool = True,
    ridge: float = 1e-6,
    bias: bool = False,
    prune_bias: bool = False,
    rng: Rng | None = None,
    **options: Any,
) -> Solved:
    """Make one layer sparse.

    weight, hessian, pattern, ridge, bias, prune_bias: see `Layer`.
    zeros: a count, or a share of the prunable weights as a float; with N:M, where the pattern sets it, it may be None.
    solver: a name of SOLVERS, or module:function. options: those of the solver.
    refit: as the last step, fit the kept weights and the bias by least squares, row by row. Without it the weights are
    the solver's own, as in its paper if that moves weights at all.

    Weights of dead inputs cost nothing and are removed first, except with magnitude and random, which do not look at
    inputs, and with lobs if it is passed an inverse. Those that are kept stay unchanged.

    Raises:
        ValueError: as `Layer`; or zeros out of range or not of the pattern, or an unknown solver or option.
    """
    layer = Layer(weight, hessian, pattern=pattern, ridge=ridge, bias=bias, prune_bias=prune_bias)
    return layer.solve(zeros, solver, refit=refit, rng=rng, **options)


@cpu_by_default
def curve(
    weight: Tensor,
    hessian: Tensor,
    *,
    levels: Sequence[Zeros],
    solver: str = "exact",
    pattern: str | None = None,
    refit: bool = True,
    ridge: float = 1e-6,
    bias: bool = False,
    prune_bias: bool = False,
    rng: Rng | None = None,
    **options: Any,
) -> Tensor:
    """The errors at several numbers of zeros: float64 [len(levels)], for sharing zeros out among layers.

    exact finds them all in one trace, with the ridge included: never below the error that `solve` measures, except for
    rounding of weights in 16 bits, and equal to it without ridge, second choice and swaps. The other solvers solve anew
    for each level.

    Raises:
        ValueError: as `solve`.
    """
    layer = Layer(weight, hessian, pattern=pattern, ridge=ridge, bias=bias, prune_bias=prune_bias)
    return layer.curve(levels, solver, refit=refit, rng=rng, **options)


def solver_of(name: str, options: Mapping[str, Any]) -> Any:
    """The function behind the name of a solver.

    Raises:
        ValueError: no such solver, or it has no such option that is keyword-only.
    """
    found = resolve("solver", SOLVERS, name)
    known = signature_of(found).parameters
    taken = {word for word, kind in known.items() if kind.kind is kind.KEYWORD_ONLY} - {"rng"}
    placed = {*list(known)[2:]} - taken - {"rng"}
    if not any(kind.kind is kind.VAR_KEYWORD for kind in known.values()):
        for word in options:
            if word in placed:
                raise ValueError(f"solver {name}: options must be keyword-only, got {word!r}")
            if word not in taken:
                raise ValueError(f"solver {name}: has options {', '.join(sorted(taken)) or 'none'}, got {word!r}")
    return found


def check_names(name: Any, taken: Collection[str]) -> None:
    """Check that no option of a custom solver has a name that is `taken` by another option.

    Raises:
        ValueError: one has, or there is no such solver.
    """
    if isinstance(name, str) and ":" in name:
        known = list(signature_of(resolve("solver", SOLVERS, name)).parameters.values())
        for option in known[2:]:
            if option.name in taken and option.kind is not option.VAR_KEYWORD:
                raise ValueError(f"solver {name}: options must not be named like those of Pruner, got {option.name}")


@cpu_by_default
def try_solver(name: str, pattern: str | None, options: Mapping[str, Any]) -> None:
    """Try a solver on a small layer, so that it refuses its options or the pattern before minutes of training.

    Options that are tensors fit layers of one size, and are left out. A custom solver may work for some sizes only: it
    is not run, but its options are checked against its signature.

    Raises:
        ValueError: as `solve`; or it cannot be called with these options.
    """
    if ":" in name:
        try:
            signature_of(solver_of(name, options)).bind(None, 0, rng=Rng(0), **options)
        except TypeError as error:
            raise ValueError(f"solver {name}: must accept problem, zeros, rng and its options, got: {error}") from error
        return
    form, words = parse(pattern), {key: value for key, value in options.items() if not isinstance(value, Tensor)}
    inputs = 2 * (form.group or form.block)
    weight, hessian = torch.arange(1, inputs + 1).double().repeat(2, 1), torch.eye(inputs, dtype=torch.float64)
    zeros = None if form.group else 0.5
    solve(weight, hessian, zeros=zeros, solver=name, pattern=pattern, refit=False, rng=Rng(0), **words)
