"""Make a smaller set, or put a set in the order in which a rule would keep its cells."""

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from yoco.condensed import CondensedSet
from yoco.data.source import Source
from yoco.prune.budget import Budget
from yoco.prune.material import AnySet, checksum
from yoco.prune.record import plain
from yoco.prune.rules import Balanced, Items, Rule, find
from yoco.prune.scores import SCORES
from yoco.prune.scoring import Scores, options_of, score
from yoco.registry import resolve, unknown
from yoco.rng import Rng
from yoco.train import Recipe


def prune(
    data: AnySet,
    *,
    rule: str = "yoco",
    ipc: int | None = None,
    cells: int | None = None,
    keep: float | None = None,
    n: int | None = None,
    scores: Scores | None = None,
    seed: int = 0,
    **training: Any,
) -> AnySet:
    """The samples that a rule keeps, as a set of its own; exactly one of the four sizes is given, see `Budget`.

    rule: a name out of RULES, or `module:Name`. scores: of `score`, or read from a file. Without them those are used
    that the set carries from an earlier pruning, so that pruning twice is pruning once; only a set without any is
    trained on, under the options `training` of `score`. Rules that need no scores never train.
    Of equal scores the sample that stands first in the set, class by class, counts as the better one.

    Raises:
        ValueError: an unknown name, an impossible size, scores of another set or made in another way than asked for.
    """
    budget = Budget(ipc=ipc, cells=cells, keep=keep, n=n, factor=data.factor if isinstance(data, CondensedSet) else 1)
    picked, found = _pick(data, rule, budget, scores, seed, training)
    if isinstance(data, Source):
        return data.take(picked)
    return _recorded("prune", data, rule, budget, picked, found, seed)


def rank(
    data: CondensedSet, rule: str = "yoco", *, scores: Scores | None = None, seed: int = 0, **training: Any
) -> CondensedSet:
    """The whole set, the cells of each class best first: the first k of a class are then the set at that size.

    Raises:
        ValueError: as `prune`; or the rule's smaller answers are not the beginnings of its larger ones.
    """
    if not find(rule).nested:
        raise ValueError(f"rank: rule must be nested, got {rule!r}; prune to one size with it")
    budget = Budget(n=len(data))
    picked, found = _pick(data, rule, budget, scores, seed, training)
    return _recorded("rank", data, rule, budget, picked, found, seed)


def _pick(
    data: CondensedSet | Source,
    name: str,
    budget: Budget,
    scores: Scores | None,
    seed: int,
    training: Mapping[str, Any],
) -> tuple[Tensor, Scores | None]:
    """What to keep, long [total], best first, and the scores that decided."""
    rule, classes = find(name), len(data.classes)
    total = budget.total(len(data), classes)
    found = _scores(data, name, rule, scores, seed, training)
    labels = data.labels.cpu()
    place = torch.argsort(labels, stable=True)
    values = None if found is None else found.values[place]
    answer = rule(Items(values, labels[place], classes), budget, Rng(seed).child("prune", name))
    if len(answer) != total or len(answer.unique()) != total:
        got = f"{len(answer)}, {len(answer.unique())} of them distinct"
        raise ValueError(f"rule {name}: must choose {total} distinct samples, got {got}")
    return place[answer], found


def _scores(
    data: CondensedSet | Source,
    name: str,
    rule: Rule,
    given: Scores | None,
    seed: int,
    training: Mapping[str, Any],
) -> Scores | None:
    """The scores for a rule: the given ones, those of the set, or new ones."""
    wanted = training.get("score") or rule.score
    if rule.score and wanted != rule.score:
        raise ValueError(f"rule {name}: ranks by {rule.score}, got the score {wanted}")
    if not rule.scored:
        _check_names(data, wanted or "lbpe", training)
        return None
    if given is not None:
        given.check(data)
    held = given or carried(data)
    if held is not None and (given is not None or wanted in (None, held.name)):
        if rule.score and held.name != rule.score:
            raise ValueError(f"rule {name}: ranks by {rule.score}, got scores of {held.name}")
        _check_same(held, training)
        return held
    return score(data, **{**training, "score": wanted or "lbpe", "seed": seed})


def carried(data: CondensedSet | Source) -> Scores | None:
    """The scores that a set keeps from an earlier ranking, if it is known how they were made."""
    if isinstance(data, Source) or data.scores is None:
        return None
    made = [entry["scores"] for entry in data.history if entry.get("scores")]
    if not made:
        return None
    return Scores(values=data.scores.cpu().float(), name=made[-1]["score"], checksum=checksum(data), meta=made[-1])


def _check_same(held: Scores, training: Mapping[str, Any]) -> None:
    """Scores at hand must be those that the options would make."""
    for option, value in training.items():
        if option in ("device", "progress") or value is None:
            continue
        made = {"score": held.name, **held.meta}
        if option not in made:
            raise unknown(f"option of {held.name}", option, made)
        wanted = plain(value) if isinstance(value, Recipe) else value
        if made[option] != wanted:
            got = f"{option}={wanted}"
            raise ValueError(f"prune: the scores at hand have {option}={made[option]}, got {got}; score anew")


def _check_names(data: CondensedSet | Source, name: str, training: Mapping[str, Any]) -> None:
    """Options that are not needed must at least exist."""
    common = inspect.signature(score).parameters
    rest = {option: value for option, value in training.items() if option not in common}
    options_of(name, resolve("score", SCORES, name), data, rest)


def _recorded(
    step: str, data: CondensedSet, rule: str, budget: Budget, picked: Tensor, found: Scores | None, seed: int
) -> CondensedSet:
    """The chosen cells with their scores, and a line in the history."""
    whole = data if found is None else replace(data, scores=found.values)
    small = whole.take(picked, order=rule)
    share = len(picked) // len(data.classes)
    short = [c for c, had, kept in zip(data.classes, data.counts, small.counts, strict=True) if kept == had < share]
    entry = {
        "step": step,
        "rule": rule,
        "budget": budget.said,
        "seed": seed,
        "scores": None if found is None else {"score": found.name, **found.meta},
        "had": list(data.counts),
        "kept": list(small.counts),
        "short": short if isinstance(find(rule), Balanced) else [],
        "bytes": [data.nbytes, small.nbytes],
    }
    return replace(small, history=(*data.history, entry))
