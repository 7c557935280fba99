"""DPaI (ICLR 2025, by the authors of NPB): learn a score for each weight that balances effective nodes and paths.

each layer keeps n weights, by ERK; s ~ N(0, 1) for each weight
repeat:
    m = the n largest |s| of each layer                     P = sum of the outputs of the network of m
    g = d log P / dm                                        straight through to |s|
    ascend by Adam   (1 - alpha) g + alpha ((1 - beta) g in dead nodes + beta g in dead kernels)
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from yoco.data.source import Batch
from yoco.rng import Rng
from yoco.sparsify.layout import layout_of
from yoco.sparsify.linearised import Linearised
from yoco.sparsify.masks import Masks, top
from yoco.sparsify.trial import Normaliser, image_shape, leaves, twin, unsigned


def dpai(
    network: nn.Module,
    *,
    sparsity: float,
    rng: Rng,
    data: Batch | None = None,
    normalise: Normaliser | None = None,
    shape: tuple[int, int, int] | None = None,
    layout: str = "erk",
    alpha: float = 0.99,
    beta: float = 0.5,
    lr: float = 0.1,
    steps: int = 500,
) -> Masks:
    """Keep the largest |s| of each layer after `steps` steps of Adam.

    shape: (C, H, W) of an image, by default that of the data, whose images are not read.
    alpha: how much nodes and kernels count against paths. beta: how much kernels count against nodes. A node is an
    output of a layer, dead if no effective weight leads to it; a kernel is a pair of an input and an output, dead if no
    effective weight is in it.
    Everything else in the state_dict (fixed kernels, scales, constants that are added) weighs paths by absolute values.

    Raises:
        ValueError: sparsity is not in [0, 1), an option out of its range, a softmax in the network, or too many paths
            for float64.

    Not in the paper: paths are counted in float64 as they are, where the authors' code divides what enters each layer
    by its maximum, which changes what the branches of a sum weigh. As there, average pools are means and max pools pass
    on one position. Their script takes 3000 steps of lr 0.005. While there is no path at all, P counts as 1.
    """
    _check(alpha=alpha, beta=beta)
    if not 0 < lr < float("inf"):
        raise ValueError(f"dpai: lr must be above 0, got {lr:g}")
    if steps < 0:
        raise ValueError(f"dpai: steps must be at least 0, got {steps}")
    size, trial = image_shape("dpai", data, shape), twin(network)
    unsigned(trial)
    counts, parameters = layout_of(layout)(network, sparsity), leaves(trial)
    scores = {name: _drawn(weight, rng.child(name)) for name, weight in parameters.items()}
    optimizer = torch.optim.Adam(scores.values(), lr=lr)
    for _ in range(steps):
        masks = top({name: score.abs() for name, score in scores.items()}, counts)
        for name, gradient in _log_paths(trial, size, masks).items():
            nodes, kernels = _dead(gradient * masks[name])
            wanted = (1 - alpha) + alpha * ((1 - beta) * nodes + beta * kernels)
            scores[name].grad = -gradient * wanted * scores[name].sign()
        optimizer.step()
    return top({name: score.abs() for name, score in scores.items()}, counts)


def _check(**shares: float) -> None:
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise ValueError(f"dpai: {name} must be in 0..1, got {value:g}")


def _drawn(weight: Tensor, rng: Rng) -> Tensor:
    """Scores of a weight, to begin with."""
    return torch.randn(weight.shape, generator=rng.generator(), dtype=torch.float64).to(weight.device)


def _log_paths(trial: nn.Module, shape: tuple[int, int, int], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """d log P / dm by parameter name: of a kept weight the share of all paths that cross it."""
    weights = leaves(trial)
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(masks[name])
    first = next(iter(weights.values()))
    with torch.enable_grad(), Linearised(scaled=False):
        paths = trial(first.new_ones(1, *shape)).sum()
    if not paths.isfinite():
        raise ValueError("dpai: the network has too many paths for float64")
    grads = torch.autograd.grad(paths, list(weights.values()), materialize_grads=True)
    scale = float(paths.detach()) or 1.0
    return {name: grad / scale for name, grad in zip(weights, grads, strict=True)}


def _dead(used: Tensor) -> tuple[Tensor, Tensor]:
    """1 where a weight [out, in, ...] belongs to a node, and to a kernel, without effective weights; else 0."""
    kernels = used.flatten(2).sum(2) if used.ndim > 2 else used
    nodes = (kernels.sum(1, keepdim=True) <= 0).to(used)
    along = [1] * (used.ndim - 2)
    return nodes.reshape(-1, 1, *along), (kernels <= 0).to(used).reshape(*kernels.shape, *along)
