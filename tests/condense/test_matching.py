"""The distances of gradients and of mean features against plain loops in float64."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from yoco.condense.matching import gradient_distance, matched_weights, mean_distance
from yoco.data.source import Batch
from yoco.networks import build
from yoco.networks.base import Network
from yoco.rng import Rng


@pytest.fixture
def network() -> Network:
    return build("convnet:width=4,depth=2", (1, 8, 8), 3, Rng(0)).double()


@pytest.fixture
def batches() -> tuple[Batch, Batch]:
    generator = torch.Generator().manual_seed(0)
    real, fake = (torch.rand(n, 1, 8, 8, generator=generator, dtype=torch.float64) for n in (5, 3))
    return Batch(real, torch.full((5,), 1)), Batch(fake, torch.full((3,), 1))


def loop_distance(network: Network, real: Batch, fake: Batch, metric: str) -> float:
    def convolution_gradients(batch: Batch) -> dict[str, Tensor]:
        network.zero_grad()
        cross_entropy(network(batch.images), batch.labels).backward()
        return {name: p.grad.clone() for name, p in network.named_parameters() if p.ndim == 4 and p.grad is not None}

    left, right = convolution_gradients(real), convolution_gradients(fake)
    total = 0.0
    for name, gradient in left.items():
        for a, b in zip(gradient.flatten().tolist(), right[name].flatten().tolist(), strict=True):
            total += (a - b) ** 2 if metric == "mse" else abs(a - b)
    return total


@pytest.mark.parametrize("metric", ["mse", "l1"])
def test_distance_is_a_sum_over_all_entries(network: Network, batches: tuple[Batch, Batch], metric: str) -> None:
    ours = gradient_distance(network, *batches, metric).item()
    assert ours == pytest.approx(loop_distance(network, *batches, metric), rel=1e-12)
    assert ours > 0


@pytest.mark.parametrize("metric", ["mse", "l1"])
def test_gradient_in_the_images_is_that_of_finite_differences(
    network: Network, batches: tuple[Batch, Batch], metric: str
) -> None:
    real, fake = batches
    images = fake.images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(gradient_distance(network, real, Batch(images, fake.labels), metric), images)
    for index in [(0, 0, 3, 3), (1, 0, 0, 5), (2, 0, 7, 1)]:
        values = []
        for step in (-1e-6, 1e-6):
            moved = fake.images.clone()
            moved[index] += step
            values.append(gradient_distance(network, real, Batch(moved, fake.labels), metric).item())
        slope = (values[1] - values[0]) / 2e-6
        assert gradient[index].item() == pytest.approx(slope, rel=1e-4, abs=1e-9)


def test_convolution_weights_only(network: Network) -> None:
    convolutions = [p for p in network.parameters() if p.ndim == 4]
    assert [id(w) for w in matched_weights(network)] == [id(w) for w in convolutions]
    assert len(convolutions) == 2


def test_equal_batches_are_at_distance_zero(network: Network, batches: tuple[Batch, Batch]) -> None:
    real, _ = batches
    assert gradient_distance(network, real, real, "l1").item() < 1e-12


def test_mean_distance_sums_over_features() -> None:
    generator = torch.Generator().manual_seed(0)
    real, cells = (torch.randn(n, 3, 2, dtype=torch.float64, generator=generator) for n in (7, 2))
    total = 0.0
    for i in range(3):
        for j in range(2):
            total += (real[:, i, j].numpy().mean() - cells[:, i, j].numpy().mean()) ** 2
    assert mean_distance(real, cells).item() == pytest.approx(total, rel=1e-12)
    assert mean_distance(real, real.repeat(2, 1, 1)).item() < 1e-25
