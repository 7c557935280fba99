"""How many zeros each layer gets: by a layout of shapes, by one score, by curves of errors, or as it was given."""

from collections import Counter
from collections.abc import Callable, Mapping
from numbers import Integral

from torch import nn

from yoco.registry import unknown
from yoco.sparsify.allocate import ALLOCATIONS, Curve, within
from yoco.sparsify.curves import Unit
from yoco.sparsify.hessian import layers
from yoco.sparsify.layer import Layer
from yoco.sparsify.layout import LAYOUTS
from yoco.sparsify.masks import budget
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
    """Zeros of each unit; see `Pruner`. curves: makes them, if they are needed. weigh: for global, see `by_score`.
    most: for tolerance in place of sparsity, the error that no layer shall exceed; its groups have equal parts of it.

    Raises:
        ValueError: a word or a layer that is not known, or a sparsity that is not possible.
    """
    if all(layer.problem.pattern.group for layer in units.values()):
        return {unit: layer.count(sparsity) for unit, layer in units.items()}
    if isinstance(allocation, Mapping):
        return _given(units, allocation)
    if most is not None:
        groups = Counter(unit.name for unit in units)
        part = 0.5 if weigh == "bound" else 1.0  # bounds are roots of errors
        parts = {name: most / count**part for name, count in groups.items()}
        return {unit: within({unit: curve}, parts[unit.name])[unit] for unit, curve in curves().items()}
    if sparsity is None:
        raise ValueError("sparsify: needs sparsity, got None")
    total = sum(layer.count(1.0) for layer in units.values())
    zeros = total - budget(total, sparsity)
    if allocation in LAYOUTS:
        return _laid_out(network, units, allocation, sparsity)
    if allocation == "global":
        return by_score(units, solver, zeros, weigh)
    if allocation not in ALLOCATIONS:
        raise unknown("allocation", allocation, (*ALLOCATIONS, "global", *LAYOUTS))
    made = curves()
    plain = all(curve.price == 1 for curve in made.values())
    saved = zeros if plain else sparsity * sum(curve.worth for curve in made.values())
    return ALLOCATIONS[allocation](made, saved)


def _given(units: Units, wanted: Mapping[str, int | float]) -> Counts:
    names = {unit.name for unit in units}
    for name in wanted:
        if name not in names:
            raise unknown("layer", name, sorted(names))
    if missing := names - set(wanted):
        raise ValueError(f"sparsify: allocation must name all layers that are pruned, got none for {min(missing)!r}")
    return _divided(units, wanted)


def _laid_out(network: nn.Module, units: Units, layout: str, sparsity: float) -> Counts:
    places = layers(network)
    if set(places) != {unit.name for unit in units}:
        raise ValueError(f"sparsify: allocation {layout} is for all layers, got layers")
    kept = LAYOUTS[layout](network, sparsity)
    return _divided(units, {name: place.weight.numel() - kept[name] for name, place in places.items()})


def _divided(units: Units, wanted: Mapping[str, int | float]) -> Counts:
    """Groups of a layer share its zeros equally, the first take what is left over; in whole steps.

    A count is rounded down to such steps, a share of the whole layer to the nearest of them.
    """
    found = {}
    for unit, layer in units.items():
        groups = sum(other.name == unit.name for other in units)
        share, step = wanted[unit.name], layer.problem.pattern.step(len(layer.given))
        steps = _zeros(unit.name, share, groups * layer.count(1.0), step) // step
        found[unit] = step * (steps // groups + (unit.group < steps % groups))
    return found


def _zeros(name: str, share: int | float, total: int, step: int) -> int:
    """How many of all weights of a layer a count or a share means; see `counted`."""
    if isinstance(share, Integral) and not 0 <= share <= total:
        raise ValueError(f"sparsify: zeros of {name} must be in 0..{total}, got {share}")
    return counted(share, total, step)
