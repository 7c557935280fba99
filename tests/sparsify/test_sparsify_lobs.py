"""L-OBS as released: the literal loop bit for bit, and the recursive inverse as a ridge."""

import re

import numpy as np
import pytest
import torch
from torch import Tensor

from yoco.rng import Rng
from yoco.sparsify.layer import Layer, solve
from yoco.sparsify.solvers.lobs import recursive_inverse


def inputs(n: int, d: int, seed: int = 0) -> Tensor:
    """Correlated inputs that are not negative; the last is a constant 1, the third is dead."""
    generator = Rng(seed).generator()
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    x = (x @ torch.randn(d, d, generator=generator, dtype=torch.float64)).relu() / d
    x[:, -1], x[:, 2] = 1, 0
    return x


def weights(m: int, d: int, seed: int = 1) -> Tensor:
    return torch.randn(m, d, generator=Rng(seed).generator(), dtype=torch.float64)


def literal(weight: np.ndarray, inverse: np.ndarray, zeros: int) -> tuple[np.ndarray, np.ndarray]:
    """The released loop: one sort of all weights, output by output; every step on one output, with the same inverse."""
    w, gate, d = weight.copy(), np.ones(weight.shape, dtype=bool), weight.shape[1]
    score = np.concatenate([0.5 * row**2 / np.diag(inverse) for row in weight])
    for place in np.argsort(score, kind="stable")[:zeros]:
        j, q = divmod(int(place), d)
        w[j] = w[j] + (-w[j, q] / inverse[q, q]) * inverse[:, q]
        gate[j, q] = False
        w[j] = w[j] * gate[j]
    return w, gate


@pytest.mark.parametrize("share", [0.05, 0.5, 0.8, 0.97])
def test_it_is_the_released_loop_bit_for_bit(share: float) -> None:
    x, weight = inputs(200, 25), weights(12, 25)
    inverse, zeros = recursive_inverse(x), int(24 * 12 * share)
    wanted, gate = literal(weight.numpy(), inverse.numpy(), zeros)
    found = solve(
        weight,
        x.T @ x / 200,
        zeros=zeros,
        solver="lobs",
        refit=False,
        bias=True,
        prune_bias=True,
        inverse=inverse,
    )
    assert np.array_equal(found.mask.numpy(), gate)
    assert np.array_equal(found.weight.numpy(), wanted)


def test_the_released_loop_prunes_biases_with_the_weights() -> None:
    x, weight = inputs(200, 9), weights(30, 9)
    weight[:, -1] *= 0.01
    given = {"solver": "lobs", "bias": True, "inverse": recursive_inverse(x)}
    assert not solve(weight, x.T @ x / 200, zeros=120, prune_bias=True, **given).mask[:, -1].any()
    assert solve(weight, x.T @ x / 200, zeros=120, **given).mask[:, -1].all()


def test_steps_read_weights_that_earlier_steps_have_moved() -> None:
    hessian = torch.tensor([[1.0, 0.8, 0], [0.8, 1, 0.1], [0, 0.1, 1]], dtype=torch.float64)
    weight = torch.tensor([[0.1, 0.5, 3.0]], dtype=torch.float64)
    inverse = torch.linalg.inv(hessian)
    found = solve(weight, hessian, zeros=2, solver="lobs", refit=False, inverse=inverse)
    w = weight[0].numpy().copy()
    for q in (0, 1):
        w = w - w[q] / inverse[q, q].item() * inverse[:, q].numpy()
    assert found.weight[0, 2].item() == pytest.approx(w[2], rel=1e-14)


def test_weight_pushed_back_onto_zeros_is_lost() -> None:
    x, weight = inputs(200, 25), weights(12, 25)
    layer = Layer(weight, x.T @ x / 200)
    released, refitted, exact = layer.solve(0.8, "lobs", refit=False), layer.solve(0.8, "lobs"), layer.solve(0.8)
    assert torch.equal(released.mask, refitted.mask)
    assert released.error > 1.1 * refitted.error
    assert refitted.error > 1.2 * exact.error


@pytest.mark.parametrize("start", [1e6, 1e4])
def test_the_start_of_the_recursion_is_a_ridge(start: float) -> None:
    x = inputs(60, 8)
    wanted = torch.linalg.inv(torch.eye(8, dtype=torch.float64) / start + x.T @ x / 60)
    assert torch.allclose(recursive_inverse(x, start), wanted, rtol=1e-6, atol=1e-9 * start)
    assert torch.allclose(recursive_inverse(x.flip(0), start), wanted, rtol=1e-6, atol=1e-9 * start)


def test_without_dead_inputs_the_recursion_is_the_inverse_to_nine_digits() -> None:
    x = inputs(300, 12)[:, 3:]
    wanted = np.linalg.inv(1e-6 * np.eye(9) + (x.T @ x / 300).numpy())
    np.testing.assert_allclose(recursive_inverse(x).numpy(), wanted, rtol=1e-9, atol=1e-9 * np.abs(wanted).max())


def test_dead_inputs_stand_at_the_start_of_the_recursion_and_leave_early() -> None:
    x, weight = inputs(60, 8), weights(5, 8)
    inverse = recursive_inverse(x)
    assert inverse[2, 2] == 1e6
    assert not inverse[2, :2].any()
    assert not solve(weight, x.T @ x / 60, zeros=10, solver="lobs", inverse=inverse).mask[:, 2].any()
    assert not solve(weight, x.T @ x / 60, zeros=5, solver="lobs").mask[:, 2].any()


def test_without_an_inverse_it_takes_that_of_the_hessian() -> None:
    x, weight = inputs(60, 8)[:, 3:], weights(5, 5)
    hessian = x.T @ x / 60
    layer = Layer(weight, hessian, ridge=0.0)
    own = layer.solve(12, "lobs", refit=False)
    given = layer.solve(12, "lobs", refit=False, inverse=torch.linalg.inv(hessian))
    assert torch.equal(own.mask, given.mask)
    assert torch.allclose(own.weight, given.weight)


def test_an_inverse_of_its_own_follows_the_inputs_into_the_order_of_a_pattern() -> None:
    x, weight, order = inputs(60, 8), weights(5, 8), torch.tensor([0, 4, 1, 5, 2, 6, 3, 7])
    hessian, inverse = x.T @ x / 60, recursive_inverse(x)
    own = Layer(weight, hessian, pattern="2:4", order=order).solve(None, "lobs", refit=False, inverse=inverse)
    moved = Layer(weight[:, order], hessian[order][:, order], pattern="2:4")
    there = moved.solve(None, "lobs", refit=False, inverse=inverse[order][:, order])
    assert torch.equal(own.mask[:, order], there.mask)
    assert torch.equal(own.weight[:, order], there.weight)


def test_bad_input_is_one_line() -> None:
    x, weight = inputs(20, 8), weights(2, 8)
    hessian, wrong = x.T @ x / 20, torch.eye(8)
    wrong[0, 0] = 0
    for inverse, shape in ((torch.eye(7), "[7, 7]"), (wrong, "[8, 8]"), (torch.full((8, 8), torch.nan), "[8, 8]")):
        line = f"lobs: inverse must be finite [8, 8] with a positive diagonal, got {shape}"
        with pytest.raises(ValueError, match=rf"^{re.escape(line)}$"):
            solve(weight, hessian, zeros=1, solver="lobs", inverse=inverse)
    with pytest.raises(ValueError, match=r"^lobs: can only remove single weights, got pattern block:4$"):
        solve(weight, hessian, zeros=4, solver="lobs", pattern="block:4")
    with pytest.raises(ValueError, match=r"^recursive_inverse: start must be above 0, got 0$"):
        recursive_inverse(x, 0)
    for bad in (x[0], x[:0], x * torch.inf):
        line = f"recursive_inverse: inputs must be finite numbers [n, d], got {list(bad.shape)}"
        with pytest.raises(ValueError, match=rf"^{re.escape(line)}$"):
            recursive_inverse(bad)
