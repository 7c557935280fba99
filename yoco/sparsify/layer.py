"""One layer made sparse: given its weights and the second moments of its inputs, zeros are chosen and the rest fitted.

With X the inputs [n, in] and H = X'X / n, weights W + D instead of W change the layer's outputs by (1 / n) |X D'|^2 =
tr(D H D'). All is about half of that, which is exact for any D (Dong, Chen and Pan, NIPS 2017).
"""

import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from yoco.device import cpu_by_default
from yoco.registry import resolve
from yoco.rng import Rng
from yoco.sparsify.patterns import Zeros, parse
from yoco.sparsify.solvers import CURVES, FITTED, SOLVERS
from yoco.sparsify.solvers.problem import Problem, check_weight, checked_moments
from yoco.sparsify.solvers.refit import refit as fitted


@dataclass(frozen=True, eq=False)
class Solved:
    """A sparse layer: weight [out, in] as it was given, mask bool [out, in], True = kept.

    error: 0.5 tr(D H D') of the weights as they are here, on H as it was given. ridge: what was added to the diagonal
    of H, in units of its mean over live inputs. dead: bool [in], inputs with H_qq = 0.
    """

    weight: Tensor
    mask: Tensor
    error: float
    ridge: float
    dead: Tensor


class Layer:
    """One layer, checked and factorised once, to be solved for as many numbers of zeros and solvers as wanted.

    weight: float [out, in]. hessian: float [in, in], X'X / n. bias: the last input is the constant 1, and its weights
    are biases; they are no part of the prunable weights and always stay, unless `prune_bias`.
    pattern: see `yoco.sparsify.patterns`. ridge: at least what is added to the diagonal of H, times its mean over live
    inputs; raised tenfold until H can be factorised.
    order: long [in], a permutation of the inputs, the bias last: the order in which neighbours of the pattern follow
    one another, by default their own. What is answered has the inputs where they were.

    Raises:
        ValueError: weight or hessian is not what it has to be, or the pattern is unknown or does not fit the layer.
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
            raise ValueError(f"solve: prune_bias needs a bias, and a pattern without neighbours, got {got}")
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
        """A solver of one's own may answer anything."""
        shape, columns = self.given.shape, self.problem.columns
        if weight.shape != shape or mask.shape != shape or mask.dtype != torch.bool:
            raise ValueError(f"solver {solver}: must answer weights and a bool mask {list(shape)}, got other shapes")
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
    zeros: a count, or a share of the prunable weights as a float; under N:M the pattern says it, and None is enough.
    solver: a name of SOLVERS, or module:function. options: its own.
    refit: least squares on what stays, row by row, as the last step; the bias is part of it. Without it the weights are
    the solver's own, which is the paper's method where it has a way to move them.

    Weights of dead inputs cost nothing and leave first, except with magnitude and random, which do not look at inputs,
    and with lobs and an inverse of its own. Those that stay do so unchanged.

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

    exact knows them all from one trace, with the ridge in them: never below what `solve` then measures, but for the
    rounding of weights in 16 bits, and the same without a ridge. The others solve anew for each level.

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
    known = inspect.signature(found).parameters
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
    """Check that no option of anybody's own solver is named as another that stands beside it: one of `taken`.

    Raises:
        ValueError: one is, or there is no such solver.
    """
    if isinstance(name, str) and ":" in name:
        known = list(inspect.signature(resolve("solver", SOLVERS, name)).parameters.values())
        for option in known[2:]:
            if option.name in taken and option.kind is not option.VAR_KEYWORD:
                raise ValueError(f"solver {name}: options must not be named as those of a Pruner, got {option.name}")


@cpu_by_default
def try_solver(name: str, pattern: str | None, options: Mapping[str, Any]) -> None:
    """Let a solver refuse its options, or the pattern, on a small layer, before minutes of training.

    Tensors, which are made for layers of one size, are left out. Of anybody's own, which may work for layers of some
    sizes alone, only the call is looked at.

    Raises:
        ValueError: as `solve`; or it cannot be called with these options.
    """
    if ":" in name:
        try:
            inspect.signature(solver_of(name, options)).bind(None, 0, rng=Rng(0), **options)
        except TypeError as error:
            raise ValueError(f"solver {name}: cannot be called as it is asked for ({error})") from error
        return
    form, words = parse(pattern), {key: value for key, value in options.items() if not isinstance(value, Tensor)}
    inputs = 2 * (form.group or form.block)
    weight, hessian = torch.arange(1, inputs + 1).double().repeat(2, 1), torch.eye(inputs, dtype=torch.float64)
    zeros = None if form.group else 0.5
    solve(weight, hessian, zeros=zeros, solver=name, pattern=pattern, refit=False, rng=Rng(0), **words)
