"""Pruned: masks, the weights that go with them, and what is known about the damage."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from yoco.sparsify.allocate import Curve
from yoco.sparsify.certificate import Certificate, certify
from yoco.sparsify.hold import install
from yoco.sparsify.masks import Masks


@dataclass(frozen=True)
class Report:
    """The errors of one layer as it was solved.

    predicted: 0.5 tr(D H D') per input, with D its change and H the second moments of its inputs in the dense network.
    target: the error that the solver minimised: the same, or with `sequential` 0.5 mean |W^ y - W x|^2, where y is its
    input in the network that is already sparse ahead of it, x in the dense one. Both None for masks of no solver.
    ridge: added to the diagonal of H, in units of its mean. dead: inputs that were always 0, bias not counted.
    """

    predicted: float | None = None
    target: float | None = None
    ridge: float = 0.0
    dead: int = 0


@dataclass(frozen=True, eq=False)
class Pruned:
    """The result of pruning a network, which itself is unchanged.

    masks: by name of the weight, and with `prune_bias` of the bias. weights: the weights and biases of a solver, by
    parameter name; empty for masks at initialisation. layers: a report of each layer that was solved, by name of its
    weight.
    curves: the cost of zeros in each layer, if the allocation used it.
    """

    masks: Masks
    weights: Mapping[str, Tensor]
    layers: Mapping[str, Report]
    method: str
    curves: Mapping[str, Curve] = field(default_factory=dict)

    def install(self, network: nn.Module) -> nn.Module:
        """Put weights and zeros into the network itself, and hold the zeros; see `yoco.sparsify.install`."""
        return install(network, self.masks, self.weights)

    def applied(self, network: nn.Module) -> nn.Module:
        """A sparse copy of the network."""
        return self.install(deepcopy(network))

    def certify(self, network: nn.Module, batches: Iterable[Tensor]) -> Certificate:
        """Measure the damage on images as the network sees them; network: the dense one. See `certify`."""
        return certify(network, self.applied(network), batches)

    @property
    def shares(self) -> dict[str, float]:
        """Share of zeros by name of the curve: of a layer or a group of it, with its biases if they have masks."""
        found: dict[str, float] = {}
        for name, mask in self.masks.items():
            labels = [label for label in self.curves if label == name or label.startswith(f"{name} ")]
            bias = self.masks.get(f"{name.removesuffix('weight')}bias")
            if labels:
                rows = mask.flatten(1) if bias is None else torch.cat([mask.flatten(1), bias[:, None]], 1)
                parts = zip(labels, rows.chunk(len(labels)), strict=True)
                found |= {label: 1 - float(part.double().mean()) for label, part in parts}
        return found

    def __repr__(self) -> str:
        return f"Pruned({self.method}: {self.masks!r})"
