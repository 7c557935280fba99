"""Linear maps and sums of counts held as logs: no number of paths is too large, and none is lost beside another."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

WIDTH = 500.0
"""Counts within a factor exp(WIDTH) are summed at once: they and their sums stay far from the limits of float64."""


class Map(torch.autograd.Function):
    """A linear map without negative entries: forward in logs, backward whether a path can be continued, 0 or 1."""

    @staticmethod
    def forward(ctx: Any, log: Tensor, weight: Tensor, apply: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Logs of apply(exp(log), weight), which must be linear in both."""
        ctx.save_for_backward(log, weight)
        ctx.map = apply
        return _banded(log, lambda counts: apply(counts, weight))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        """Of each position whether a kept weight leads on, of each weight whether it would join what can be joined."""
        log, weight = ctx.saved_tensors
        with torch.enable_grad(), torch._C.DisableTorchFunctionSubclass():
            reached, kept = (log > -torch.inf).double().requires_grad_(), weight.clone().requires_grad_()
            onward = (grads[0] > 0.5).double()
            ways, uses = torch.autograd.grad(ctx.map(reached, kept), (reached, kept), onward, allow_unused=True)
        uses = torch.zeros_like(weight) if uses is None else (uses > 0.5).double()
        return (ways > 0.5).double(), uses, None


class Sum(torch.autograd.Function):
    """log(exp(a) + exp(b)); backward both terms can be continued."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        """Both terms are logs, -inf for none."""
        return torch.logaddexp(a, b)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        """The same to both."""
        return grads[0], grads[0]


def _banded(log: Tensor, apply: Callable[[Tensor], Tensor]) -> Tensor:
    """log(apply(exp(log))) of a linear map, for logs of any size: by bands in which exp cannot overflow."""
    finite = log[log > -torch.inf]
    ceiling, floor = (float(finite.max()), float(finite.min())) if len(finite) else (0.0, 0.0)
    result = apply(torch.zeros_like(log)).log()
    while ceiling >= floor:
        inside = (log <= ceiling) & (log > ceiling - WIDTH)
        band = apply((log - ceiling).masked_fill(~inside, -torch.inf).exp()).log() + ceiling
        result, ceiling = torch.logaddexp(result, band), ceiling - WIDTH
    return result
