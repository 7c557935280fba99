"""Quotas: how many samples each class gives, and in which order the classes take turns.

none: all samples compete, whatever their class. equal: as equal as the sizes of the classes allow. proportional: as in
the whole set. floor: the rule's own choice, but of each class at least a share, by default half, of its equal quota:
ours, after Sorscher et al., NeurIPS 2022. given: the caller's counts.
"""

from bisect import bisect_right
from collections.abc import Sequence
from heapq import heappop, heappush
from math import ceil
from numbers import Real

import torch

from yoco.prune.budget import Budget, decimal
from yoco.prune.numbers import tensor, whole
from yoco.prune.rules import Choice, Items, Rule
from yoco.rng import Rng

QUOTAS = ("none", "equal", "proportional", "floor", "given")
NESTED = ("none", "equal", "proportional")
"""The kinds under which no class loses a sample when the total grows."""


def quotas(
    kind: str,
    available: Sequence[int],
    total: int,
    *,
    given: Sequence[int] = (),
    natural: Sequence[int] = (),
    floor: float = 0.5,
) -> list[int]:
    """How many of its `available` samples each class gives: `total` in sum.

    kind: one of QUOTAS but none. given: for kind given, the counts. natural: for kind floor, the counts that the rule
    chooses by itself, `total` in sum.

    Raises:
        ValueError: an impossible floor, or given counts of another sum.
    """
    if kind == "equal":
        return water(available, total)
    if kind == "proportional":
        return counted(awards(available, total), len(available))
    if kind == "floor":
        return _floored(available, total, natural, floor)
    if sum(given) != total:
        raise ValueError(f"quota given: shares must sum to {total}, the number of samples to keep, got {sum(given)}")
    return list(given)


def water(most: Sequence[int], total: int) -> list[int]:
    """Counts as equal as the limits allow: a common level rises until the total is reached.

    A remainder of less than one for each class goes to the first classes, by id, that may have more.
    """

    def filled(level: int) -> list[int]:
        return [min(level, high) for high in most]

    level = bisect_right(range(max(most, default=0) + 1), total, key=lambda level: sum(filled(level))) - 1
    counts = filled(level)
    hungry = [c for c, high in enumerate(most) if high > level]
    for c in hungry[: total - sum(counts)]:
        counts[c] += 1
    return counts


def awards(available: Sequence[int], total: int | None = None) -> list[int]:
    """The class of each sample in turn, so that every prefix is proportional; total: by default all samples.

    Among the first k, class c differs by less than one from its exact share k * available[c] / N. A larger total only
    extends the order. So a small class may have no sample for long: see `lost`.
    The next sample of a class has a first and a last place that keep it within 1 - 1 / (2 C - 2); of the classes that
    may be served the most urgent one is, ties by id (Tijdeman, The chairman assignment problem, Discrete Mathematics
    32, 1980). Divisor methods such as Webster's are nested, too, but not within one.
    """
    whole = sum(available)
    parts = max(2 * sum(n > 0 for n in available) - 2, 1)
    waiting: list[tuple[int, int, int]] = []
    urgent: list[tuple[int, int, int]] = []
    order: list[int] = []

    def queue(c: int, had: int) -> None:
        if had < available[c]:
            first = -(-whole * (had * parts + 1) // (parts * available[c]))
            heappush(waiting, (first, c, had))

    for c in range(len(available)):
        queue(c, 0)
    for place in range(1, (whole if total is None else total) + 1):
        while waiting and waiting[0][0] <= place:
            _, c, had = heappop(waiting)
            heappush(urgent, (whole * ((had + 1) * parts - 1) // (parts * available[c]), c, had))
        _, c, had = heappop(urgent)
        order.append(c)
        queue(c, had + 1)
    return order


def counted(order: Sequence[int], classes: int) -> list[int]:
    """How often each class occurs."""
    return torch.bincount(torch.tensor(order, dtype=torch.long), minlength=classes).tolist()


def _floored(available: Sequence[int], total: int, natural: Sequence[int], floor: float) -> list[int]:
    """Raise counts below the floor, and lower the largest ones to a common level, above the raised ones, in return."""
    if not isinstance(floor, Real) or not 0 <= floor <= 1:
        raise ValueError(f"quota floor: floor must be in 0..1, got {floor!r}")
    least = least_of(available, total, floor)
    return water([max(low, n) for low, n in zip(least, natural, strict=True)], total)


def lowest(available: Sequence[int], total: int, floor: float) -> int:
    """The least that a large class gives under kind floor: `floor` of its equal quota, rounded up."""
    return ceil(decimal(floor) * max(quotas("equal", available, total), default=0))


def least_of(available: Sequence[int], total: int, floor: float) -> list[int]:
    """The counts that kind floor does not go below."""
    least = lowest(available, total, floor)
    return [min(count, least) for count in quotas("equal", available, total)]


def turns(kind: str, available: Sequence[int], counts: Sequence[int]) -> list[int]:
    """The class of each place of the answer, best first: as many as the counts sum to.

    Under equal quotas every class gives its first sample, by id, then every class its second; under the others each
    prefix has the proportions of the whole. With a kind of NESTED a smaller answer is a prefix of a larger one.
    """
    if kind == "equal":
        return [c for _, c in sorted((turn, c) for c, count in enumerate(counts) for turn in range(count))]
    return awards(available, sum(counts)) if kind == "proportional" else awards(counts)


def shortage(
    kind: str, available: Sequence[int], counts: Sequence[int], total: int, *, floor: float = 0.5
) -> list[int]:
    """Classes that gave all and are still below what their quota asks: an equal share, or `floor` of it."""
    if kind not in ("equal", "floor") or not counts:
        return []
    share = total // len(counts) if kind == "equal" else lowest(available, total, floor)
    return [c for c, (had, gave) in enumerate(zip(available, counts, strict=True)) if had == gave < share]


def lost(available: Sequence[int], counts: Sequence[int]) -> list[int]:
    """Classes that have samples and give none."""
    return [c for c, (had, gave) in enumerate(zip(available, counts, strict=True)) if had and not gave]


def apply(
    rule: Rule,
    items: Items,
    total: int,
    kind: str,
    rng: Rng,
    *,
    name: str = "rule",
    given: Sequence[int] = (),
    floor: float = 0.5,
) -> Choice:
    """Apply a rule under a quota: exactly `total` distinct places, best first, in the order of `turns`.

    The rule sees each class alone, on the stream ("class", c); under quota none it sees all samples at once. Under
    quota floor it also sees all samples first: a class that must give fewer drops its last ones, and a class that must
    give more is chosen anew, alone. A class without weights beside classes with some has weights of 1.

    Raises:
        ValueError: quotas that cannot be met, or an answer of the rule that is not of the required form.
    """
    whole = _ask(rule, items, total, rng, name) if kind in ("none", "floor") else None
    if kind == "none" and whole is not None:
        return whole
    labels = items.labels.cpu()
    available = torch.bincount(labels, minlength=items.classes).tolist()
    natural = torch.bincount(labels[whole.indices], minlength=items.classes).tolist() if whole is not None else []
    counts = quotas(kind, available, total, given=given, natural=natural, floor=floor)
    if whole is not None and counts == natural:
        return whole

    def part(c: int) -> Choice:
        """What a class gives."""
        if whole is not None and counts[c] <= natural[c]:
            at = torch.nonzero(labels[whole.indices] == c).flatten()[: counts[c]]
            return Choice(whole.indices[at], None if whole.weights is None else whole.weights[at])
        mine = torch.nonzero(labels == c).flatten()
        try:
            found = _ask(rule, items.of(mine), counts[c], rng.child("class", c), name)
        except ValueError as error:
            raise ValueError(f"{error} in class {c}") from None
        return Choice(mine[found.indices], found.weights)

    return _joined([part(c) for c, count in enumerate(counts) if count], turns(kind, available, counts))


def _ask(rule: Rule, items: Items, total: int, rng: Rng, name: str) -> Choice:
    """The answer of a rule, checked, on the CPU."""
    answer = rule(items, Budget(n=total), rng)
    choice = answer if isinstance(answer, Choice) else Choice(answer)
    found, n = tensor(f"rule {name}: indices", choice.indices).cpu(), len(items.labels)
    right = whole(found) and found.shape == (total,) and len(found.unique()) == total
    if not right or not 0 <= int(found.min()) <= int(found.max()) < n:
        got = f"{len(found.unique())} distinct ones in {str(found.dtype).removeprefix('torch.')} {list(found.shape)}"
        raise ValueError(f"rule {name}: must return {total} distinct indices in 0..{n - 1}, got {got}")
    found = found.long()
    if choice.weights is None:
        return Choice(found)
    weights = tensor(f"rule {name}: weights", choice.weights).cpu().float()
    if weights.shape != (total,) or not bool(((weights >= 0) & weights.isfinite()).all()):
        raise ValueError(
            f"rule {name}: weights must be {total} finite numbers of at least 0, got {weights.tolist()[:3]}"
        )
    return Choice(found, weights)


def _joined(parts: Sequence[Choice], order: Sequence[int]) -> Choice:
    """The answers of the classes, by class id, dealt out in this order."""
    places = torch.argsort(torch.tensor(order), stable=True)
    indices = torch.empty_like(places).scatter(0, places, torch.cat([part.indices for part in parts]))
    if all(part.weights is None for part in parts):
        return Choice(indices)
    weights = [torch.ones(len(part.indices)) if part.weights is None else part.weights for part in parts]
    return Choice(indices, torch.empty(len(order)).scatter(0, places, torch.cat(weights)))
