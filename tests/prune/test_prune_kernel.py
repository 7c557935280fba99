"""Greedy kernel ridge regression against solving every system anew, and what its choices are good for."""

import numpy as np
import pytest
import torch
from torch import Tensor

from yoco.prune import Budget, Items
from yoco.prune.kernel import KernelGreedy, _Machine, centred_targets
from yoco.rng import Rng


def data(n: int, seed: int = 0, classes: int = 3, size: int = 5) -> tuple[Tensor, Tensor]:
    """Classes around centres of their own, in random order."""
    generator = Rng(seed).generator()
    labels = torch.arange(n) % classes
    centres = torch.randn(classes, size, generator=Rng(99).generator())
    return centres[labels] + 0.7 * torch.randn(n, size, generator=generator), labels


def unit(features: np.ndarray, centre: np.ndarray) -> np.ndarray:
    moved = features - centre
    return moved / np.linalg.norm(moved, axis=1, keepdims=True)


def literal(features: Tensor, labels: Tensor, total: int, ridge: float, reference: tuple[Tensor, Tensor]) -> list[int]:
    """Every candidate of the classes whose turn it is, with a full solve for each."""
    centre = features.double().numpy().mean(0)
    x, z = unit(features.double().numpy(), centre), unit(reference[0].double().numpy(), centre)
    y, goal = (centred_targets(part, 3).numpy() for part in (labels, reference[1]))
    chosen: list[int] = []
    while len(chosen) < total:
        counts = np.bincount(labels[chosen].numpy(), minlength=3)
        free = [j for j in range(len(x)) if j not in chosen]
        level = min(counts[labels[j]] for j in free)
        losses = {}
        for j in free:
            if counts[labels[j]] == level:
                s = [*chosen, j]
                weights = np.linalg.solve(x[s] @ x[s].T + ridge * np.eye(len(s)), y[s])
                losses[j] = ((goal - z @ x[s].T @ weights) ** 2).sum()
        chosen.append(min(losses, key=lambda j: (losses[j], j)))
    return chosen


@pytest.mark.parametrize("ridge", [0.03, 1.0])
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("size", [5, 30])
def test_choices_are_those_of_solving_every_system_anew(ridge: float, own: bool, size: int) -> None:
    features, labels = data(23, size=size)
    reference = (features, labels) if own else data(40, seed=1, size=size)
    items = Items(None, labels, 3, features, reference=None if own else reference)
    found = KernelGreedy(ridge=ridge)(items, Budget(n=14), Rng(0)).tolist()
    assert found == literal(features, labels, 14, ridge, reference)


@pytest.mark.parametrize("size", [5, 30])
def test_the_factors_stay_those_of_the_residual_kernel(size: int) -> None:
    features, labels = data(12, size=size)
    other, answers = data(17, seed=1, size=size)
    x, z = (torch.nn.functional.normalize(part.double()) for part in (features, other))
    y, goal, ridge = centred_targets(labels, 3), centred_targets(answers, 3), 0.2
    machine = _Machine(x, y, z, goal, ridge, 3)
    assert (machine.held is None) == (size < 12)
    for j in (3, 7, 1):
        machine.add(j)
    s = [3, 7, 1]
    inverse = torch.linalg.inv(x[s] @ x[s].T + ridge * torch.eye(3, dtype=torch.float64))
    own, rest = ((part - part @ x[s].T @ inverse @ x[s]) @ x.T for part in (x, z))
    assert torch.allclose(machine.own, own.diagonal())
    assert torch.allclose(machine.square, rest.square().sum(0))
    assert torch.allclose(machine.left, goal - z @ x[s].T @ inverse @ y[s])
    assert torch.allclose(machine.pull, rest.T @ machine.left)


def test_classes_take_turns_and_small_ones_run_out() -> None:
    features, labels = data(30)
    keep = torch.cat([torch.nonzero(labels == 0).flatten()[:2], torch.nonzero(labels > 0).flatten()])
    items = Items(None, labels[keep], 3, features[keep])
    answer = KernelGreedy()(items, Budget(n=12), Rng(0))
    assert torch.bincount(items.labels[answer]).tolist() == [2, 5, 5]
    for k in (1, 3, 6):
        counts = torch.bincount(items.labels[answer[:k]], minlength=3)
        assert counts.max() - counts.min() <= 1


def test_doubles_and_constant_features_are_no_obstacle() -> None:
    features, labels = data(9)
    doubled = Items(None, labels.repeat(2), 3, features.repeat(2, 1))
    assert len(KernelGreedy()(doubled, Budget(n=18), Rng(0)).unique()) == 18
    flat = Items(None, labels, 3, torch.ones(9, 4))
    assert sorted(KernelGreedy()(flat, Budget(n=9), Rng(0)).tolist()) == list(range(9))


def test_a_machine_learns_more_from_the_chosen_than_from_others() -> None:
    features, labels = data(120, size=20)
    test, answers = data(300, seed=5, size=20)

    def accuracy(chosen: Tensor) -> float:
        x, goal = features[chosen].double(), centred_targets(labels[chosen], 3)
        weights = torch.linalg.solve(x @ x.T + 0.1 * torch.eye(len(x), dtype=torch.float64), goal)
        return float(((test.double() @ x.T @ weights).argmax(1) == answers).double().mean())

    best = KernelGreedy()(Items(None, labels, 3, features), Budget(n=6), Rng(0))
    others = [torch.cat([torch.nonzero(labels == c).flatten()[2 * k : 2 * k + 2] for c in range(3)]) for k in range(12)]
    assert accuracy(best) > sum(map(accuracy, others)) / len(others)


def test_bad_options_are_one_line() -> None:
    for ridge in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=rf"^kernel: ridge must be above 0, got {ridge:g}$"):
            KernelGreedy(ridge=ridge)
