"""How many zeros each layer gets: by a layout of shapes, by one score, by curves of errors, or as it was given."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from numbers import Integral

from torch import nn

from yoco.registry import unknown
from yoco.sparsify.allocate import ALLOCATIONS, Curve, within
from yoco.sparsify.curves import Unit
from yoco.sparsify.layer import Layer
from yoco.sparsify.layout import LAYOUTS
from yoco.sparsify.masks import budget
from yoco.sparsify.network import layers
from yoco.sparsify.patterns import counted
from yoco.sparsify.scores import by_score

Units = Mapping[Unit, Layer]
Counts = dict[Unit, int]


def counts(
    network: nn.Module,
    units: Units,
    allocation: str | Mapping[str, int | float],
    sparsity: float | None,
    solver: str,
    curves: Callable[[], dict[Unit, Curve]],
    weigh: str = "error",
    most: float | None = None,
) -> Counts:
    """How many zeros each unit gets; see `Pruner`.

    allocation: one that fits the network, see `check_allocation`. curves: called for the curves if they are needed.
    weigh: for global, see `by_score`. most: for tolerance, in place of sparsity: the largest error of a layer.
    The groups of a layer get equal parts of a tolerance, given or found.

    Raises:
        ValueError: no sparsity, or one that is not possible.
    """
    if all(layer.problem.pattern.group for layer in units.values()):
        return {unit: layer.count(sparsity) for unit, layer in units.items()}
    if isinstance(allocation, Mapping):
        return _divided(units, allocation, solver)
    if most is not None:
        return within(_whole(curves()), most)
    if sparsity is None:
        raise ValueError("sparsify: needs sparsity, got None")
    total = sum(layer.count(1.0) for layer in units.values())
    zeros = total - budget(total, sparsity)
    if allocation in LAYOUTS:
        return _laid_out(network, units, allocation, sparsity, solver)
    if allocation == "global":
        return by_score(units, solver, zeros, weigh)
    made = curves()
    plain = all(curve.price == 1 for curve in made.values())
    saved = zeros if plain else sparsity * sum(curve.worth for curve in made.values())
    return ALLOCATIONS[allocation](_whole(made) if allocation == "tolerance" else made, saved)


def _whole(curves: Mapping[Unit, Curve]) -> dict[Unit, Curve]:
    """Each error times the groups of its layer: within the same tolerance, each group then has an equal part of it."""
    groups = Counter(unit.name for unit in curves)
    return {
        unit: replace(curve, errors=tuple(groups[unit.name] * error for error in curve.errors))
        for unit, curve in curves.items()
    }


def check_allocation(
    network: nn.Module,
    allocation: str | Mapping[str, int | float],
    sparsity: float | None,
    wanted: Collection[str],
    prune_bias: bool = False,
) -> None:
    """Check that a layout or a mapping fits the layers of a network, ahead of a look at their inputs.

    wanted: the layers that shall be pruned.

    Raises:
        ValueError: names that are not of these layers, zeros that they do not have, a layout of some of them alone, or
            a sparsity that it cannot have.
    """
    known = layers(network)
    if isinstance(allocation, Mapping):
        for name in allocation:
            if name not in wanted:
                raise unknown("layer", name, wanted)
        for name, share in allocation.items():
            bias = known[name].bias if prune_bias else None
            _check_zeros(name, share, known[name].weight.numel() + (0 if bias is None else bias.numel()))
        if missing := set(wanted) - set(allocation):
            rule = "allocation must name all layers that are pruned"
            raise ValueError(f"sparsify: {rule}, got none for {min(missing)!r}")
    elif allocation in LAYOUTS and sparsity is not None:
        if set(known) != set(wanted):
            raise ValueError(f"sparsify: allocation {allocation} needs all layers, got only some")
        LAYOUTS[allocation](network, sparsity)


def _check_zeros(name: str, share: int | float, total: int) -> None:
    """Check that a layer of so many weights can have this count or share of zeros; see `counted`."""
    if isinstance(share, Integral) and not 0 <= share <= total:
        raise ValueError(f"sparsify: zeros of {name} must be in 0..{total}, got {share}")
    counted(share, total, 1)


def _laid_out(network: nn.Module, units: Units, layout: str, sparsity: float, solver: str) -> Counts:
    """What a layout of the shapes does not keep of each layer."""
    kept = LAYOUTS[layout](network, sparsity)
    wanted = {name: place.weight.numel() - kept[name] for name, place in layers(network).items()}
    return _divided(units, wanted, solver)


def _divided(units: Units, wanted: Mapping[str, int | float], solver: str) -> Counts:
    """Divide the zeros of each layer over its groups by their scores; see `by_score`.

    With the solver random, or a pattern that has no scores of single weights, groups get equal parts in whole steps,
    the first ones one more. A count is rounded down to whole steps, a share of the layer to the nearest.
    """
    found: Counts = {}
    for name in dict.fromkeys(unit.name for unit in units):
        own = {unit: layer for unit, layer in units.items() if unit.name == name}
        layer = next(iter(own.values()))
        pattern = layer.problem.pattern
        step = pattern.step(len(layer.given))
        steps = counted(wanted[name], len(own) * layer.count(1.0), step) // step
        if len(own) > 1 and solver != "random" and not pattern.by_row and pattern.block == 1:
            found |= by_score(own, solver, steps)
        else:
            found |= {unit: step * (steps // len(own) + (unit.group < steps % len(own))) for unit in own}
    return found
