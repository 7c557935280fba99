"""Distances between what real and synthetic images do to a network: plain functions."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from yoco.data.source import Batch
from yoco.networks.base import Network

METRICS = ("mse", "l1")


def matched_weights(network: Network) -> list[Tensor]:
    """The weights whose gradients IDC matches: those of the stages with two dimensions or more.

    In a ConvNet these are the convolutions' weights; biases, norm layers and the head are left out.
    """
    return [weight for weight in network.stages.parameters() if weight.ndim > 1]


def gradient_distance(network: Network, real: Batch, synthetic: Batch, metric: str) -> Tensor:
    """Distance of the cross-entropy gradients of two normalised batches, differentiable in the synthetic images.

    metric: "mse" sums squared differences over all entries of all matched weights, "l1" absolute ones (IDC, ICML 2022).
    """
    assert metric in METRICS
    weights = matched_weights(network)
    targets = torch.autograd.grad(cross_entropy(network(real.images), real.labels), weights)
    loss = cross_entropy(network(synthetic.images), synthetic.labels)
    gradients = torch.autograd.grad(loss, weights, create_graph=True)
    differences = [gradient - target for gradient, target in zip(gradients, targets, strict=True)]
    return torch.stack([(d.square() if metric == "mse" else d.abs()).sum() for d in differences]).sum()
