"""Magnitude: keep the largest weights (Han et al., NIPS 2015)."""

from torch import nn

from yoco.data.source import Batch
from yoco.rng import Rng
from yoco.sparsify.layout import layout_of
from yoco.sparsify.masks import Masks, budget, top, weights
from yoco.sparsify.trial import Normaliser


def magnitude(
    network: nn.Module,
    *,
    sparsity: float,
    rng: Rng,
    data: Batch | None = None,
    normalise: Normaliser | None = None,
    layout: str = "global",
) -> Masks:
    """Keep the weights of the largest |w|; neither chance nor data count.

    layout: "global" compares all weights of the network; "uniform", "uniform_plus" and "erk" those of each layer.

    Raises:
        ValueError: sparsity is not in [0, 1), or an unknown layout, or one that cannot be that sparse.
    """
    scores = {name: weight.abs() for name, weight in weights(network).items()}
    if layout != "global":
        return top(scores, layout_of(layout)(network, sparsity))
    return top(scores, budget(sum(score.numel() for score in scores.values()), sparsity))
