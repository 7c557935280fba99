"""Items for a rule: whatever it reads of the samples, given, carried by the set, or learned by training once."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from yoco.condensed import CondensedSet
from yoco.data.source import Source
from yoco.prune.asked import ALL_SCORES, Asked, ask
from yoco.prune.at_hand import Given, for_score, known_scores, score_of
from yoco.prune.material import given_features
from yoco.prune.observe import Evidence
from yoco.prune.probes import FROM_FEATURES, PROBES
from yoco.prune.references import told
from yoco.prune.rules import Items, Rule, options_of_rule
from yoco.prune.scored import Scores
from yoco.prune.scores import mean_confidence
from yoco.prune.scoring import agreed, checked, combined, recorded, score
from yoco.prune.snapshot import pooled
from yoco.prune.training import Training, check_untrained, split
from yoco.registry import resolve, unknown

SIGNED = ("aum", "margin")
"""Scores that are below 0 for some samples."""


def items_for(data: CondensedSet | Source, name: str, rule: Rule, given: Given) -> tuple[Items, Scores | None]:
    """The items of all samples in the order of the set, and the scores among them.

    Raises:
        ValueError: scores, evidence or options that do not fit the rule, the set or each other, or are not read by it.
    """
    labels, classes = data.labels.cpu(), len(data.classes)
    if not rule.needs and rule.dropped_by is None:
        _check_blind(data, name, rule, given)
        return Items(None, labels, classes), None
    asked = _asked(data, name, rule, given)
    if given.evidence is not None:
        decides = asked.decides(views=bool({"features", "errors"} & set(rule.needs)))
        asks = {"passes": score_of(rule, given.score, name)[1].get("passes"), **given.options}
        if not _watches(rule, asked):
            asks["passes"] = None  # a network at its end is shown clean images
        checked(data, given.evidence, asks, decides)
    _refuse(name, rule, given, asked)
    known = known_scores(data, name, rule, given, asked)
    if known is not None:
        rule.check(known.values)
    features = _given(data, given)
    dropping, lacks = _to_learn(data, name, rule, given, asked, known, features)
    evidence = given.evidence
    if lacks and evidence is None:
        evidence = list(
            asked.gather(
                data,
                snapshot="snapshot" in lacks,
                dynamics="dynamics" in lacks,
                shift=dropping is not None and dropping.shifts,
                images=dropping is not None and dropping.looks,
                reference=given.reference,
            )
        )
    if "scores" in rule.needs and known is None:
        known = _scored(data, name, rule, given, asked, evidence)
    seen = _seen(data, evidence, rule, asked.options.get("epochs"))
    if features is not None:
        seen |= {"features": features, "reference": _pixels(given, features)}
    if rule.dropped_by is not None:
        seen["doubts"] = _doubts(data, dropping, known, evidence)
    return Items(known.values if known and "scores" in rule.needs else None, labels, classes, **seen), known


def scores_of(data: CondensedSet | Source, name: str, rule: Rule, given: Given) -> Scores:
    """The scores among the items, by a training of their own.

    Raises:
        ValueError: as `items_for`.
    """
    asked = _asked(data, name, rule, given, alone=given.options.get("epochs") is None)
    _refuse(name, rule, given, asked)
    _to_learn(data, name, rule, given, asked, None, _given(data, given))  # refuses now what it would afterwards
    seen = None if for_score(asked.name, given) is not None else list(asked.gather(data))
    return _scored(data, name, rule, given, asked, seen)


def _given(data: CondensedSet | Source, given: Given) -> Tensor | None:
    return None if given.features is None else given_features(data, given.features)


def views_of(
    data: CondensedSet | Source, name: str, rule: Rule, given: Given, reference: Source | None = None
) -> dict[str, Any]:
    """How the features or gradients that a rule reads were made, as {"views": JSON values}; {} for one without.

    reference: all images out of which the references were drawn; those of evidence are as it says.
    """
    if not {"features", "errors"} & set(rule.needs):
        return {}
    made: dict[str, Any] = {"features": "network"}
    if given.features is not None:
        made["features"] = given.features if isinstance(given.features, str) else "given"
    if given.features is None or "errors" in rule.needs:
        if given.evidence is not None:
            looks = [each.snapshot for each in given.evidence]
            met = rule.refers and all(look is not None and look.reference is not None for look in looks)
            made |= {**agreed(given.evidence, references=met), "runs": len(looks)}
        else:
            asked = _asked(data, name, rule, given)
            made |= {**asked.training.said(asked.recipe), "epochs": asked.epochs}
        made["passes"] = "clean"
    if reference is not None:
        made["reference"] = told(reference)
    return {"views": made}


def _scored(
    data: CondensedSet | Source,
    name: str,
    rule: Rule,
    given: Given,
    asked: Asked,
    evidence: Sequence[Evidence] | None,
) -> Scores:
    features = for_score(asked.name, given)
    if features is not None:  # a training, if there is one, is for other things
        return score(data, score=asked.name, features=features, **asked.options)
    own = {**score_of(rule, given.score, name)[1], **given.options}
    return score(data, score=asked.name, evidence=evidence, features=None, **own)


def _refuse(name: str, rule: Rule, given: Given, asked: Asked) -> None:
    """What nobody would read must not be given, nor what the rule cannot read."""
    _refuse_unread(name, rule, given)
    if not rule.signed and given.scores is None and asked.name in SIGNED:
        raise ValueError(f"rule {name}: needs scores of at least 0, got {asked.name}, which may be below")
    if given.options.get("passes") == "train" and not _watches(rule, asked):
        raise ValueError(f"rule {name}: looks at networks at their end, got passes=train")
    runs = asked.training.runs if given.evidence is None else len(given.evidence)
    if "errors" in rule.needs and runs > 1:
        raise ValueError(f"rule {name}: reads the gradients of one network, got {runs} runs")


def _refuse_unread(name: str, rule: Rule, given: Given) -> None:
    if given.scores is not None and "scores" not in rule.needs:
        raise ValueError(f"rule {name}: reads no scores, got some")
    if given.score is not None and not {"scores", "confidence"} & set(rule.needs):
        raise ValueError(f"rule {name}: reads no scores, got the score {given.score}")
    scored = "scores" in rule.needs and _wanted(name, rule, given)[0] in FROM_FEATURES
    if given.features is not None and "features" not in rule.needs and not scored:
        raise ValueError(f"rule {name}: reads no features, got some")
    if given.reference is not None and given.evidence is not None:
        raise ValueError("reference: must have been seen by the networks of the evidence, got another; see observe")


def _check_blind(data: CondensedSet | Source, name: str, rule: Rule, given: Given) -> None:
    """A rule that looks at nothing may be given what others read beside it: evidence, and options of their scores."""
    _refuse_unread(name, rule, given)
    usual = signature(resolve("score", ALL_SCORES, rule.usual)).parameters
    known = {*options_of_rule(rule), *(f.name for f in fields(Training)), *list(usual)[1:]}
    for option in split(given.options)[1]:
        if option not in known:
            raise unknown(f"option of rule {name}", option, known)
    if given.evidence is not None:
        checked(data, given.evidence, {**given.options, "passes": None})


def _watches(rule: Rule, asked: Asked) -> bool:
    """Whether the dynamics of a training are read."""
    drops = rule.dropped_by is not None
    return drops or "confidence" in rule.needs or ("scores" in rule.needs and not asked.at_end)


def _pixels(given: Given, features: Tensor) -> tuple[Tensor, Tensor] | None:
    """References by their pixels, as the features of the samples are."""
    if given.reference is None:
        return None
    if not isinstance(given.features, str):
        got = f"numbers {list(features.shape)}"
        raise ValueError(f"reference: goes with features of the network or pixels, got {got}")
    return given_features(given.reference, "pixels"), given.reference.labels.cpu()


def _wanted(name: str, rule: Rule, given: Given) -> tuple[str, Mapping[str, Any]]:
    """The score that is asked for, and its settings: that of given scores, where a rule takes any and reads no more."""
    held = "" if given.scores is None else given.scores.name
    any_score = set(rule.needs) == {"scores"} and rule.score is None and rule.dropped_by is None
    return score_of(rule, given.score or (held if any_score and held in ALL_SCORES else None), name)


def _asked(data: CondensedSet | Source, name: str, rule: Rule, given: Given, alone: bool = False) -> Asked:
    """The score of a rule, with its options checked. alone: nothing but this score is wanted of the training."""
    wanted, own = _wanted(name, rule, given)
    if rule.needs and not {"scores", "confidence"} & set(rule.needs) and given.score is None:
        wanted, own = "entropy", rule.settings  # any score of one network will do: it is the network that is wanted
        if given.options.get("recipe") is not None:
            own = {option: value for option, value in own.items() if option != "epochs"}
    training, options = split({**own, **_as_held(rule, wanted, given), **given.options})
    second = not alone and rule.dropped_by not in (None, wanted if given.scores is None else given.scores.name)
    if second and given.options.get("epochs") is None and isinstance(data, CondensedSet):
        training = replace(training, recipe=training.on(data))  # the epochs that a score reads do not end a training
    sees = bool({"features", "errors"} & set(rule.needs))
    whole = second or (sees and not (alone and options.get("epochs") is None))
    how: dict[str, Any] = {"also": options_of_rule(rule), "recorded": recorded(given.evidence)}
    return ask(wanted, data, training, options, whole=whole, **how)


def _as_held(rule: Rule, wanted: str, given: Given) -> dict[str, Any]:
    """How the given scores were made, as far as a rule that reads the confidence, too, takes it over.

    Network and passes, and of the score that the rule ranks by also epochs and window; runs, seed, bf16 and recipe are
    those that are asked for.
    """
    held = given.scores
    if held is None or given.evidence is not None or "confidence" not in rule.needs:
        return {}
    names = {"network", "passes"} | ({"epochs", "window"} if held.name == wanted else set())
    if held.name in PROBES:  # their passes are those of a network at its end, their epochs those of its recipe
        names -= {"passes"} if given.options.get("recipe") is None else {"passes", "epochs"}
    return {name: value for name, value in held.meta.items() if name in names}


def _dropping(data: CondensedSet | Source, rule: Rule, ranking: Asked | Scores, asked: Asked) -> Asked | None:
    """The score that leaves samples out, if that is another than the one that ranks."""
    if rule.dropped_by in (None, ranking.name):
        return None
    return ask(rule.dropped_by, data, replace(asked.training, recipe=asked.recipe), {}, whole=True)


def _doubts(
    data: CondensedSet | Source, dropping: Asked | None, known: Scores | None, evidence: Sequence[Evidence] | None
) -> Tensor | None:
    """The values of the score that leaves samples out."""
    if dropping is None:
        return None if known is None else known.values
    return combined(map(dropping.values, checked(data, evidence or ()))).float()


def _to_learn(
    data: CondensedSet | Source,
    name: str,
    rule: Rule,
    given: Given,
    asked: Asked,
    known: Scores | None,
    features: Tensor | None,
) -> tuple[Asked | None, set[str]]:
    """The score that leaves samples out, if it is another, and all that a training has to show.

    Raises:
        ValueError: that is nothing, as features are given, and yet evidence or options of a training are, too.
    """
    dropping = _dropping(data, rule, known or asked, asked)
    lacks = _lacking(rule, asked, known, features) | ({dropping.reads} if dropping else set())
    if features is not None and not lacks:
        theirs = known is not None and "network" in known.meta  # options may say how the scores at hand were made
        check_untrained(f"rule {name}", given.evidence, {} if theirs else given.options)
    return dropping, lacks


def _lacking(rule: Rule, asked: Asked, known: Scores | None, features: Tensor | None) -> set[str]:
    """What a training has to show: "dynamics", "snapshot"."""
    lacks: set[str] = set()
    if "scores" in rule.needs and known is None and not (asked.name in FROM_FEATURES and features is not None):
        lacks.add(asked.reads)
    if "confidence" in rule.needs:
        lacks.add("dynamics")
    if "errors" in rule.needs or ("features" in rule.needs and features is None):
        lacks.add("snapshot")
    return lacks


def _seen(
    data: CondensedSet | Source, evidence: Sequence[Evidence] | None, rule: Rule, epochs: int | None
) -> dict[str, Any]:
    """Features of all trainings, or the one whose errors are read: then what its last layer sees, as gradients have it.

    And the mean confidence over the epochs that the score reads.
    """
    if evidence is None or set(rule.needs) <= {"scores"}:
        return {}
    views = [each.snapshot for each in checked(data, evidence) if each.snapshot is not None]
    found: dict[str, Any] = {}
    if views and "features" in rule.needs:
        found["features"], found["reference"] = pooled(views)
    if views and "errors" in rule.needs:
        found |= {"errors": views[0].errors.float(), "features": views[0].inputs.float()}
    dynamics = [each.dynamics for each in evidence if each.dynamics is not None]
    if "confidence" in rule.needs and dynamics:
        found["confidence"] = torch.stack([mean_confidence(each, epochs) for each in dynamics]).mean(0)
    return found
