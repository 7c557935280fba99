"""Request: what a rule needs of some data, which part of it is at hand, and which a training must still provide."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

from torch import Tensor

from yoco.condensed import CondensedSet
from yoco.data.source import Source
from yoco.prune.asked import ALL_SCORES, Asked, ask
from yoco.prune.at_hand import Given, carried, carried_mode, check_same
from yoco.prune.material import given_features
from yoco.prune.probes import FROM_FEATURES, PROBES
from yoco.prune.rules import Rule, options_of_rule
from yoco.prune.scored import Scores
from yoco.prune.scoring import checked, recorded_epochs
from yoco.prune.training import Training, check_untrained, split
from yoco.registry import resolve, signature_of, unknown

SIGNED = ("aum", "margin")
"""Scores that are below 0 for some samples."""


@dataclass(frozen=True, eq=False)
class Request:
    """A rule, the data that it chooses from, and the caller's inputs.

    name: of the rule; anew: only its scores are wanted, made anew even if the set carries some.
    """

    data: CondensedSet | Source
    name: str
    rule: Rule
    given: Given
    anew: bool = False

    def refuse(self) -> None:
        """Refuse, before any training, inputs that do not fit and inputs that would not be read.

        Raises:
            ValueError: scores, evidence, features or options do not fit the rule, the set or each other, or are unread.
        """
        if self.reads_nothing:
            self._refuse_beside_nothing()
            return
        decides = self.ranking.decides(views=self.reads_views)  # an unknown score or option is the first to be refused
        if self.given.evidence is not None:
            asks = {"passes": self.named_score[1].get("passes"), **self.given.options}
            if not self.watches:
                asks["passes"] = None  # a network at its end is shown clean images
            checked(self.data, self.given.evidence, asks, decides)
        self._refuse_unread()
        self._refuse_unreadable()
        if self.at_hand is not None:
            self.rule.check(self.at_hand.values)
        features, lacks = self.features, self.lacks
        if features is not None and not lacks:
            theirs = self.at_hand is not None and "network" in self.at_hand.meta  # options may say how these were made
            check_untrained(f"rule {self.name}", self.given.evidence, {} if theirs else self.given.options)

    @property
    def reads_nothing(self) -> bool:
        """Whether the rule looks at labels alone."""
        return not self.rule.needs and self.rule.dropped_by is None

    @property
    def reads_views(self) -> bool:
        """Whether the rule looks at features or gradients."""
        return not {"features", "errors"}.isdisjoint(self.rule.needs)

    @property
    def watches(self) -> bool:
        """Whether the dynamics of a training are read."""
        rule = self.rule
        scored = "scores" in rule.needs and not self.ranking.at_end
        return scored or "confidence" in rule.needs or rule.dropped_by is not None

    @cached_property
    def named_score(self) -> tuple[str, Mapping[str, Any]]:
        """The score that a caller names, or the rule's own, and its settings."""
        return self._score(self.given.score)

    @cached_property
    def ranking_score(self) -> tuple[str, Mapping[str, Any]]:
        """As `named_score`; or the score of given scores, if none is named and the rule takes any and reads no more."""
        rule, scores = self.rule, self.given.scores
        any_score = set(rule.needs) == {"scores"} and rule.score is None and rule.dropped_by is None
        theirs = scores.name if scores is not None and any_score and scores.name in ALL_SCORES else None
        return self._score(self.given.score or theirs)

    def _score(self, name: str | None) -> tuple[str, Mapping[str, Any]]:
        """The score that the rule ranks by if a caller names this one, or none, and the rule's settings for it.

        Raises:
            ValueError: the rule takes another score only.
        """
        rule = self.rule
        if rule.score and name not in (None, rule.score):
            raise ValueError(f"rule {self.name}: ranks by {rule.score}, got the score {name}")
        found = name or rule.score or rule.usual
        return found, rule.settings if found in (rule.score, rule.usual) else {}

    @cached_property
    def ranking(self) -> Asked:
        """The ranking score with checked options, and the training that provides all that the rule reads."""
        rule, given = self.rule, self.given
        name, own = self.ranking_score
        if rule.needs and {"scores", "confidence"}.isdisjoint(rule.needs) and given.score is None:
            name, own = "entropy", rule.settings  # any score of one network will do: it is the network that is wanted
            if given.options.get("recipe") is not None:
                own = {option: value for option, value in own.items() if option != "epochs"}
        training, options = split({**own, **self._as_given_scores(name), **given.options})
        alone = self.anew and given.options.get("epochs") is None
        second = not alone and rule.dropped_by not in (None, name if given.scores is None else given.scores.name)
        if second and given.options.get("epochs") is None and isinstance(self.data, CondensedSet):
            training = replace(training, recipe=training.on(self.data))  # the epochs of a score do not end a training
        whole = second or (self.reads_views and not (alone and options.get("epochs") is None))
        also, recorded = options_of_rule(rule), recorded_epochs(given.evidence)
        return ask(name, self.data, training, options, whole=whole, also=also, recorded=recorded)

    def _as_given_scores(self, ranking: str) -> dict[str, Any]:
        """The settings of given scores that also hold for the training of a rule that reads the confidence, too.

        These are network and passes and, if it is the ranking score, epochs and window; runs, seed, bf16 and recipe
        are the caller's.
        """
        given, scores = self.given, self.given.scores
        if scores is None or given.evidence is not None or "confidence" not in self.rule.needs:
            return {}
        names = {"network", "passes"} | ({"epochs", "window"} if scores.name == ranking else set())
        if scores.name in PROBES:  # their passes are those of a network at its end, their epochs those of its recipe
            names -= {"passes"} if given.options.get("recipe") is None else {"passes", "epochs"}
        return {name: value for name, value in scores.meta.items() if name in names}

    @cached_property
    def at_hand(self) -> Scores | None:
        """The given scores, or those that the set carries if the rule would make the same, else None.

        Raises:
            ValueError: they are of another score or set, or were made with other options than the caller's.
        """
        given = self.given
        if self.anew or "scores" not in self.rule.needs or (given.evidence is not None and given.scores is None):
            return None
        found = given.scores or carried(self.data)
        if found is None or (given.scores is None and not self._takes(found)):
            return None
        if given.scores is not None:
            found.check(self.data)
        self._check_scores(found)
        return found

    def _takes(self, found: Scores) -> bool:
        """Whether scores that the set carries are those that the rule would make."""
        rule, given = self.rule, self.given
        name = self.named_score[0] if rule.faithful else given.score or rule.score
        published = rule.score is not None or rule.faithful
        if published and given.mode == "paper" and carried_mode(self.data) == "repo":
            return False
        return name in (None, found.name) and all(found.meta[k] == v for k, v in self._settings_of(found).items())

    def _check_scores(self, found: Scores) -> None:
        rule, given = self.rule, self.given
        if rule.score and found.name != rule.score:
            raise ValueError(f"rule {self.name}: ranks by {rule.score}, got scores of {found.name}")
        name = given.score or rule.score
        if name not in (None, found.name):
            raise ValueError(f"rule {self.name}: asked for the score {name}, got scores of {found.name}")
        trains = set(rule.needs) != {"scores"} or rule.dropped_by is not None
        options = {"features": given.features_for(found.name), **self._settings_of(found), **given.options}
        if found.name in PROBES or (found.name == self.ranking.name and self.ranking.at_end):
            options["passes"] = None  # of a training whose dynamics are read beside them
        check_same(found, options, trains)

    def _settings_of(self, found: Scores) -> dict[str, Any]:
        """The rule's settings for this score, as far as the scores say how they were made."""
        usual, settings = self.named_score
        return {k: v for k, v in settings.items() if found.name == usual and k in found.meta}

    @cached_property
    def features(self) -> Tensor | None:
        """The given features, as numbers."""
        return None if self.given.features is None else given_features(self.data, self.given.features)

    @cached_property
    def dropping(self) -> Asked | None:
        """The score by which samples are left out, if it is not the ranking one."""
        rule, ranking = self.rule, self.ranking
        if rule.dropped_by is None or rule.dropped_by == (self.at_hand or ranking).name:
            return None
        return ask(rule.dropped_by, self.data, replace(ranking.training, recipe=ranking.recipe), {}, whole=True)

    @cached_property
    def lacks(self) -> frozenset[str]:
        """What a training must provide: some of "dynamics" and "snapshot"."""
        needs, ranking, dropping = self.rule.needs, self.ranking, self.dropping
        lacks: set[str] = set() if dropping is None else {dropping.reads}
        if "scores" in needs and self.at_hand is None and (self.features is None or ranking.name not in FROM_FEATURES):
            lacks.add(ranking.reads)
        if "confidence" in needs:
            lacks.add("dynamics")
        if "errors" in needs or ("features" in needs and self.features is None):
            lacks.add("snapshot")
        return frozenset(lacks)

    @property
    def _watching(self) -> list[Asked]:
        """The scores that read dynamics."""
        return [each for each in (self.ranking, self.dropping) if each is not None and each.reads == "dynamics"]

    @property
    def since(self) -> int:
        """The first epoch, from 0, whose dynamics are read."""
        if "confidence" in self.rule.needs:
            return 0
        return min((each.since for each in self._watching), default=0)

    @property
    def until(self) -> int | None:
        """How many epochs have their dynamics read; None if any may be, or if that number decides the recipe."""
        scores = self._watching
        own = any(":" in each.name for each in scores)
        if own or isinstance(self.data, Source) or "confidence" in self.rule.needs:
            return None
        epochs: list[Any] = [each.options.get("epochs") for each in scores]
        return None if None in epochs else max(epochs, default=None)

    def _refuse_unread(self) -> None:
        """Refuse inputs that nothing would read."""
        name, needs, given = self.name, self.rule.needs, self.given
        if given.scores is not None and "scores" not in needs:
            raise ValueError(f"rule {name}: does not use scores, got some")
        if given.score is not None and {"scores", "confidence"}.isdisjoint(needs):
            raise ValueError(f"rule {name}: does not use scores, got the score {given.score}")
        scored = "scores" in needs and self.ranking_score[0] in FROM_FEATURES
        if given.features is not None and "features" not in needs and not scored:
            raise ValueError(f"rule {name}: does not use features, got some")
        if given.reference is not None and given.evidence is not None:
            raise ValueError("reference: cannot be used with evidence, got both; pass it to yoco.prune.observe instead")

    def _refuse_unreadable(self) -> None:
        """Refuse inputs that the rule cannot read."""
        name, rule, given, ranking = self.name, self.rule, self.given, self.ranking
        if not rule.signed and given.scores is None and ranking.name in SIGNED:
            raise ValueError(f"rule {name}: needs scores of at least 0, got {ranking.name}, which can be negative")
        if given.options.get("passes") == "train" and not self.watches:
            raise ValueError(f"rule {name}: passes must be clean, as it reads networks only after training, got train")
        runs = ranking.training.runs if given.evidence is None else len(given.evidence)
        if "errors" in rule.needs and runs > 1:
            raise ValueError(f"rule {name}: reads the gradients of one network, got {runs} runs")

    def _refuse_beside_nothing(self) -> None:
        """Check a rule that reads labels alone: evidence and options of scores, read by other rules, may be given."""
        self._refuse_unread()
        rule, given = self.rule, self.given
        usual = signature_of(resolve("score", ALL_SCORES, rule.usual)).parameters
        known = {*options_of_rule(rule), *(f.name for f in fields(Training)), *list(usual)[1:]}
        for option in split(given.options)[1]:
            if option not in known:
                raise unknown(f"option of rule {self.name}", option, known)
        if given.evidence is not None:
            checked(self.data, given.evidence, {**given.options, "passes": None})
