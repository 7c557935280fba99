"""SynFlow (Tanaka et al., NeurIPS 2020): keep the weights that most of the flow of |w| goes through, without data.

R = sum of the outputs of the network of |w| for an image of ones
repeat n times, for k = 1..n:
    score of a weight = dR/d|w| * |w|
    keep the best share rho^(k/n) of the whole network
"""

import torch
from torch import Tensor, nn

from yoco.data.source import Batch
from yoco.rng import Rng
from yoco.sparsify.linearised import Linearised
from yoco.sparsify.masks import Masks, budget, keep_schedule, top
from yoco.sparsify.trial import Normaliser, image_shape, impose, leaves, twin, unsigned


def synflow(
    network: nn.Module,
    *,
    sparsity: float,
    rng: Rng,
    data: Batch | None = None,
    normalise: Normaliser | None = None,
    shape: tuple[int, int, int] | None = None,
    iterations: int = 100,
) -> Masks:
    """Keep the largest dR/d|w| * |w| of the whole network, in rounds that each keep the same share.

    shape: (C, H, W) of an image, by default that of the data, whose images are not read. Deterministic.
    Everything else in the state_dict (fixed kernels, scales, constants that are added) has its absolute values, too.

    Raises:
        ValueError: sparsity is not in [0, 1), iterations is below 1, no shape, a softmax in the network, or a flow too
            large for float64.

    Not in the paper: batch norm is the linear map of its running variance and scale, other norms are their scale alone,
    and biases are left out of them and of the layers; the authors' code takes the norms as they are in evaluation mode
    and all biases by their absolute values. Computed in float64, for which that code has a line that is commented out.
    """
    if iterations < 1:
        raise ValueError(f"synflow: iterations must be at least 1, got {iterations}")
    size, trial = image_shape("synflow", data, shape), twin(network)
    unsigned(trial)
    weights = leaves(trial)
    total = sum(weight.numel() for weight in weights.values())
    masks = Masks({name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()})
    for keep in keep_schedule(total, budget(total, sparsity), iterations):
        impose(trial, masks)
        scores = _flow(trial, size)
        masks = top({name: score.masked_fill(~masks[name], -1) for name, score in scores.items()}, keep)
    return masks


def _flow(trial: nn.Module, shape: tuple[int, int, int]) -> dict[str, Tensor]:
    """dR/d|w| * |w| of every prunable weight."""
    weights = leaves(trial)
    first = next(iter(weights.values()))
    with torch.enable_grad(), Linearised(scaled=True):
        flow = trial(first.new_ones(1, *shape)).sum()
    if not flow.isfinite():
        raise ValueError("synflow: the flow of the network is too large for float64; scale its weights down")
    grads = torch.autograd.grad(flow, list(weights.values()), materialize_grads=True)
    return {name: w.detach() * grad for (name, w), grad in zip(weights.items(), grads, strict=True)}
