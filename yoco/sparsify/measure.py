"""What a sparse network weighs: weights, zeros, multiplications and what lies on paths, by layer and in total."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from yoco.device import cpu_by_default
from yoco.sparsify.masks import Masks, weights
from yoco.sparsify.network import dtype_of
from yoco.sparsify.paths import Effective, effective
from yoco.sparsify.trial import leaves, still


@dataclass(frozen=True)
class Row:
    """One layer, or the total; only weights count, no biases and no norms.

    dense_flops, flops: multiplications with one addition each (MACs, which papers on pruning call FLOPs) for one image,
    of all weights and of those that are not zero.
    """

    layer: str
    weights: int
    kept: int
    dense_flops: int
    flops: int

    @property
    def zeros(self) -> int:
        """Weights that are zero."""
        return self.weights - self.kept

    @property
    def sparsity(self) -> float:
        """Share of zeros."""
        return self.zeros / self.weights


@dataclass(frozen=True)
class Measure:
    """A row for each prunable layer, in the network's order; effective: None where paths cannot be followed."""

    rows: tuple[Row, ...]
    effective: Effective | None = None

    @property
    def total(self) -> Row:
        """The sum of all layers."""
        sums = [sum(getattr(row, name) for row in self.rows) for name in ("weights", "kept", "dense_flops", "flops")]
        return Row("total", *sums)

    def markdown(self) -> str:
        """The rows and the total as a Markdown table; below it nodes and paths, where they can be followed."""
        known = self.on_paths()
        lines = ["| layer | weights | zeros | sparsity | dense FLOPs | FLOPs |" + " effective |" * bool(known)]
        lines.append("| --- " + "| ---: " * (6 if known else 5) + "|")
        for row in (*self.rows, self.total):
            counts = f"{row.weights:,} | {row.zeros:,} | {100 * row.sparsity:.2f} %"
            used = f" {known[row.layer]:,} |" if known else ""
            lines.append(f"| {row.layer} | {counts} | {row.dense_flops:,} | {row.flops:,} |{used}")
        return "\n".join([*lines, "", str(self.effective)] if known else lines)

    def on_paths(self) -> dict[str, int]:
        """Effective weights by layer, and of the total; empty where paths cannot be followed."""
        if self.effective is None:
            return {}
        by_layer = {name: count.kept for name, count in self.effective.masks.by_layer().items()}
        return {**by_layer, "total": self.effective.weights}


@cpu_by_default
def measure(network: nn.Module, shape: tuple[int, int, int], masks: Masks | None = None) -> Measure:
    """Weights, zeros and FLOPs of the Linear and Conv2d layers for one image of this (C, H, W).

    masks: which weights are kept. Layers that it does not name, by default all, keep the weights that are neither zero
    nor held at zero.
    A kept weight counts once for each position of the layer's output, which takes strides, padding, dilation and
    groups into account. It also counts at the borders, where it meets only padding, as usual. A layer that runs twice
    counts twice; one that does not run costs nothing, nor does one whose weight is read without calling it.

    Raises:
        ValueError: masks that do not fit, or a network without such layers.
    """
    if masks is not None:
        masks.check(network)
    positions, copied = _positions(network, shape), still(network)
    rows = []
    for name, weight in weights(copied).items():
        kept = int((masks[name] if masks is not None and name in masks else weight != 0).sum())
        at = positions.get(name, 0)
        rows.append(Row(name, weight.numel(), kept, weight.numel() * at, kept * at))
    return Measure(tuple(rows), _effective(copied, shape, masks))


def _effective(network: nn.Module, shape: tuple[int, int, int], masks: Masks | None) -> Effective | None:
    """None where paths cannot be followed."""
    try:
        return effective(network, shape, masks)
    except (ValueError, TypeError, RuntimeError):
        return None


@torch.no_grad()
def _positions(network: nn.Module, shape: tuple[int, int, int]) -> dict[str, int]:
    """For each prunable parameter, how many outputs of each channel or feature it makes for one image."""
    copied = still(network)
    names = {id(parameter): name for name, parameter in leaves(copied).items()}
    counts: dict[str, int] = {}

    def note(name: str, module: nn.Linear | nn.Conv2d, _: Any, output: Tensor) -> None:
        counts[name] = counts.get(name, 0) + output.numel() // len(module.weight)

    for module in copied.modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and id(module.weight) in names:
            module.register_forward_hook(partial(note, names[id(module.weight)]))
    device = next(copied.parameters()).device
    copied(torch.zeros(1, *shape, dtype=dtype_of(copied), device=device))
    return counts
