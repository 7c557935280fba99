"""How many zeros each layer gets: by a layout of shapes, by one score, by curves of errors, or as it was given."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Set
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
    """Zeros of each unit; see `Pruner`. curves: makes them, if they are needed. weigh: for global, see `by_score`.
    most: for tolerance in place of sparsity, the error that no layer shall exceed; its groups have equal parts of it.

    Raises:
        ValueError: a word or a layer that is not known, or a sparsity that is not possible.
    """
    if all(layer.problem.pattern.group for layer in units.values()):
        return {unit: layer.count(sparsity) for unit, layer in units.items()}
    if isinstance(allocation, Mapping):
        return _given(units, allocation, solver)
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
        return _laid_out(network, units, allocation, sparsity, solver)
    if allocation == "global":
        return by_score(units, solver, zeros, weigh)
    if allocation not in ALLOCATIONS:
        raise unknown("allocation", allocation, (*ALLOCATIONS, "global", *LAYOUTS))
    made = curves()
    plain = all(curve.price == 1 for curve in made.values())
    saved = zeros if plain else sparsity * sum(curve.worth for curve in made.values())
    return ALLOCATIONS[allocation](made, saved)


def check_allocation(
    network: nn.Module,
    allocation: str | Mapping[str, int | float],
    sparsity: float | None,
    wanted: Collection[str] | None,
    prune_bias: bool = False,
) -> None:
    """Check that a layout or a mapping fits the layers of a network, ahead of a look at their inputs.

    wanted: the layers that shall be pruned, all by default; then a mapping may leave out those that do not run.

    Raises:
        ValueError: names that are not of these layers, zeros that they do not have, a layout of some of them alone, or
            a sparsity that it cannot have.
    """
    known = layers(network)
    if isinstance(allocation, Mapping):
        _check_names(allocation, set(wanted or known))
        for name, share in allocation.items():
            bias = known[name].bias if prune_bias else None
            _zeros(name, share, known[name].weight.numel() + (0 if bias is None else bias.numel()), 1)
        _check_whole(allocation, set(wanted or ()))
    elif allocation in LAYOUTS and sparsity is not None:
        _kept(network, allocation, sparsity, set(wanted or known))


def _given(units: Units, wanted: Mapping[str, int | float], solver: str) -> Counts:
    names = {unit.name for unit in units}
    _check_names(wanted, names)
    _check_whole(wanted, names)
    return _divided(units, wanted, solver)


def _check_names(wanted: Mapping[str, int | float], known: Set[str]) -> None:
    for name in wanted:
        if name not in known:
            raise unknown("layer", name, sorted(known))


def _check_whole(wanted: Mapping[str, int | float], needed: Set[str]) -> None:
    if missing := needed - set(wanted):
        raise ValueError(f"sparsify: allocation must name all layers that are pruned, got none for {min(missing)!r}")


def _laid_out(network: nn.Module, units: Units, layout: str, sparsity: float, solver: str) -> Counts:
    kept = _kept(network, layout, sparsity, {unit.name for unit in units})
    wanted = {name: place.weight.numel() - kept[name] for name, place in layers(network).items()}
    return _divided(units, wanted, solver)


def _kept(network: nn.Module, layout: str, sparsity: float, chosen: Set[str]) -> dict[str, int]:
    """Weights that stay in each layer, if these are all that there are."""
    if set(layers(network)) != chosen:
        raise ValueError(f"sparsify: allocation {layout} is for all layers, got layers")
    return LAYOUTS[layout](network, sparsity)


def _divided(units: Units, wanted: Mapping[str, int | float], solver: str) -> Counts:
    """Groups of a layer share its zeros by their scores; see `by_score`.

    Equally, and the first take what is left over, where chance decides, or a pattern that has no scores of single
    weights; then in whole steps: a count is rounded down to such steps, a share of the whole layer to the nearest.
    """
    found: Counts = {}
    for name in dict.fromkeys(unit.name for unit in units):
        own = {unit: layer for unit, layer in units.items() if unit.name == name}
        layer = next(iter(own.values()))
        pattern = layer.problem.pattern
        step = pattern.step(len(layer.given))
        steps = _zeros(name, wanted[name], len(own) * layer.count(1.0), step) // step
        if len(own) > 1 and solver != "random" and not pattern.by_row and pattern.block == 1:
            found |= by_score(own, solver, steps)
        else:
            found |= {unit: step * (steps // len(own) + (unit.group < steps % len(own))) for unit in own}
    return found


def _zeros(name: str, share: int | float, total: int, step: int) -> int:
    """How many of all weights of a layer a count or a share means; see `counted`."""
    if isinstance(share, Integral) and not 0 <= share <= total:
        raise ValueError(f"sparsify: zeros of {name} must be in 0..{total}, got {share}")
    return counted(share, total, step)
