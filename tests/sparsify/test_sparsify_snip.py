"""SNIP against the derivative written out for softmax regression, and against removing weights by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from yoco.data.source import Batch
from yoco.networks import build
from yoco.rng import Rng
from yoco.sparsify.masks import Masks, budget, keep_schedule, top, weights
from yoco.sparsify.methods.snip import _redraw, snip
from yoco.train import Normalise

DATA = Batch(torch.rand(12, 1, 3, 3, generator=Rng(1).generator()), torch.arange(12) % 4)
NORM = Normalise((0.4,), (0.3,))


def regression() -> nn.Module:
    with Rng(2).as_global():
        return nn.Sequential(nn.Flatten(), nn.Linear(9, 4))


def literal(weight: np.ndarray, bias: np.ndarray, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """|w dL/dw| of the mean cross-entropy."""
    x = ((images - 0.4) / 0.3).reshape(len(images), -1)
    logits = x @ weight.T + bias
    share = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    share[np.arange(len(labels)), labels] -= 1
    return np.abs(weight * (share.T @ x / len(x)))


@pytest.mark.parametrize("iterations", [1, 7])
def test_scores_are_those_of_the_formula(iterations: int) -> None:
    network = regression()
    with torch.no_grad():
        network[1].weight.mul_(6)
    weight, bias = (p.detach().double().numpy() for p in network[1].parameters())
    mask, total = np.ones_like(weight, dtype=bool), weight.size
    for keep in keep_schedule(total, budget(total, 0.8), iterations):
        scores = literal(weight * mask, bias, DATA.images.double().numpy(), DATA.labels.numpy())
        order = np.argsort(np.where(mask, -scores, 1).ravel(), kind="stable")[:keep]
        mask = np.isin(np.arange(total), order).reshape(mask.shape)
    found = snip(network, sparsity=0.8, rng=Rng(0), data=DATA, normalise=NORM, iterations=iterations)
    assert (found["1.weight"].numpy() == mask).all()
    assert iterations == 1 or found != snip(network, sparsity=0.8, rng=Rng(0), data=DATA, normalise=NORM)


def test_the_score_is_what_turning_a_weight_down_a_little_does_to_the_loss() -> None:
    network = build("convnet:width=4,depth=1,norm=batch", (1, 3, 3), 4, Rng(0)).double().eval()
    images, scores, step = NORM(DATA.images.double()), {}, 1e-6

    def loss() -> float:
        with torch.no_grad():
            return float(cross_entropy(network(images), DATA.labels))

    for name, weight in weights(network).items():
        scores[name] = torch.empty_like(weight)
        for at in np.ndindex(weight.shape):
            kept, losses = float(weight[at]), []
            for factor in (1 + step, 1 - step):
                weight[at] = kept * factor
                losses.append(loss())
            weight[at] = kept
            scores[name][at] = abs(losses[0] - losses[1]) / (2 * step)
    total = sum(score.numel() for score in scores.values())
    assert snip(network, sparsity=0.6, rng=Rng(0), data=DATA, normalise=NORM) == top(scores, budget(total, 0.6))


def test_batch_norm_takes_its_running_statistics() -> None:
    network = build("convnet:width=4,depth=1,norm=batch", (1, 4, 4), 4, Rng(0)).train()
    data = Batch(torch.rand(12, 1, 4, 4, generator=Rng(1).generator()), DATA.labels)
    before = snip(network, sparsity=0.6, rng=Rng(0), data=data)
    network.stages[0][1].running_mean.copy_(torch.tensor([1.0, -1.0, 0.5, -3.0]))
    assert snip(network, sparsity=0.6, rng=Rng(0), data=data) != before


def test_what_was_removed_does_not_come_back() -> None:
    network = build("lenet", (1, 8, 8), 3, Rng(0))
    data = Batch(torch.rand(12, 1, 8, 8, generator=Rng(1).generator()), torch.arange(12) % 3)
    total = sum(weight.numel() for weight in weights(network).values())
    half = snip(network, sparsity=0.9, rng=Rng(0), data=data, iterations=2)
    first = snip(network, sparsity=1 - keep_schedule(total, budget(total, 0.9), 2)[0] / total, rng=Rng(0), data=data)
    assert abs(first.kept - keep_schedule(total, budget(total, 0.9), 2)[0]) <= 1
    assert (half & first).kept >= half.kept - 1


def test_redrawn_weights_have_the_published_spread_and_do_not_depend_on_the_old_ones() -> None:
    network = build("mlp:width=200", (1, 8, 8), 3, Rng(0))
    _redraw(network, Rng(3))
    for weight in weights(network).values():
        scale = weight.shape[1] ** -0.5
        if weight.numel() > 1000:
            assert weight.std() == pytest.approx(scale, rel=0.03)
        assert weight.abs().max() <= 2 * scale / 0.8796 + 1e-6
    data = Batch(torch.rand(6, 1, 8, 8, generator=Rng(1).generator()), torch.arange(6) % 3)

    def masks(seed: int, redraw: bool) -> Masks:
        start = build("mlp:width=20", (1, 8, 8), 3, Rng(seed))
        with torch.no_grad():
            for name, parameter in start.named_parameters():
                if "bias" in name:
                    parameter.zero_()
        return snip(start, sparsity=0.5, rng=Rng(0), data=data, redraw=redraw)

    assert masks(0, True) == masks(1, True)
    assert masks(0, False) != masks(1, False)


def test_soft_labels_are_labels_too() -> None:
    soft = Batch(DATA.images, torch.eye(4, dtype=torch.float64)[DATA.labels])
    network: nn.Module = regression()
    assert snip(network, sparsity=0.5, rng=Rng(0), data=soft) == snip(network, sparsity=0.5, rng=Rng(0), data=DATA)


def test_every_class_of_a_soft_label_counts() -> None:
    soft = torch.rand(12, 4, generator=Rng(3).generator(), dtype=torch.float64).softmax(1)
    network, images = regression().double(), NORM(DATA.images.double())
    weight = weights(network)["1.weight"]
    with torch.no_grad():
        slope = (network(images).softmax(1) - soft).T @ images.flatten(1) / 12
    found, hard = (
        snip(network, sparsity=0.5, rng=Rng(0), data=Batch(DATA.images, labels), normalise=NORM)
        for labels in (soft, one_hot(soft.argmax(1), 4).double())
    )
    assert found == top({"1.weight": (weight * slope).abs()}, budget(36, 0.5))
    assert found != hard


@pytest.mark.parametrize("data", [None, Batch(torch.empty(0, 1, 3, 3), torch.empty(0, dtype=torch.long))])
def test_without_images_there_is_no_score(data: Batch | None) -> None:
    with pytest.raises(ValueError, match=r"^snip: needs data, a batch of images with their labels, got none$"):
        snip(regression(), sparsity=0.5, rng=Rng(0), data=data)


def test_at_least_one_iteration() -> None:
    with pytest.raises(ValueError, match=r"^snip: iterations must be at least 1, got 0$"):
        snip(regression(), sparsity=0.5, rng=Rng(0), data=DATA, iterations=0)


def test_dropout_draws_from_the_stream_alone() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(9, 4), Noisy())
    one, same, other = (snip(network, sparsity=0.5, rng=Rng(seed), data=DATA) for seed in (0, 0, 1))
    assert one == same
    assert one != other


class Noisy(nn.Module):
    def forward(self, logits: Tensor) -> Tensor:
        return nn.functional.dropout(logits, 0.5, training=True)
