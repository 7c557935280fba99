"""Distances between the gradients or features that real and synthetic images give in a network."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from yoco.data.source import Batch
from yoco.networks.base import Network

METRICS = ("mse", "l1")


def matched_weights(network: Network) -> list[Tensor]:
    """The weights whose gradients IDC matches: those of the stages with two dimensions or more.

    In a ConvNet these are the convolutions' weights; biases, norm layers and the head are left out, and so are
    weights that do not learn.
    """
    return [weight for weight in network.stages.parameters() if weight.ndim > 1 and weight.requires_grad]


def row_distance(network: Network, real: Batch, synthetic: Batch) -> Tensor:
    """Sum over layers and output rows of 1 - the cosine of the two gradients (DC, ICLR 2021, equation 8).

    Over all weights with two dimensions or more, the head's included, as matrices [out, rest]; biases and norm layers
    do not count. Batches are normalised; differentiable in the synthetic images.
    """
    weights = [weight for weight in network.parameters() if weight.ndim > 1 and weight.requires_grad]
    targets = torch.autograd.grad(cross_entropy(network(real.images), real.labels), weights)
    loss = cross_entropy(network(synthetic.images), synthetic.labels)
    gradients = torch.autograd.grad(loss, weights, create_graph=True)
    return torch.stack([_rows_apart(a, b) for a, b in zip(gradients, targets, strict=True)]).sum()


def _rows_apart(gradient: Tensor, target: Tensor) -> Tensor:
    """Sum of 1 - cosine over rows, with the 1e-6 in the denominator of the authors' code."""
    gradient, target = gradient.flatten(1), target.flatten(1)
    return (1 - (gradient * target).sum(1) / (gradient.norm(dim=1) * target.norm(dim=1) + 1e-6)).sum()


def gradient_distance(network: Network, real: Batch, synthetic: Batch, metric: str) -> Tensor:
    """Distance of the cross-entropy gradients of two normalised batches, differentiable in the synthetic images.

    metric: "mse" sums squared differences over all entries of all matched weights, "l1" absolute ones (IDC, ICML 2022).
    """
    return distance_to(matched_gradients(network, real), network, synthetic, metric)


def distance_to(targets: Sequence[Tensor], network: Network, synthetic: Batch, metric: str) -> Tensor:
    """`gradient_distance` to known gradients of the real batch."""
    assert metric in METRICS
    gradients = matched_gradients(network, synthetic, create_graph=True)
    differences = [gradient - target for gradient, target in zip(gradients, targets, strict=True)]
    return torch.stack([(d.square() if metric == "mse" else d.abs()).sum() for d in differences]).sum()


def matched_gradients(network: Network, batch: Batch, *, create_graph: bool = False) -> tuple[Tensor, ...]:
    """Gradients of the cross-entropy of a normalised batch in all matched weights."""
    loss = cross_entropy(network(batch.images), batch.labels)
    return torch.autograd.grad(loss, matched_weights(network), create_graph=create_graph)


@torch.no_grad()
def prefix_distances(network: Network, real: Batch, synthetic: Batch, sizes: Iterable[int]) -> list[float]:
    """How far the mean features of real images are from those of the first `size` synthetic ones, for each size.

    Squared, summed over all entries of the last stage's output; both batches are normalised (MDC, ICLR 2024).
    """
    wanted, features = network.seen(real.images).mean(0), network.seen(synthetic.images)
    return [float((features[:size].mean(0) - wanted).square().sum()) for size in sizes]


def mean_distance(real: Tensor, synthetic: Tensor) -> Tensor:
    """Squared L2 distance of the mean features of two batches: float [n, ...], [m, ...] -> scalar (DM, WACV 2023)."""
    return (real.mean(0) - synthetic.mean(0)).square().sum()
