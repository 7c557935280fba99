"""Layouts: how many weights each layer keeps, by the shapes of the layers alone; the total is always exact."""

from collections.abc import Callable, Mapping
from fractions import Fraction
from math import ceil

from torch import nn

from yoco.registry import unknown
from yoco.sparsify.masks import budget, weights


def uniform(network: nn.Module, sparsity: float) -> dict[str, int]:
    """The same share of every layer."""
    sizes = _sizes(network)
    total = budget(sum(sizes.values()), sparsity)
    return _whole(_filled(sizes, sizes, total), sizes, total)


def uniform_plus(network: nn.Module, sparsity: float) -> dict[str, int]:
    """The same share of every layer, but all of the first, if it is a convolution, and at least 20 % of the last.

    So Gale et al. (The State of Sparsity in Deep Neural Networks, 2019), who prune ResNet-50: its last layer is linear.
    First and last go by the order of the parameters.

    Raises:
        ValueError: those two layers alone need more weights than are to be kept.
    """
    sizes = _sizes(network)
    names, every = list(sizes), sum(sizes.values())
    total = budget(every, sparsity)
    counts, rest = {}, dict(sizes)
    if weights(network)[names[0]].ndim == 4:
        counts[names[0]] = rest.pop(names[0])
    least = ceil(Fraction(sizes[names[-1]], 5))
    if names[-1] in rest and (total - sum(counts.values())) * rest[names[-1]] < least * sum(rest.values()):
        counts[names[-1]] = least
        rest.pop(names[-1])
    left, needed = total - sum(counts.values()), sum(counts.values()) + len(rest)
    if left < len(rest):
        most = 1 - needed / every
        raise ValueError(f"uniform_plus: sparsity must be at most {most:.4f} for this network, got {sparsity:g}")
    if rest:
        counts.update(_whole(_filled(rest, rest, left), rest, left))
    return {name: counts[name] for name in names}


def erk(network: nn.Module, sparsity: float) -> dict[str, int]:
    """Shares in proportion to (sum of the shape) / (product of the shape), none above 1: Erdos-Renyi-Kernel.

    With n_l weights of a shape s_l the exact counts are min(n_l, e * sum(s_l)) with the one e that gives the total
    (Evci et al., RigL, ICML 2020); they are rounded to whole weights, each layer has at least one if there are enough.
    """
    shapes = {name: weight.shape for name, weight in weights(network).items()}
    sizes, sums = {n: s.numel() for n, s in shapes.items()}, {n: sum(s) for n, s in shapes.items()}
    total = budget(sum(sizes.values()), sparsity)
    return _whole(_filled(sums, sizes, total), sizes, total)


Layout = Callable[[nn.Module, float], dict[str, int]]
LAYOUTS: dict[str, Layout] = {"uniform": uniform, "uniform_plus": uniform_plus, "erk": erk}


def layout_of(name: str) -> Layout:
    """The layout of this name.

    Raises:
        ValueError: there is none.
    """
    if name not in LAYOUTS:
        raise unknown("layout", name, LAYOUTS)
    return LAYOUTS[name]


def _sizes(network: nn.Module) -> dict[str, int]:
    return {name: weight.numel() for name, weight in weights(network).items()}


def _filled(shares: Mapping[str, int], limits: Mapping[str, int], total: int) -> dict[str, Fraction]:
    """`total` in proportion to the shares, where no one takes more than its limit: the exact water level."""
    open_, left = dict(shares), Fraction(total)
    filled: dict[str, Fraction] = {}
    while open_:
        level = left / sum(open_.values())
        full = [name for name, share in open_.items() if level * share >= limits[name]]
        if not full:
            return {**filled, **{name: level * share for name, share in open_.items()}}
        for name in full:
            filled[name] = Fraction(limits[name])
            left -= limits[name]
            del open_[name]
    return filled


def _whole(exact: Mapping[str, Fraction], limits: Mapping[str, int], total: int) -> dict[str, int]:
    """Round to whole numbers of this sum: floors, and one more for the largest remainders, of equal ones the first.

    If the total suffices, each layer gets at least one, at the cost of those furthest above their exact share.
    """
    least = 1 if total >= len(limits) else 0
    counts = {name: max(least, int(exact[name])) for name in limits}
    while (short := total - sum(counts.values())) != 0:
        missing = {name: exact[name] - counts[name] for name in limits}
        if short > 0:
            counts[max((n for n in limits if counts[n] < limits[n]), key=lambda n: missing[n])] += 1
        else:
            counts[min((n for n in limits if counts[n] > least), key=lambda n: missing[n])] -= 1
    return counts
