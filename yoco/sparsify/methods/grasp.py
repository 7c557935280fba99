"""GraSP (Wang et al., ICLR 2020): keep the weights that the flow of the gradient needs.

g = dL/dw          H = d2L/dw2          score of a weight = -w * (H g); the highest are removed
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from yoco.data.source import Batch
from yoco.rng import Rng
from yoco.sparsify.masks import Masks, budget, top
from yoco.sparsify.network import answered
from yoco.sparsify.trial import Normaliser, leaves, material, twin


@torch.enable_grad()
def grasp(
    network: nn.Module,
    *,
    sparsity: float,
    rng: Rng,
    data: Batch | None = None,
    normalise: Normaliser | None = None,
    temperature: float = 200,
    parts: int = 2,
) -> Masks:
    """Remove the weights with the highest -w * (H g) of the whole network.

    data: a batch; the authors take 10 images of each class. temperature: what the logits are divided by.
    parts: how many parts the batch is split into, class by class, so that all of them have the same classes. g is the
    sum of their gradients, H g the sum of their Hessians times that g. Batch norm takes the statistics of each part.

    Raises:
        ValueError: sparsity is not in [0, 1), a temperature of 0 or below, no data, fewer images than parts, or a
            network that does not return a number for each of their classes.

    Not in the paper, but in the authors' code: the temperature and the two halves. That code also draws the weights of
    linear layers anew, and cuts a batch that is sorted by class, so that its halves share no class; neither is done
    here. It divides all scores by their sum, which does not change their order.
    """
    if not 0 < temperature < float("inf"):
        raise ValueError(f"grasp: temperature must be above 0, got {temperature:g}")
    batch, trial = material("grasp", network, data, normalise), twin(network).train()
    if not 1 <= parts <= len(batch.images):
        raise ValueError(f"grasp: parts must be in 1..{len(batch.images)}, the number of images, got {parts}")
    names, weights = list(leaves(trial)), list(leaves(trial).values())
    pieces = _dealt(batch, parts)
    flow = [torch.zeros_like(weight) for weight in weights]
    for images, labels in pieces:
        grads = _gradient(trial, images, labels, temperature, rng)
        flow = [sum_ + grad for sum_, grad in zip(flow, grads, strict=True)]
    curved = [torch.zeros_like(weight) for weight in weights]
    for images, labels in pieces:
        grads = _gradient(trial, images, labels, temperature, rng, again=True)
        product = torch.stack([(still * grad).sum() for still, grad in zip(flow, grads, strict=True)]).sum()
        more = torch.autograd.grad(product, weights, materialize_grads=True)
        curved = [sum_ + part for sum_, part in zip(curved, more, strict=True)]
    scores = {n: w.detach() * hg for n, w, hg in zip(names, weights, curved, strict=True)}
    return top(scores, budget(sum(score.numel() for score in scores.values()), sparsity))


def _dealt(batch: Batch, parts: int) -> list[Batch]:
    """A batch in parts, of which each gets every class that has as many images, however they are sorted."""
    order = (batch.labels.argmax(1) if batch.labels.ndim > 1 else batch.labels).argsort(stable=True)
    return [Batch(batch.images[own], batch.labels[own]) for own in (order[part::parts] for part in range(parts))]


def _gradient(
    trial: nn.Module, images: Tensor, labels: Tensor, temperature: float, rng: Rng, again: bool = False
) -> tuple[Tensor, ...]:
    """dL/dw of every prunable weight; again: with its own graph."""
    with rng.child("forward").as_global():
        loss = cross_entropy(answered("grasp", trial(images), labels) / temperature, labels)
    weights = list(leaves(trial).values())
    return torch.autograd.grad(loss, weights, create_graph=again, materialize_grads=True)
