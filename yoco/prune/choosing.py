"""Make a smaller set, or put a set in the order in which a rule would keep its samples."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, overload

import torch

from yoco.condensed import CondensedSet
from yoco.data import SOURCES
from yoco.data.arrays import from_arrays
from yoco.data.source import Source
from yoco.data.whitened import plain
from yoco.device import cpu_by_default
from yoco.prune.at_hand import Given
from yoco.prune.budget import SIZES, Budget
from yoco.prune.items import items_for, scores_of, views_of
from yoco.prune.kinds import same_kind, worded
from yoco.prune.material import AnySet, check_kind, data_name
from yoco.prune.observe import Evidence
from yoco.prune.presets import Mode, find
from yoco.prune.quotas import NESTED, apply
from yoco.prune.references import alike
from yoco.prune.request import Request
from yoco.prune.rules import Rule, options_of_rule, with_options
from yoco.prune.scored import Scores
from yoco.prune.selection import Selection, kept_set, outcome
from yoco.prune.shares import check_classes, counts_of, places
from yoco.rng import Rng

REFERENCES = 4000
"""Number of real images drawn to represent the data, equally many of each class."""


@cpu_by_default
def select(
    data: CondensedSet | Source,
    *,
    rule: str = "yoco",
    ipc: int | None = None,
    cells: int | None = None,
    keep: float | Fraction | None = None,
    n: int | None = None,
    quota: str | None = None,
    shares: Mapping[Any, int] | None = None,
    floor: float | None = None,
    mode: Mode = "paper",
    scores: Any = None,
    evidence: Sequence[Evidence] | None = None,
    features: Any = None,
    reference: Source | None = None,
    seed: int = 0,
    **options: Any,
) -> Selection:
    """Choose the samples that a rule keeps, best first; give exactly one of ipc, cells, keep and n, see `Budget`.

    rule: a name in RULES, or `module:Class`. mode: "paper", or "repo" for the released code where that differs.
    quota: "none" (all samples compete), "equal", "proportional", "floor" (each class gives at least `floor` of its
    equal share, by default half) or "given" (`shares`: class name -> samples); by default the rule's own.
    scores: from `score`, loaded from a file, or your own numbers [n], larger = harder. evidence: results of `observe`.
    features: "pixels" or numbers [n, ...]; if nothing else must be learned, evidence and options of a training are
    refused beside them.
    reference: real images that the kept samples shall represent, for the rules that read them; `REFERENCES` are drawn,
    equally many of each class.
    Without scores and evidence, fitting scores that the set carries from an earlier pruning are used, so that pruning
    twice equals pruning once. Whatever is still missing is learned by one training; `kernel` trains three networks of
    60 epochs each on any data, unless `runs`, `epochs` or `recipe` say otherwise. Rules that need nothing never train.
    options: of the rule, of `Training`, and of the score, which `score` names.
    Among equal scores the sample that comes first counts as the better one, see `places`.

    Raises:
        ValueError: an unknown name, an impossible size, scores of another set or made with other options.
    """
    check_kind("select", data)
    same_kind("prune", "seed", seed, 0)
    budget = Budget(ipc=ipc, cells=cells, keep=keep, n=n, factor=data.factor)
    found, rest = _rule(rule, mode, options)
    found, total, kind, counts, floor = _planned(data, found, budget, quota, shares, floor)
    _check_refers(rule, found, reference)
    given = Given(
        scores=scores if scores is None or isinstance(scores, Scores) else Scores.of(data, scores),
        evidence=evidence,
        features=_brought(features),
        reference=None if reference is None else draw_references(data, reference, Rng(seed)),
        score=rest.pop("score", None),
        mode=mode,
        options={"seed": seed, **rest},
    )
    request = Request(data, rule, found, given)
    items, known = items_for(request)
    place = places(data)
    stream = Rng(seed).child("prune", rule)
    choice = apply(found, items.of(place), total, kind, stream, name=rule, given=counts, floor=floor)
    picked = place[choice.indices]
    own = {"rule": rule, "mode": mode, "options": _changed(rule, mode, found), "quota": kind, "seed": seed}
    chosen = None if known is None else replace(known, values=known.values[picked])
    seen = views_of(request, reference)
    entry = {**own, "budget": budget.said, "weighted": choice.weights is not None, **seen}
    return Selection(
        indices=picked,
        weights=choice.weights,
        scores=None if chosen is None else chosen.values,
        checksum=data.checksum,
        entry={**entry, **outcome(data, picked, chosen, kind, floor)},
        classes=data.classes,
        files=data.files_of(picked) if isinstance(data, Source) else (),
    )


def _check_refers(name: str, rule: Rule, reference: Any) -> None:
    if reference is not None and not rule.refers:
        raise ValueError(f"rule {name}: does not use reference, got {reference!r}")


def _planned(
    data: CondensedSet | Source,
    rule: Rule,
    budget: Budget,
    quota: str | None = None,
    shares: Mapping[Any, int] | None = None,
    floor: float | None = None,
) -> tuple[Rule, int, str, list[int], float]:
    """The rule as published for this size, the total, the quota, the given counts by class, and the floor.

    Raises:
        ValueError: an impossible size, or one that this rule or the quota cannot give.
    """
    total, room = budget.total(len(data), len(data.classes)), budget.factor**2 * len(data.classes)
    sizes = Fraction(len(data), room), Fraction(total, room)
    rule = rule.published(data_name(data), isinstance(data, CondensedSet), *sizes)
    kind = quota or ("given" if shares else rule.quota)
    if floor is not None and kind != "floor":
        raise ValueError(f"prune: floor needs the quota floor, got {floor!r} with the quota {kind}")
    counts, least = counts_of(data, kind, shares), 0.5 if floor is None else floor
    check_classes(rule, data, total, kind, counts, least)
    return rule, total, kind, counts, least


@overload
def prune(data: AnySet, labels: None = None, **how: Any) -> AnySet: ...
@overload
def prune(data: Any, labels: Any, **how: Any) -> Selection: ...
def prune(data: Any, labels: Any = None, **how: Any) -> Any:
    """Keep the samples that a rule chooses, best first; the options are those of `select`.

    data: a condensed set or a Source, which returns a smaller one; or images with `labels`, arrays as for
    `yoco.data.from_arrays`, which return a `Selection`: `images[kept.indices.numpy()]` are the kept images.
    The cells of each class of a condensed set are sorted best first: with a nested rule under the quota equal, and
    with `kernel`, any smaller size is a prefix.
    A set holds no weights: rules that give weights (craig, gradmatch) warn; use `select` to get them.

    Raises:
        ValueError: as `select`; or labels beside a set that has its own.
    """
    if labels is not None:
        if isinstance(data, CondensedSet | Source):
            raise ValueError(f"prune: labels are for arrays of images, got a {type(data).__name__} that has its own")
        return select(from_arrays(data, labels), **how)
    check_kind("prune", data, ", or images and labels")
    found = select(data, **how)
    if found.weights is not None:
        warnings.warn("prune: a set cannot store sample weights; take them from yoco.prune.select", stacklevel=2)
    return found.of(data)  # type: ignore[type-var]


@cpu_by_default
def scores_for(data: CondensedSet | Source, *, rule: str = "yoco", mode: Mode = "paper", **how: Any) -> Scores:
    """Compute the scores that `select` would make for a rule with the same options, which may include a size.

    Raises:
        ValueError: the rule does not use scores; otherwise as `select`.
    """
    check_kind("scores_for", data)
    found, rest = _rule(rule, mode, {k: v for k, v in how.items() if k not in (*SIZES, *_SHARES, *_OTHERS)})
    if "scores" not in found.needs:
        raise ValueError(f"rule {rule}: does not use scores, so none can be computed for it")
    _check_refers(rule, found, how.get("reference"))
    size: dict[str, Any] = {name: how.get(name) for name in SIZES}
    if set(size.values()) != {None}:
        shares = {name: how[name] for name in _SHARES if name in how}
        found, *_ = _planned(data, found, Budget(**size, factor=data.factor), **shares)
    given = Given(features=_brought(how.get("features")), score=rest.pop("score", None), mode=mode, options=rest)
    return scores_of(Request(data, rule, found, given, anew=True))


def _brought(features: Any) -> Any:
    """Features that no network has to make, if any."""
    return None if isinstance(features, str) and features == "network" else features


_SHARES = ("quota", "shares", "floor")
_OTHERS = ("scores", "evidence", "features", "reference")


def as_set(data: CondensedSet | Source, chosen: Selection) -> CondensedSet:
    """The chosen samples as a condensed set, ready to be saved; images of a Source become uint8 cells of factor 1.

    The samples are sorted by class. `weights_of` leaves the weights for a Source best first; sort them likewise by
    `s.weights[argsort(labels[s.indices], stable=True)]`.

    Raises:
        ValueError: they were chosen from other data.
    """
    chosen.check(data)
    return kept_set("prune", data if isinstance(data, CondensedSet) else _whole(data), chosen)


def _whole(data: Source) -> CondensedSet:
    """A data set in the form of a condensed one, which says where its images are."""
    where = {"data": data.place} if data.place and data.place != data.name else {}
    named = data.place or data.name in SOURCES
    return CondensedSet(
        cells=plain(data).images.cpu(),
        labels=data.labels.cpu(),
        factor=1,
        size=(data.shape[1], data.shape[2]),
        classes=data.classes,
        mean=data.mean,
        std=data.std,
        method="real",
        source={
            "name": data.name,
            "checksum": data.checksum,
            "images": len(data),
            **(where if named else {"python": True}),
        },
    )


def rank(data: CondensedSet, rule: str = "yoco", *, mode: Mode = "paper", **how: Any) -> CondensedSet:
    """Sort the cells of each class best first: under the quota equal, or by `kernel`, any prefix is a smaller set.

    The set holds no weights: rules that give weights (craig, gradmatch) warn.

    Raises:
        ValueError: as `select`; or the rule's smaller answers are not prefixes of its larger ones.
    """
    if not isinstance(data, CondensedSet):
        raise ValueError(f"rank: needs a condensed set, got a {type(data).__name__}; use select for other data")
    found, _ = _rule(rule, mode, how)
    kind = how.get("quota") or found.quota
    if not found.nested or kind not in NESTED:
        what = f"the rule {rule!r}" if not found.nested else f"the quota {kind!r}"
        raise ValueError(f"rank: rule and quota must make smaller sets prefixes of larger ones, got {what}; use prune")
    images = Fraction(len(data), data.factor**2 * len(data.classes))
    if found.published(data_name(data), True, images, images) != found:
        must = "rule must have the same settings at every size"
        raise ValueError(f"rank: {must}, got {rule!r}, whose published settings depend on it; set them yourself")
    chosen = select(data, rule=rule, mode=mode, **{**how, "n": len(data)})
    if chosen.weights is not None:
        warnings.warn("rank: a set cannot store sample weights; take them from yoco.prune.select", stacklevel=2)
    return kept_set("rank", data, chosen)


def _rule(name: str, mode: Mode, options: Mapping[str, Any]) -> tuple[Rule, dict[str, Any]]:
    """The rule with those options that are its own, and the others; None stands for what is usual, paths are words."""
    found, given = find(name, mode), worded({k: v for k, v in options.items() if v is not None})
    own = {option: given.pop(option) for option in options_of_rule(found) if option in given}
    return with_options(name, found, own), given


def _changed(name: str, mode: Mode, rule: Rule) -> dict[str, Any]:
    """The options of the rule that are not the defaults of its class."""
    usual = options_of_rule(find(name, mode))
    return {option: value for option, value in options_of_rule(rule).items() if value != usual[option]}


@cpu_by_default
def draw_references(data: CondensedSet | Source, reference: Source, rng: Rng) -> Source:
    """Draw `REFERENCES` images to represent the data behind a set, equally many of each class, whitened as the set is.

    Raises:
        ValueError: reference is no Source, its classes or image shape are not the set's, or the set was whitened by
            other images.
    """
    real, most = alike(data, reference), -(-REFERENCES // len(data.classes))
    members = [
        mine[rng.child("reference", c).choice(len(mine), min(most, len(mine)))] for c, mine in enumerate(real.by_class)
    ]
    return real.take(torch.cat(members))
