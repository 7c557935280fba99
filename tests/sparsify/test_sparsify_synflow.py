"""SynFlow against products of absolute matrices, and its promise that no layer runs empty."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from yoco.data.source import Batch
from yoco.networks import build
from yoco.rng import Rng
from yoco.sparsify.masks import budget, keep_schedule, weights
from yoco.sparsify.methods.magnitude import magnitude
from yoco.sparsify.methods.synflow import synflow


def literal(matrices: list[np.ndarray], sparsity: float, iterations: int) -> list[np.ndarray]:
    """|w| times what flows in times what flows out, in rounds; matrices [out, in] of a network of linear layers."""
    values, total = [np.abs(m).astype(float) for m in matrices], sum(m.size for m in matrices)
    masks = [np.ones_like(m, dtype=bool) for m in matrices]
    for keep in keep_schedule(total, budget(total, sparsity), iterations):
        kept = [v * m for v, m in zip(values, masks, strict=True)]
        scores = []
        for k, matrix in enumerate(kept):
            into, out = np.ones(kept[0].shape[1]), np.ones(len(kept[-1]))
            for before in kept[:k]:
                into = before @ into
            for after in reversed(kept[k + 1 :]):
                out = after.T @ out
            scores.append(np.where(masks[k], matrix * np.outer(out, into), -1))
        order = np.argsort(-np.concatenate([s.ravel() for s in scores]), kind="stable")[:keep]
        flat = np.isin(np.arange(total), order)
        parts = np.split(flat, np.cumsum([m.size for m in matrices])[:-1])
        masks = [part.reshape(m.shape) for part, m in zip(parts, matrices, strict=True)]
    return masks


@pytest.mark.parametrize("iterations", [1, 5, 100])
@pytest.mark.parametrize("sparsity", [0.5, 0.95])
def test_masks_are_those_of_the_products(iterations: int, sparsity: float) -> None:
    network = build("mlp:width=7", (1, 2, 3), 3, Rng(1))
    matrices = [weight.numpy() for weight in weights(network).values()]
    found = synflow(network, sparsity=sparsity, rng=Rng(0), shape=(1, 2, 3), iterations=iterations)
    for mask, expected in zip(found.values(), literal(matrices, sparsity, iterations), strict=True):
        assert (mask.numpy() == expected).all()


def test_a_hundred_rounds_are_the_default() -> None:
    network = build("mlp:width=7", (1, 2, 3), 3, Rng(1))
    usual = synflow(network, sparsity=0.95, rng=Rng(0), shape=(1, 2, 3))
    assert usual == synflow(network, sparsity=0.95, rng=Rng(0), shape=(1, 2, 3), iterations=100)
    assert usual != synflow(network, sparsity=0.95, rng=Rng(0), shape=(1, 2, 3), iterations=1)


@pytest.mark.parametrize("name", ["mlp:width=40", "convnet:width=8,depth=2", "convnet:width=8,depth=2,norm=batch"])
def test_the_last_path_stays_where_magnitude_empties_a_layer(name: str) -> None:
    network = build(name, (1, 8, 8), 3, Rng(0))
    with torch.no_grad():
        network.head.weight.mul_(1e-3)
    total = sum(weight.numel() for weight in weights(network).values())
    sparsity = 1 - len(weights(network)) / total
    masks = synflow(network, sparsity=sparsity, rng=Rng(0), shape=(1, 8, 8), iterations=150)
    assert [count.kept for count in masks.by_layer().values()] == [1] * len(weights(network))
    assert magnitude(network, sparsity=sparsity, rng=Rng(0)).by_layer()["head.weight"].kept == 0


def test_scales_of_norms_count_but_not_their_signs_nor_biases_nor_means() -> None:
    network = build("convnet:width=4,depth=1,norm=batch", (1, 4, 4), 3, Rng(0))
    norm = network.stages[0][1]
    plain = synflow(network, sparsity=0.5, rng=Rng(0), shape=(1, 4, 4), iterations=5)
    with torch.no_grad():
        norm.weight.mul_(-1)
        norm.bias.fill_(3)
        norm.running_mean.fill_(5)
        network.head.bias.fill_(9)
        network.stages[0][0].bias.fill_(-9)
    assert synflow(network, sparsity=0.5, rng=Rng(0), shape=(1, 4, 4), iterations=5) == plain
    norm.running_var.copy_(torch.tensor([1.0, 1e-2, 1e4, 1.0]))
    wide = synflow(network, sparsity=0.5, rng=Rng(0), shape=(1, 4, 4), iterations=5)
    assert wide != plain
    with torch.no_grad():
        norm.weight.copy_((norm.running_var + norm.eps).sqrt())
    assert synflow(network, sparsity=0.5, rng=Rng(0), shape=(1, 4, 4), iterations=5) == plain


class Layered(nn.Module):
    """Norms of other kinds, as functions and by keywords."""

    def __init__(self, norm: bool) -> None:
        super().__init__()
        self.first, self.second, self.norm = nn.Linear(6, 8), nn.Linear(8, 3), norm
        self.scale = nn.Parameter(torch.linspace(0.1, 5, 8))

    def forward(self, images: Tensor) -> Tensor:
        hidden = nn.functional.linear(images.flatten(1), self.first.weight, bias=self.first.bias)
        if self.norm:
            hidden = nn.functional.layer_norm(hidden, (8,), weight=-self.scale, bias=self.scale, eps=1.0)
        return self.second(torch.tanh(hidden))


def test_a_layer_norm_is_its_scale_and_activations_are_left_out() -> None:
    with_norm, without = Layered(True), Layered(False)
    without.load_state_dict(with_norm.state_dict())
    with torch.no_grad():
        without.first.weight.mul_(without.scale[:, None])
    found, expected = (
        synflow(net, sparsity=0.6, rng=Rng(0), shape=(1, 2, 3), iterations=9) for net in (with_norm, without)
    )
    assert found == expected
    matrices = [without.first.weight.detach().numpy(), without.second.weight.detach().numpy()]
    for mask, right in zip(found.values(), literal(matrices, 0.6, 9), strict=True):
        assert (mask.numpy() == right).all()


def test_the_data_count_by_their_shape_alone() -> None:
    network = build("lenet", (1, 8, 8), 3, Rng(0))
    data = Batch(torch.rand(2, 1, 8, 8, generator=Rng(0).generator()), torch.zeros(2).long())
    found = synflow(network, sparsity=0.5, rng=Rng(0), data=data, iterations=2)
    assert found == synflow(network, sparsity=0.5, rng=Rng(7), shape=(1, 8, 8), iterations=2)
    with pytest.raises(ValueError, match=r"^synflow: needs shape=\(C, H, W\) of an image, or data, got neither$"):
        synflow(network, sparsity=0.5, rng=Rng(0))


def test_flows_beyond_float32_are_no_matter_and_those_beyond_float64_are_said() -> None:
    network = build("mlp:width=7", (1, 2, 3), 3, Rng(1))
    plain = synflow(network, sparsity=0.8, rng=Rng(0), shape=(1, 2, 3), iterations=9)
    with torch.no_grad():
        for weight in weights(network).values():
            weight.mul_(2.0**100)
    assert synflow(network, sparsity=0.8, rng=Rng(0), shape=(1, 2, 3), iterations=9) == plain
    deep = nn.Sequential(nn.Flatten(), *(nn.Linear(6, 6) for _ in range(12)))
    with torch.no_grad():
        for weight in weights(deep).values():
            weight.fill_(1e30)
    with pytest.raises(ValueError, match=r"^synflow: the flow of the network is too large for float64; scale"):
        synflow(deep, sparsity=0.5, rng=Rng(0), shape=(1, 2, 3))


def test_at_least_one_iteration() -> None:
    with pytest.raises(ValueError, match=r"^synflow: iterations must be at least 1, got 0$"):
        synflow(nn.Linear(2, 2), sparsity=0.5, rng=Rng(0), shape=(1, 1, 2), iterations=0)
