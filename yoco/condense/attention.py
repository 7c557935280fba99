"""Where the layers of a network look, and how far real and synthetic images are apart in that (DataDAM, ICCV 2023)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from yoco.condense.matching import mean_distance


def attention(maps: Tensor, power: float) -> Tensor:
    """Where a layer looks: sum over channels of |map|^power, of length 1 (DataDAM, ICCV 2023).

    maps: float [n, C, H, W]; the result: float [n, H * W], every row of L2 norm 1, or 0 where all maps are 0.
    """
    return normalize(maps.abs().pow(power).sum(1).flatten(1), dim=1)


def attention_distance(real: Sequence[Tensor], synthetic: Sequence[Tensor], power: float) -> Tensor:
    """Squared L2 distance of the mean attention of two batches, summed over layers (DataDAM, L_SAM).

    real, synthetic: the maps of the same layers, float [n, C, H, W]; n may differ. Without layers it is 0.
    """
    pairs = zip(real, synthetic, strict=True)
    distances = (mean_distance(attention(left, power), attention(right, power)) for left, right in pairs)
    return sum(distances, torch.zeros(()))
