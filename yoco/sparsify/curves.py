"""Curves: what zeros in each layer cost, at levels that come closer and closer to all of it."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from math import log, sqrt
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from yoco.rng import Rng
from yoco.sparsify.allocate import Curve
from yoco.sparsify.calibration import Calibration
from yoco.sparsify.certificate import factors
from yoco.sparsify.hessian import Moments
from yoco.sparsify.hold import remove
from yoco.sparsify.layer import Layer
from yoco.sparsify.network import answered, layers, matrix, parts, run

SHARES = tuple(1 - 0.9**level for level in range(45))
"""Shares of zeros of a layer: 0 to 0.9903 (Frantar and Alistarh, OBC, NeurIPS 2022)."""
ENOUGH = 0.9
"""The sparsity up to which SHARES suffice for the allocation programme, which only takes counts of the curves."""
WEIGHINGS = ("relative", "error", "bound", "loss")
COSTS = ("weights", "flops")


class Unit(NamedTuple):
    """A layer by the name of its weight, and the group of a grouped convolution."""

    name: str
    group: int

    @property
    def label(self) -> str:
        """The name, and the number of a group that is not the first."""
        return f"{self.name} {self.group}" if self.group else self.name


class Solving(NamedTuple):
    """How one layer is solved: see `yoco.sparsify.solve`."""

    solver: str
    refit: bool
    rng: Rng
    options: Mapping[str, Any]

    def of(self, unit: Unit) -> dict[str, Any]:
        """The arguments for a unit; each has a random stream of its own."""
        return {"refit": self.refit, "rng": self.rng.child(*unit), **self.options}


def curves(
    network: nn.Module,
    units: Mapping[Unit, Layer],
    found: Mapping[str, Moments],
    how: Solving,
    *,
    weigh: str,
    cost: str,
    data: Calibration,
    far: bool = False,
) -> dict[Unit, Curve]:
    """The cost of zeros in each unit.

    weigh: "error" is the error of the layer's outputs; "relative" divides it by half the mean square of these
    outputs; "bound" is the layer's term in Theorem 3.2 of L-OBS, with spectral norms of the dense network; "loss" is
    the rise of the cross-entropy on the calibration images and labels when this layer alone is sparse. The "bound" of a
    group is divided by the root of the number of groups, so that the groups of a layer never sum to more than its term,
    and to just that if their errors are equal.
    cost: a zero is worth 1 ("weights"), or the multiplications that it saves for one image ("flops").
    far: continue the levels to the last weight, see `levels`.

    Raises:
        ValueError: no bound, or no loss on these labels, for this kind of network.
    """
    pricing = _loss_prices(network, data, how) if weigh == "loss" else _error_prices(network, found, how, weigh)
    made = {}
    for unit, layer in units.items():
        counts = levels(layer, far)
        price = found[unit.name].positions if cost == "flops" else 1.0
        step = layer.problem.pattern.step(len(layer.given))
        made[unit] = Curve(tuple(counts), tuple(pricing(unit, layer, counts)), price, step)
    return made


def levels(layer: Layer, far: bool = False) -> list[int]:
    """The distinct counts of zeros at SHARES, and all weights of the layer.

    far: continue the shares in the same way while a weight is left; for most solvers each costs one more solve.
    """
    last = int(log(layer.count(1.0)) / -log(0.9)) if far else 0
    beyond = [1 - 0.9**level for level in range(len(SHARES), last + 1)]
    return sorted({layer.count(share) for share in (*SHARES, *beyond, 1.0)})


Pricing = Callable[[Unit, Layer, list[int]], list[float]]


def bounds_of(network: nn.Module, weigh: str) -> Mapping[str, float]:
    """The factors by which the bound weighs the layers; none for another way to weigh.

    Raises:
        ValueError: the network has no bound.
    """
    bounds = factors(network, "spectral") if weigh == "bound" else {}
    if weigh == "bound" and not bounds:
        raise ValueError("weigh bound: needs a chain of layers, ReLU, pooling and batch norm, got another network")
    return bounds


def _error_prices(network: nn.Module, found: Mapping[str, Moments], how: Solving, weigh: str) -> Pricing:
    bounds = bounds_of(network, weigh)

    def pricing(unit: Unit, layer: Layer, counts: list[int]) -> list[float]:
        """The errors at these counts: as they are, over the layer's energy, or as the bound on the outputs."""
        errors = layer.curve(counts, how.solver, **how.of(unit)).tolist()
        if weigh == "relative":
            energy = max(_energy(found[unit.name], network, unit.name), 1e-300)
            return [error / energy for error in errors]
        if weigh == "bound":
            moments = found[unit.name]
            share = moments.positions / len(moments.dense)
            return [bounds[unit.name] * sqrt(2 * error * share) for error in errors]
        return [float(error) for error in errors]

    return pricing


def _energy(moments: Moments, network: nn.Module, name: str) -> float:
    """Half the mean square of a layer's outputs, all groups together."""
    rows = matrix(layers(network)[name]).double()
    return float(((rows @ (moments.dense / moments.n)) * rows).sum()) / 2


def _loss_prices(network: nn.Module, data: Calibration, how: Solving) -> Pricing:
    trial = remove(deepcopy(network))
    places, before = layers(trial), loss(trial, data)

    def pricing(unit: Unit, layer: Layer, counts: list[int]) -> list[float]:
        """How much the loss rises when this unit alone has so many zeros."""
        place = places[unit.name]
        original, losses = matrix(place).clone(), []
        for count in counts:
            rows = original.clone()
            rows[unit.group] = layer.solve(count, how.solver, **how.of(unit)).weight
            put(place, rows)
            losses.append(max(loss(trial, data) - before, 0.0))
        put(place, original)
        return losses

    return pricing


@torch.no_grad()
def put(place: Any, rows: Tensor) -> None:
    """Give a layer these matrices of its groups as weight and bias."""
    weight, bias = parts(place, rows)
    place.weight.copy_(weight)
    if bias is not None:
        place.bias.copy_(bias)


@torch.no_grad()
def loss(network: nn.Module, data: Calibration) -> float:
    """Mean cross-entropy on the calibration images in evaluation mode.

    Raises:
        ValueError: the network does not return a number for each class of the labels.
    """
    total, at = 0.0, 0
    for images in data:
        labels = data.batch.labels[at : at + len(images)].to(images.device)
        answers = answered("weigh loss", run(network, images), labels)
        answers = answers.float() if answers.dtype.itemsize < 4 else answers
        total, at = total + float(cross_entropy(answers, labels, reduction="sum")), at + len(images)
    return total / at
