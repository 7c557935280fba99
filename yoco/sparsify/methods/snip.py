"""SNIP (Lee et al., ICLR 2019): keep the weights whose removal would change the loss most, to first order.

    score of a weight = |dL/dm| at m = 1, where the network computes with m * w, hence |w * dL/dw|

Iterative SNIP (de Jorge et al., ICLR 2021) removes them in rounds that each keep the same share, and scores anew.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from yoco.data.source import Batch
from yoco.rng import Rng
from yoco.sparsify.masks import Masks, budget, keep_schedule, top
from yoco.sparsify.network import answered
from yoco.sparsify.trial import Normaliser, impose, leaves, material, twin


def snip(
    network: nn.Module,
    *,
    sparsity: float,
    rng: Rng,
    data: Batch | None = None,
    normalise: Normaliser | None = None,
    iterations: int = 1,
    redraw: bool = False,
) -> Masks:
    """Keep the largest |w * dL/dw| of the whole network.

    data: a batch, of 100 or 128 images in the papers. iterations: 1 for SNIP, 100 for Iterative SNIP.
    redraw: score the network at weights drawn anew, as the authors' code does: truncated normal of variance 1 / fan in.
    Batch norm takes its running statistics, as the authors' code does.

    Raises:
        ValueError: sparsity is not in [0, 1), iterations is below 1, there are no data, or the network does not return
            a number for each of their classes.

    Not in the paper: scores are not divided by their sum, which does not change their order; biases are not pruned
    (the authors' code prunes them, too); all rounds look at one batch, where the code of Iterative SNIP draws images
    anew for each. What was removed does not come back there either.
    """
    if iterations < 1:
        raise ValueError(f"snip: iterations must be at least 1, got {iterations}")
    batch, trial = material("snip", network, data, normalise), twin(network)
    if redraw:
        _redraw(trial, rng.child("redraw"))
    weights = leaves(trial)
    total = sum(weight.numel() for weight in weights.values())
    masks = Masks({name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()})
    for keep in keep_schedule(total, budget(total, sparsity), iterations):
        impose(trial, masks)
        scores = _sensitivity(trial, batch, rng)
        masks = top({name: score.masked_fill(~masks[name], -1) for name, score in scores.items()}, keep)
    return masks


iterative = partial(snip, iterations=100)


def _sensitivity(trial: nn.Module, batch: Batch, rng: Rng) -> dict[str, Tensor]:
    """|w * dL/dw| of every prunable weight."""
    weights = leaves(trial)
    with torch.enable_grad(), rng.child("forward").as_global():
        loss = cross_entropy(answered("snip", trial(batch.images), batch.labels), batch.labels)
    grads = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)
    return {name: (w.detach() * grad).abs() for (name, w), grad in zip(weights.items(), grads, strict=True)}


@torch.no_grad()
def _redraw(trial: nn.Module, rng: Rng) -> None:
    for name, weight in leaves(trial).items():
        drawn = torch.empty(weight.shape, dtype=torch.float64)
        nn.init.trunc_normal_(drawn, a=-2, b=2, generator=rng.child(name).generator())
        weight.copy_(drawn / (0.87962566103423978 * weight[0].numel() ** 0.5))
