"""The second moments of what enters each layer, streamed: what one layer's error is measured with."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from yoco.sparsify.network import Prunable, layers, matrix, patches, portions, run, watched

STRIP = 256
"""Rows of a symmetric product that are computed at once, from the diagonal on."""


@dataclass(eq=False)
class Moments:
    """Sums over n inputs of a layer: x [d] in the dense network, y [d] in the network that is being made sparse.

    dense: x x', sparse: y y', cross: y x', float64 [groups, d, d]; with the dense network alone all three are one.
    n: inputs, that is images times positions; images: how many there were.
    """

    dense: Tensor
    sparse: Tensor
    cross: Tensor
    n: int = 0
    images: int = 0

    @property
    def positions(self) -> float:
        """Inputs for each image: 1 for most linear layers."""
        return self.n / self.images

    def add(self, dense: Tensor, sparse: Tensor | None, images: int, *, known: bool = False) -> None:
        """Count inputs, float64 [groups, n, d]; sparse: None if they are the same. known: the sum `dense` has them."""
        if not known:
            self.dense += squared(dense)
        if sparse is not None:
            self.sparse += squared(sparse)
            self.cross += sparse.mT @ dense
        self.n, self.images = self.n + dense.shape[1], self.images + images


def squared(rows: Tensor) -> Tensor:
    """The sums of x x' over inputs [groups, n, d]: [groups, d, d]; of large ones half is multiplied, half mirrored."""
    d = rows.shape[2]
    if d < 2 * STRIP:
        return rows.mT @ rows
    found = rows.new_empty(len(rows), d, d)
    for start in range(0, d, STRIP):
        strip = rows[:, :, start : start + STRIP].mT @ rows[:, :, start:]
        found[:, start : start + STRIP, start:] = strip
        found[:, start:, start : start + STRIP] = strip.mT
    return found


def empty(layer: Prunable, device: torch.device, *, apart: bool = False) -> Moments:
    """Sums over nothing; apart: of two networks that differ."""
    groups, _, d = matrix(layer).shape
    dense = torch.zeros(groups, d, d, dtype=torch.float64, device=device)
    return Moments(dense, dense.clone(), dense.clone()) if apart else Moments(dense, dense, dense)


@torch.no_grad()
def moments(network: nn.Module, batches: Iterable[Tensor], names: Iterable[str] | None = None) -> dict[str, Moments]:
    """The second moments of the inputs of these layers, all by default, in one pass; the network is not changed.

    batches: images as the network sees them, [n, C, H, W].

    Raises:
        ValueError: there are no images.
    """
    known = layers(network)
    chosen = {name: known[name] for name in (known if names is None else names)}
    found: dict[str, Moments] = {}
    with watched(chosen) as seen:
        for images in batches:
            run(network, images)
            for name, inputs in seen.items():
                layer = chosen[name]
                if name not in found:
                    found[name] = empty(layer, inputs[0].device)
                for number, given in enumerate(part for one in inputs for part in portions(layer, one)):
                    found[name].add(patches(layer, given), None, 0 if number else len(images))
            seen.clear()
    if not any(sums.n for sums in found.values()):
        raise ValueError("hessian: needs images that reach the layers, got none")
    return found


@torch.no_grad()
def moments_after(
    dense: nn.Module, sparse: nn.Module, batches: Iterable[Tensor], name: str, known: Moments | None = None
) -> Moments:
    """The second moments of the inputs of one layer in a network and in a copy that is sparse ahead of it.

    known: what `moments` has found of the layer in the dense network and these batches; its sums are not taken again.

    Raises:
        ValueError: the layer does not run equally often in both networks, or in all batches that reach it.
    """
    pair = [layers(network)[name] for network in (dense, sparse)]
    found, once = empty(pair[0], pair[0].weight.device, apart=True), False
    if known is not None:
        found.dense = known.dense
    for images in batches:
        inputs, calls = list[list[Tensor]](), list[int]()
        for network, layer in zip((dense, sparse), pair, strict=True):
            with watched({name: layer}, stop=once) as seen:
                run(network, images)
            given = seen.get(name, [])
            inputs.append([part for one in given for part in portions(layer, one)])
            calls.append(len(given))
        if calls[0] != calls[1]:
            got = f"{calls[0]} and {calls[1]} times"
            raise ValueError(f"sequential: {name} must run equally often in both networks, got {got}")
        for number, (before, after) in enumerate(zip(*inputs, strict=True)):
            rows = patches(pair[0], before), patches(pair[1], after)
            found.add(*rows, 0 if number else len(images), known=known is not None)
        once = calls[0] == 1
    if known is not None and found.n != known.n:
        got = f"{found.n} of {known.n} inputs"
        raise ValueError(f"sequential: {name} must run equally often in all batches that reach it, got {got}")
    return found
