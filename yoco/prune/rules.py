"""Rules: which samples to keep. A rule answers with indices, best first, exactly as many as the budget says."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from yoco.prune.budget import Budget, equal_quotas
from yoco.registry import resolve
from yoco.rng import Rng

RULES: dict[str, str] = {
    "yoco": "yoco.prune.rules:yoco",
    "easy": "yoco.prune.rules:easiest",
    "hard": "yoco.prune.rules:hardest",
    "random": "yoco.prune.rules:random_order",
    "easy-balanced": "yoco.prune.rules:easiest_balanced",
    "hard-balanced": "yoco.prune.rules:hardest_balanced",
    "random-balanced": "yoco.prune.rules:random_balanced",
}
"""name -> a Rule, or a class that makes one without arguments."""


class Items(NamedTuple):
    """What a rule chooses from. scores: float [n], larger = harder, or None; labels: long [n]; classes: how many."""

    scores: Tensor | None
    labels: Tensor
    classes: int


class Rule(Protocol):
    """How to choose.

    nested: the first k of a larger answer are the answer to k.
    scored: it reads scores. score: the only score that it takes, or None for any.
    """

    @property
    def nested(self) -> bool:
        """Whether smaller answers are beginnings of larger ones."""

    @property
    def scored(self) -> bool:
        """Whether scores are needed."""

    @property
    def score(self) -> str | None:
        """The name of the score that belongs to the rule."""

    def __call__(self, items: Items, budget: Budget, rng: Rng) -> Tensor:
        """Distinct indices, long [budget.total], best first."""


@dataclass(frozen=True)
class ByScore:
    """The samples of lowest score, or of highest; of equal scores the one that comes first."""

    hard: bool = False
    nested: bool = True
    scored: bool = True
    score: str | None = None

    def __call__(self, items: Items, budget: Budget, rng: Rng) -> Tensor:
        """All of them compared with each other, whatever their class."""
        if items.scores is None:
            raise ValueError(f"{'hard' if self.hard else 'easy'}: needs scores, got none")
        order = torch.argsort(items.scores.cpu(), descending=self.hard, stable=True)
        return order[: budget.total(len(items.labels), items.classes)]


@dataclass(frozen=True)
class AtRandom:
    """A uniform choice without replacement."""

    nested: bool = True
    scored: bool = False
    score: str | None = None

    def __call__(self, items: Items, budget: Budget, rng: Rng) -> Tensor:
        """The beginning of one random order of all samples."""
        return rng.choice(len(items.labels), budget.total(len(items.labels), items.classes))


@dataclass(frozen=True)
class Balanced:
    """A rule for each class by itself, with equal quotas.

    A class that has less than its quota gives all, and the others fill up, so that the total is always met. The answer
    takes turns: the best of every class, by class id, then the second best of every class, and so on.
    """

    rule: Rule
    score: str | None = None

    @property
    def nested(self) -> bool:
        """Quotas never fall when the budget grows, so this depends on the rule alone."""
        return self.rule.nested

    @property
    def scored(self) -> bool:
        """As the rule inside."""
        return self.rule.scored

    def __call__(self, items: Items, budget: Budget, rng: Rng) -> Tensor:
        """Classes by quota."""
        labels = items.labels.cpu()
        members = [torch.nonzero(labels == c).flatten() for c in range(items.classes)]
        quotas = equal_quotas([len(m) for m in members], budget.total(len(labels), items.classes))
        chosen, turns = [], []
        for c, quota in enumerate(quotas):
            if quota:
                mine = members[c]
                scores = None if items.scores is None else items.scores.cpu()[mine]
                inside = Items(scores, labels[mine], items.classes)
                chosen.append(mine[self.rule(inside, Budget(n=quota), rng.child("class", c))])
                turns.append(torch.arange(quota))
        return torch.cat(chosen)[torch.argsort(torch.cat(turns), stable=True)]


easiest, hardest, random_order = ByScore(), ByScore(hard=True), AtRandom()
easiest_balanced, hardest_balanced, random_balanced = Balanced(easiest), Balanced(hardest), Balanced(random_order)
yoco = Balanced(easiest, score="lbpe")
"""The two rules of YOCO (NeurIPS 2023): low LBPE first, and the same number of every class."""


def balanced(rule: Rule) -> Balanced:
    """The rule for each class by itself, with equal quotas."""
    return Balanced(rule, rule.score)


def find(name: str) -> Rule:
    """The rule of this name, or behind `module:Name`.

    Raises:
        ValueError: there is none.
    """
    found: Any = resolve("rule", RULES, name)
    rule: Rule = found() if isinstance(found, type) else found
    return rule
