"""Gradient descent on a last layer, with a hand-written gradient of its result.

Everything is transposed, with classes as rows: on a CPU, products with few rows are several times as fast as with few
columns. In the backward pass, autograd would add a matrix as large as the kernel in every step; here one product over
all steps does it.
"""

from typing import Any

import torch
from torch import Tensor


def descend(kernel: Tensor, shares: Tensor, *, steps: int, eta: float, momentum: float, decay: float) -> Tensor:
    """a [n, classes] of a last layer features' a, after gradient descent from 0 on its mean cross-entropy.

        v <- momentum v + (softmax(kernel a) - shares) / n + decay a,  a <- a - eta v

    kernel: features features' [n, n]. shares: labels [n, classes]. Differentiable once in both: 2 steps x classes x n
    numbers are kept for that, and the backward pass makes half as many more.
    """
    answer: Tensor = _Descent.apply(kernel, shares.T.contiguous(), steps, eta, momentum, decay)
    return answer.T


class _Descent(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, kernel: Tensor, shares: Tensor, steps: int, eta: float, momentum: float, decay: float
    ) -> Tensor:
        """All steps; what they pass through is kept."""
        a = speed = torch.zeros_like(shares)
        passed, guesses = (shares.new_empty(steps, *shares.shape) for _ in range(2))
        for step in range(steps):
            passed[step] = a
            guess = guesses[step] = (a @ kernel.T).softmax(0)
            speed = momentum * speed + (guess - shares) / len(kernel) + decay * a
            a = a - eta * speed
        ctx.save_for_backward(kernel, passed.flatten(0, 1), guesses)
        ctx.eta, ctx.momentum, ctx.decay = eta, momentum, decay
        return a

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """All steps back."""
        if torch.is_grad_enabled():
            raise RuntimeError("descend: can be differentiated only once, got create_graph=True")
        kernel, passed, guesses = ctx.saved_tensors
        of_a, of_speed, of_shares = gradient, torch.zeros_like(gradient), torch.zeros_like(gradient)
        of_scores = torch.empty_like(guesses)
        for step in reversed(range(len(guesses))):
            guess = guesses[step]
            of_speed = ctx.momentum * of_speed - ctx.eta * of_a
            of_error = of_speed / len(kernel)
            of_shares = of_shares - of_error
            of_score = guess * (of_error - (guess * of_error).sum(0))
            of_scores[step] = of_score
            of_a = of_a + ctx.decay * of_speed + of_score @ kernel
        return of_scores.flatten(0, 1).T @ passed, of_shares, None, None, None, None
