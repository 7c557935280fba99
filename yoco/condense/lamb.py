"""LAMB: Adam whose step is scaled to the size of what it changes (You et al., ICLR 2020), along a cosine."""

from collections.abc import Callable, Iterable
from math import cos, pi
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class Lamb(Optimizer):
    """x <- x - lr |x| / |u| u with u = m / (sqrt(v) + eps), the moments as of Adam; no weight decay.

    The step size falls from lr to final * lr along half a cosine over `steps` steps.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        steps: int,
        final: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
    ) -> None:
        super().__init__(params, {"lr": lr, "steps": steps, "final": final, "betas": betas, "eps": eps, "done": 0})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Change every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            group["done"] += 1
            share = min((group["done"] - 1) / max(group["steps"], 1), 1.0)
            lr = group["lr"] * (group["final"] + (1 - group["final"]) * (1 + cos(pi * share)) / 2)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._change(parameter, lr, group)

    def _change(self, parameter: Tensor, lr: float, group: dict[str, Any]) -> None:
        state, (first, second) = self.state[parameter], group["betas"]
        if not state:
            state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["mean"].lerp_(parameter.grad, 1 - first)  # type: ignore[arg-type]
        state["square"].lerp_(parameter.grad.square(), 1 - second)  # type: ignore[union-attr]
        mean, square = state["mean"] / (1 - first ** group["done"]), state["square"] / (1 - second ** group["done"])
        update = mean / (square.sqrt() + group["eps"])
        size, length = parameter.norm(), update.norm()
        trust = torch.where((size > 0) & (length > 0), size / length, 1.0)
        parameter.sub_(lr * trust * update)
