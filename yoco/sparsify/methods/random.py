"""Random masks: each layer keeps as many weights as a layout says, at random."""

from functools import partial

import torch
from torch import nn

from yoco.data.source import Batch
from yoco.rng import Rng
from yoco.sparsify.layout import layout_of
from yoco.sparsify.masks import Masks, weights
from yoco.sparsify.trial import Normaliser


def random(
    network: nn.Module,
    *,
    sparsity: float,
    rng: Rng,
    data: Batch | None = None,
    normalise: Normaliser | None = None,
    layout: str = "erk",
) -> Masks:
    """Keep random weights; neither the weights nor the data count.

    layout: "uniform", "uniform_plus" or "erk", see `yoco.sparsify.layout`; the last is the best of Liu et al. (The
    Unreasonable Effectiveness of Random Pruning, ICLR 2022).

    Raises:
        ValueError: sparsity is not in [0, 1), or an unknown layout, or one that cannot be that sparse.
    """
    counts, kept = layout_of(layout)(network, sparsity), {}
    for name, weight in weights(network).items():
        mask = torch.zeros(weight.numel(), dtype=torch.bool)
        mask[rng.child(name).choice(weight.numel(), counts[name])] = True
        kept[name] = mask.reshape(weight.shape).to(weight.device)
    return Masks(kept)


uniform, uniform_plus, erk = (partial(random, layout=name) for name in ("uniform", "uniform_plus", "erk"))
