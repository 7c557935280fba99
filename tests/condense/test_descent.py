"""The unrolled descent of a last layer against autograd through every step."""

import pytest
import torch
from torch import Tensor

from yoco.condense.descent import descend
from yoco.rng import Rng

HOW = {"eta": 0.3, "momentum": 0.9, "decay": 0.05}


def literal(kernel: Tensor, shares: Tensor, steps: int) -> Tensor:
    a = v = torch.zeros_like(shares)
    for _ in range(steps):
        v = 0.9 * v + ((kernel @ a).softmax(1) - shares) / len(kernel) + 0.05 * a
        a = a - 0.3 * v
    return a


def given(n: int = 7, classes: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """A kernel, for a test of its gradient not a symmetric one, labels, and a gradient to be sent back."""
    draw = torch.randn(n, n + 2 * classes, generator=Rng(0).generator(), dtype=torch.float64)
    kernel, shares, sent = draw.split([n, classes, classes], 1)
    return kernel.clone().requires_grad_(), shares.softmax(1).requires_grad_(), sent


@pytest.mark.parametrize("steps", [1, 2, 25])
def test_value_and_gradients_are_those_of_autograd(steps: int) -> None:
    kernel, shares, sent = given()
    found, expected = descend(kernel, shares, steps=steps, **HOW), literal(kernel, shares, steps)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    for mine, theirs in zip(
        *(torch.autograd.grad((answer * sent).sum(), (kernel, shares)) for answer in (found, expected)), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-14)
        assert steps == 1 or float(mine.abs().sum()) > 0


def test_labels_that_are_not_learned_need_no_gradient() -> None:
    kernel, shares, sent = given()
    answer = descend(kernel, shares.detach(), steps=3, **HOW)
    (mine,) = torch.autograd.grad((answer * sent).sum(), kernel)
    torch.testing.assert_close(mine, torch.autograd.grad((literal(kernel, shares, 3) * sent).sum(), kernel)[0])


def test_a_second_gradient_is_refused() -> None:
    kernel, shares, sent = given()
    loss = (descend(kernel, shares, steps=3, **HOW) * sent).sum()
    with pytest.raises(RuntimeError, match=r"^descend: can be differentiated only once, got create_graph=True$"):
        torch.autograd.grad(loss, kernel, create_graph=True)


def test_steps_are_written_where_they_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Putting them together at the end would hold all of them twice."""
    kernel, shares, sent = given()
    expected = torch.autograd.grad((descend(kernel, shares, steps=3, **HOW) * sent).sum(), kernel)[0]
    for name in ("cat", "stack"):
        monkeypatch.setattr(torch, name, lambda *_: pytest.fail("all steps are copied"))
    monkeypatch.setattr(Tensor, "flip", lambda *_: pytest.fail("all steps are copied"))
    found = torch.autograd.grad((descend(kernel, shares, steps=3, **HOW) * sent).sum(), kernel)[0]
    assert torch.equal(found, expected)
