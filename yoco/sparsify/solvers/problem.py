"""What a solver is given: one layer with its second moments, scaled, damped and factorised once."""

from functools import cached_property

import torch
from torch import Tensor

from yoco.sparsify.patterns import Pattern

MEMORY = 2**28
"""Bytes that a solver may take for the rows that it works on at once."""
ROUNDING = 1e-5
"""How unsymmetric second moments may be, next to their largest entry: they may have been summed in float32."""


class Problem:
    """Make [m, d] weights sparse such that 0.5 tr(D H D') stays small, where D is what changes.

    weight: as given, float64 [m, d]. live: the same, with 0 where the input is dead.
    hessian: [d, d], H / scale plus ridge times I; dead inputs have a 1 on the diagonal and nothing else.
    scale: the mean diagonal of H over inputs that are not dead. diagonal: of H / scale, [d].
    dead: bool [d], inputs with H_qq = 0. columns: the first so many inputs are prunable; what follows always stays.
    memo: what a solver wants to find again when it is called once more.

    Raises:
        ValueError: H needs a ridge above 1 to be positive definite.
    """

    def __init__(self, weight: Tensor, hessian: Tensor, columns: int, pattern: Pattern, ridge: float) -> None:
        self.weight, self.columns, self.pattern = weight, columns, pattern
        diagonal = hessian.diagonal()
        self.dead = diagonal == 0
        self.live = weight.masked_fill(self.dead, 0)
        self.scale = float(diagonal[~self.dead].mean()) if not bool(self.dead.all()) else 1.0
        self.diagonal = diagonal / self.scale
        self.hessian, self.ridge = damped(hessian / self.scale, ridge)
        self.memo: dict[str, object] = {}

    @cached_property
    def inverse(self) -> Tensor:
        """The inverse of `hessian`, symmetric."""
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(self.hessian))
        return (inverse + inverse.T) / 2

    @cached_property
    def dead_units(self) -> Tensor:
        """bool [p / block]: the units of the pattern that have dead inputs only."""
        return self.dead[: self.columns].unflatten(0, (-1, self.pattern.block)).all(1)

    def kept(self, scores: Tensor, zeros: int) -> Tensor:
        """The mask [m, d] by scores of at least 0 of the units [m, p / block]; those of dead inputs leave first."""
        return self.kept_by(scores.masked_fill(self.dead_units, -1), zeros)

    def kept_by(self, scores: Tensor, zeros: int) -> Tensor:
        """The mask [m, d] by nothing but these scores of the units [m, p / block]; see `Pattern.keep`."""
        return self.whole(self.pattern.keep(scores, zeros))

    def whole(self, mask: Tensor) -> Tensor:
        """From the prunable columns [m, p] to all: [m, d]."""
        rest = mask.new_ones(len(mask), self.weight.shape[1] - self.columns)
        return torch.cat([mask, rest], 1)

    def restored(self, weight: Tensor) -> Tensor:
        """Weights [m, d], with those of dead inputs as they were given."""
        return torch.where(self.dead, self.weight, weight)


def damped(hessian: Tensor, ridge: float) -> tuple[Tensor, float]:
    """H + ridge I, with 1 on the diagonal of dead inputs, and the ridge that it took.

    The ridge grows tenfold, from 1e-12 if it is smaller, until the Cholesky factorisation succeeds and its smallest
    pivot is above rounding.

    Raises:
        ValueError: a ridge of 1 is not enough.
    """
    diagonal = hessian.diagonal()
    dead, least = diagonal == 0, len(hessian) * torch.finfo(hessian.dtype).eps * max(float(diagonal.max()), 1.0)
    while ridge <= 1:
        candidate = hessian.clone()
        candidate.diagonal().copy_((diagonal + ridge).masked_fill(dead, 1.0))
        factor, failed = torch.linalg.cholesky_ex(candidate)
        if not int(failed) and float(factor.diagonal().min()) ** 2 > least:
            return candidate, ridge
        ridge = max(10 * ridge, 1e-12)
    rule = "must be positive semidefinite, got one that is not, even with a ridge of its mean diagonal"
    raise ValueError(f"hessian: {rule}")


def check_weight(weight: Tensor, bias: bool) -> None:
    """Check that weights can be pruned.

    Raises:
        ValueError: they are no matrix of finite floats with an input besides the bias.
    """
    if weight.dim() != 2 or not weight.is_floating_point() or not len(weight) or weight.shape[1] <= bias:
        got = f"{str(weight.dtype).removeprefix('torch.')} {list(weight.shape)}"
        raise ValueError(f"solve: weight must be floats [out, in] with inputs besides a bias, got {got}")
    if not bool(weight.isfinite().all()):
        raise ValueError("solve: weight must be finite, got nan or inf")


def checked_moments(hessian: Tensor, weight: Tensor) -> Tensor:
    """The Hessian of inputs of these weights, in float64, symmetric.

    Raises:
        ValueError: it cannot be one.
    """
    d = weight.shape[1]
    if hessian.shape != (d, d) or not hessian.is_floating_point():
        got = f"{str(hessian.dtype).removeprefix('torch.')} {list(hessian.shape)}"
        raise ValueError(f"solve: hessian must be floats [{d}, {d}], got {got}")
    if not bool(hessian.isfinite().all()):
        raise ValueError("solve: hessian must be finite, got nan or inf")
    full = hessian.to(weight.device).double()
    diagonal, gap = full.diagonal(), float((full - full.T).abs().max())
    if float(diagonal.min()) < 0:
        raise ValueError(f"solve: hessian must have a diagonal of at least 0, got {float(diagonal.min()):g}")
    if gap > ROUNDING * float(full.abs().max()):
        raise ValueError(f"solve: hessian must be symmetric, got entries that differ by {gap:g}")
    full = (full + full.T) / 2
    if bool((full[diagonal == 0] != 0).any()):
        raise ValueError("solve: hessian must be 0 in every row whose diagonal is 0, got other entries")
    return full
