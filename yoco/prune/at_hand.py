"""Scores at hand: those that a caller gives or a set carries, if they are the ones that a rule asks for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from yoco.condensed import CondensedSet
from yoco.data.source import Source
from yoco.prune.asked import Asked
from yoco.prune.observe import Evidence, recipe_values
from yoco.prune.probes import FROM_FEATURES, PROBES
from yoco.prune.rules import Rule
from yoco.prune.scored import Scores
from yoco.prune.training import Training
from yoco.registry import unknown
from yoco.train import Recipe


@dataclass(frozen=True, kw_only=True)
class Given:
    """What a caller brings: scores, evidence, features, and options for what is still to be learned.

    mode: of the rule; what a set carries from the code's way does not stand for the paper's.
    """

    scores: Scores | None = None
    evidence: Sequence[Evidence] | None = None
    features: Any = None
    reference: Source | None = None
    score: str | None = None
    mode: str = "paper"
    options: Mapping[str, Any] = field(default_factory=dict)


def score_of(rule: Rule, wanted: str | None, name: str) -> tuple[str, Mapping[str, Any]]:
    """The score that a rule ranks by, or would, and its settings.

    Raises:
        ValueError: the rule takes another score only.
    """
    if rule.score and wanted not in (None, rule.score):
        raise ValueError(f"rule {name}: ranks by {rule.score}, got the score {wanted}")
    found = wanted or rule.score or rule.usual
    return found, rule.settings if found in (rule.score, rule.usual) else {}


def for_score(name: str, given: Given) -> Any:
    """The given features, where the score of this name reads them."""
    return given.features if name in FROM_FEATURES else None


def known_scores(data: CondensedSet | Source, name: str, rule: Rule, given: Given, asked: Asked) -> Scores | None:
    """The given scores, or those that the set carries, if they are the ones that are asked for.

    Raises:
        ValueError: the given ones are not.
    """
    if "scores" not in rule.needs or (given.evidence is not None and given.scores is None):
        return None
    usual, settings = score_of(rule, given.score, name)
    held = given.scores or carried(data)
    if held is None:
        return None
    own = {k: v for k, v in settings.items() if held.name == usual and k in held.meta}
    wanted = given.score or rule.score
    if given.scores is None:
        fits = held.name == ((usual if rule.faithful else wanted) or held.name)
        published = rule.score is not None or rule.faithful
        if not fits or (published and given.mode == "paper" and _carried_mode(data) == "repo"):
            return None
        if any(held.meta[option] != value for option, value in own.items()):
            return None
    else:
        held.check(data)
    if rule.score and held.name != rule.score:
        raise ValueError(f"rule {name}: ranks by {rule.score}, got scores of {held.name}")
    if wanted not in (None, held.name):
        raise ValueError(f"rule {name}: asked for the score {wanted}, got scores of {held.name}")
    trains = set(rule.needs) != {"scores"} or rule.dropped_by is not None
    options = {"features": for_score(held.name, given), **own, **given.options}
    if held.name in PROBES or (held.name == asked.name and asked.at_end):
        options["passes"] = None  # of a training whose dynamics are read beside them
    _check_same(held, options, trains)
    return held


def _carried_mode(data: CondensedSet | Source) -> str:
    """The mode of the rule whose scores a set keeps, whichever rules have taken them over since."""
    made = _scorings(data)
    return "repo" if any(e.get("mode") == "repo" and e["scores"] == made[-1]["scores"] for e in made) else "paper"


def carried(data: CondensedSet | Source) -> Scores | None:
    """The scores that a set keeps from an earlier ranking, if it is known how they were made."""
    made = _scorings(data)
    if isinstance(data, Source) or data.scores is None or not made:
        return None
    meta = made[-1]["scores"]
    return Scores(values=data.scores.cpu().float(), name=meta["score"], checksum=data.checksum, meta=meta)


def _scorings(data: CondensedSet | Source) -> list[Mapping[str, Any]]:
    """What the history of a set says of the steps that scored it."""
    return [] if isinstance(data, Source) else [entry for entry in data.history if entry.get("scores")]


def _check_same(held: Scores, options: Mapping[str, Any], trains: bool) -> None:
    """Scores at hand must be those that the options would make. trains: the rule needs more, of a training."""
    usual = {f.name: f.default for f in fields(Training)} | {"epochs": None}
    for option, value in options.items():
        if option in ("device", "progress", "seed") or value is None:
            continue
        value = value if option != "features" or isinstance(value, str) else "given"
        if "network" not in held.meta and option in usual and (trains or value == usual[option]):
            continue
        made = {"score": held.name, "features": "network", **held.meta}
        if option not in made:
            raise unknown(f"option of {held.name}", option, made)
        wanted = recipe_values(value) if isinstance(value, Recipe) else value
        if made[option] != wanted:
            got = f"{option}={wanted}"
            raise ValueError(f"prune: the scores at hand have {option}={made[option]}, got {got}; score anew")
