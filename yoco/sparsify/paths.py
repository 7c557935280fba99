"""Effective paths, nodes and weights of a masked network (Pham et al., Node-Path Balance, NeurIPS 2023).

A weight or a node is effective if at least one path of kept weights from the image to the answer crosses it; see
`flow` for what a path is. Their number is a logarithm, since deep networks have more than floating point can hold.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from yoco.device import cpu_by_default
from yoco.sparsify.flow import follow
from yoco.sparsify.masks import Masks, weights
from yoco.sparsify.trace import Trace, Use
from yoco.sparsify.trial import still


@dataclass(frozen=True)
class Effective:
    """How much of a masked network is in use.

    log_paths: natural logarithm of the number of paths, -inf if there are none.
    nodes, all_nodes: effective ones and all: the units that enter a layer, and the outputs. A unit is a channel, or a
    feature where maps were flattened; one that enters several layers counts once, as does the sum of two branches.
    masks: the effective weights. kept, total: kept weights and all weights of the prunable layers.
    """

    log_paths: float
    nodes: int
    all_nodes: int
    masks: Masks
    kept: int

    def __str__(self) -> str:
        """The counts in words."""
        paths = f"10^{self.log10_paths:.1f}" if self.nodes else "no"
        return f"effective: {self.weights:,} weights, {self.nodes:,} of {self.all_nodes:,} nodes, {paths} paths"

    @property
    def log10_paths(self) -> float:
        """Decimal logarithm of the number of paths."""
        return self.log_paths / math.log(10)

    @property
    def weights(self) -> int:
        """Number of effective weights."""
        return self.masks.kept

    @property
    def total(self) -> int:
        """All weights of the prunable layers."""
        return self.masks.total


@cpu_by_default
def effective(network: nn.Module, shape: tuple[int, int, int], masks: Masks | None = None) -> Effective:
    """The effective paths, nodes and weights for images of this (C, H, W).

    masks: which weights are kept; layers that it does not name, and all of them by default, keep what is not zero.
    Not as in the authors' code: max pools pass on every position, not the largest; average pools are sums over k x k
    positions, not k times the mean; the bias of the last layer starts no paths; nothing goes by a layer's name.

    Raises:
        ValueError: masks that do not fit, or a network that cannot be followed.
    """
    if masks is not None:
        masks.check(network)
    given: Mapping[str, Tensor] = {} if masks is None else masks
    trace = follow(network, shape, lambda name, weight, _: given.get(name, weight != 0))
    live = on_paths(trace)
    kept = {name: given.get(name, weight != 0) for name, weight in weights(still(network)).items()}
    used = {name: live.get(name, torch.zeros_like(mask)) for name, mask in kept.items()}
    nodes, seen = _nodes(trace, live)
    return Effective(trace.log_paths(), nodes, seen, Masks(used), sum(int(mask.sum()) for mask in kept.values()))


def on_paths(trace: Trace) -> dict[str, Tensor]:
    """The kept weights that lie on a path: bools by parameter name."""
    return {name: live & (trace.masks[name] > 0) for name, live in trace.live().items()}


def _nodes(trace: Trace, on_path: Mapping[str, Tensor]) -> tuple[int, int]:
    """How many units that enter a layer, and outputs, are on a path, and how many there are."""
    seen, used = torch.zeros(2, trace.units, dtype=torch.bool)
    for step in trace.steps:
        if isinstance(step, Use):
            mask = on_path[step.name].cpu()
            entering = mask.flatten(2).any(2) if mask.ndim > 2 else mask
            seen[step.inputs] = True
            used[step.inputs[entering.unflatten(0, (step.groups, -1)).any(1).flatten()]] = True
    seen[trace.outputs] = True
    used[trace.outputs[trace.reached().cpu()]] = True
    return int(used.sum()), int(seen.sum())
