"""GraSP against the Hessian of softmax regression written out."""

from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy, one_hot

from yoco.data.source import Batch
from yoco.networks import build
from yoco.rng import Rng
from yoco.sparsify.masks import budget, top, weights
from yoco.sparsify.methods.grasp import grasp
from yoco.train import Normalise

DATA = Batch(torch.rand(11, 1, 3, 3, generator=Rng(1).generator()), torch.arange(11) % 4)
NORM = Normalise((0.4,), (0.3,))


def regression() -> nn.Module:
    with Rng(2).as_global():
        return nn.Sequential(nn.Flatten(), nn.Linear(9, 4))


def shares(weight: np.ndarray, bias: np.ndarray, x: np.ndarray, temperature: float) -> np.ndarray:
    logits = (x @ weight.T + bias) / temperature
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def literal(weight: np.ndarray, bias: np.ndarray, temperature: float, parts: int) -> np.ndarray:
    """-w (H g): the sum over parts of the Hessian of each part's mean loss times the sum of all parts' gradients."""
    images, labels = ((DATA.images.double().numpy() - 0.4) / 0.3).reshape(11, -1), DATA.labels.numpy()
    order = np.argsort(labels, kind="stable")
    pieces = [(images[order[k::parts]], labels[order[k::parts]]) for k in range(parts)]
    g = np.zeros_like(weight)
    for x, y in pieces:
        g += (shares(weight, bias, x, temperature) - np.eye(4)[y]).T @ x / len(x) / temperature
    hg = np.zeros_like(weight)
    for x, _ in pieces:
        for row, p in zip(x, shares(weight, bias, x, temperature), strict=True):
            hessian = np.kron(np.diag(p) - np.outer(p, p), np.outer(row, row)) / temperature**2 / len(x)
            hg += (hessian @ g.ravel()).reshape(weight.shape)
    return -weight * hg


@pytest.mark.parametrize("temperature", [1.0, 200.0])
@pytest.mark.parametrize("parts", [1, 2, 3, 8])
def test_the_highest_scores_are_removed(temperature: float, parts: int) -> None:
    network = regression()
    weight, bias = (p.detach().double().numpy() for p in network[1].parameters())
    scores = literal(weight, bias, temperature, parts).ravel()
    keep = np.argsort(scores, kind="stable")[: budget(36, 0.6)]
    found = grasp(network, sparsity=0.6, rng=Rng(0), data=DATA, normalise=NORM, temperature=temperature, parts=parts)
    assert set(np.flatnonzero(found["1.weight"].numpy())) == set(keep)


@pytest.mark.parametrize("soft", [False, True])
def test_the_curvature_between_layers_counts(soft: bool) -> None:
    with Rng(2).as_global():
        network = nn.Sequential(nn.Flatten(), nn.Linear(9, 5), nn.Tanh(), nn.Linear(5, 4)).double()
    own, images = weights(network), NORM(DATA.images.double())
    shares = torch.rand(11, 4, generator=Rng(3).generator(), dtype=torch.float64).softmax(1)
    labels = shares if soft else DATA.labels

    def slopes(step: float, along: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of the loss in the weights, a step away from them."""
        moved = {name: (w + step * along[name]).requires_grad_() for name, w in own.items()}
        loss = cross_entropy(2 * functional_call(network, moved, images), labels)
        return dict(zip(moved, torch.autograd.grad(loss, list(moved.values())), strict=True))

    g = slopes(0.0, own)
    plus, minus = slopes(1e-5, g), slopes(-1e-5, g)
    scores = {name: w * (plus[name] - minus[name]) for name, w in own.items()}
    data = Batch(DATA.images, labels)
    found = grasp(network, sparsity=0.6, rng=Rng(0), data=data, normalise=NORM, temperature=0.5, parts=1)
    assert found == top(scores, budget(65, 0.6))


def test_the_temperature_is_200_and_the_parts_are_two_by_default() -> None:
    network = build("mlp:width=9", (1, 3, 3), 4, Rng(0))
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(4)
    usual = grasp(network, sparsity=0.6, rng=Rng(0), data=DATA)
    assert usual == grasp(network, sparsity=0.6, rng=Rng(0), data=DATA, temperature=200, parts=2)
    assert usual != grasp(network, sparsity=0.6, rng=Rng(0), data=DATA, temperature=1)
    assert usual != grasp(network, sparsity=0.6, rng=Rng(0), data=DATA, parts=1)


def test_batch_norm_takes_the_statistics_of_the_batch() -> None:
    network = build("convnet:width=4,depth=1,norm=batch", (1, 4, 4), 4, Rng(0)).eval()
    data = Batch(torch.rand(12, 1, 4, 4, generator=Rng(1).generator()), torch.arange(12) % 4)
    before = grasp(network, sparsity=0.6, rng=Rng(0), data=data)
    network.stages[0][1].running_mean.copy_(torch.tensor([1.0, -1.0, 0.5, -3.0]))
    network.stages[0][1].running_var.fill_(7)
    assert grasp(network, sparsity=0.6, rng=Rng(0), data=data) == before
    assert not network.training


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("labels", [torch.arange(4).repeat_interleave(3), torch.arange(12) % 4])
def test_every_part_has_every_class(labels: Tensor, soft: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    module, seen = import_module("yoco.sparsify.methods.grasp"), list[tuple[int, list[int]]]()
    plain = module._gradient

    def noted(trial: nn.Module, images: Tensor, labels: Tensor, *rest: Any, **how: Any) -> Any:
        hard = labels.argmax(1) if soft else labels
        seen.append((len(images), hard.unique().tolist()))
        return plain(trial, images, labels, *rest, **how)

    monkeypatch.setattr(module, "_gradient", noted)
    given = one_hot(labels, 4).double() if soft else labels
    grasp(
        regression(), sparsity=0.6, rng=Rng(0), data=Batch(torch.rand(12, 1, 3, 3, generator=Rng(1).generator()), given)
    )
    assert seen == [(6, [0, 1, 2, 3])] * 4


def test_it_works_where_gradients_are_off() -> None:
    with torch.no_grad():
        off = grasp(regression(), sparsity=0.6, rng=Rng(0), data=DATA)
    assert off == grasp(regression(), sparsity=0.6, rng=Rng(0), data=DATA)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"temperature": 0}, "temperature must be above 0, got 0"),
        ({"temperature": float("nan")}, "temperature must be above 0, got nan"),
        ({"parts": 0}, "parts must be in 1..11, the number of images, got 0"),
        ({"parts": 12}, "parts must be in 1..11, the number of images, got 12"),
        ({"data": None}, "needs data, a batch of images with their labels, got none"),
    ],
)
def test_bad_options_are_said_in_one_line(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=f"^grasp: {complaint}$"):
        grasp(regression(), **{"sparsity": 0.5, "rng": Rng(0), "data": DATA, **options})  # type: ignore[arg-type]
