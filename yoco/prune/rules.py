"""Rules: which samples to keep. A rule answers with indices, best first, exactly as many as the budget says."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from yoco.prune.budget import Budget
from yoco.prune.kinds import check_kept, same_kind, worded
from yoco.registry import unknown
from yoco.rng import Rng


class Items(NamedTuple):
    """What a rule chooses from; a part that was not made is None.

    scores: float [n], larger = harder; labels: long [n] in 0..classes-1; features: float32 [n, D];
    doubts: float [n], larger = dropped earlier: another score by which the hardest are left out;
    errors: float32 [n, C], probabilities minus target: the gradient of the loss in the logits;
    confidence: float [n] in [0, 1], the mean probability of the label over the epochs;
    reference: features float32 [m, D] and labels long [m] of other images, which the kept samples shall represent.
    """

    scores: Tensor | None
    labels: Tensor
    classes: int
    features: Tensor | None = None
    errors: Tensor | None = None
    confidence: Tensor | None = None
    reference: tuple[Tensor, Tensor] | None = None
    doubts: Tensor | None = None

    def of(self, members: Tensor) -> "Items":
        """These samples alone."""
        rows: dict[str, Any] = {name: part[members] for name in NEEDS if (part := getattr(self, name)) is not None}
        return self._replace(labels=self.labels[members], **rows)


NEEDS = ("scores", "features", "errors", "confidence", "doubts")


class Choice(NamedTuple):
    """An answer. indices: long [total], distinct, best first; weights: float32 [total], at least 0, or None."""

    indices: Tensor
    weights: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Rule(ABC):
    """How to choose; the fields of a subclass are its options.

    nested: the first k samples of a larger answer are the answer for k. needs: which parts of `Items` it reads;
    refers: whether it also reads the references; signed: whether scores may be below 0.
    score: the only score that it takes, or None for any; usual: the score that is made when none is named;
    faithful: it follows its paper, so that carried scores of another name do not replace the usual one;
    settings: options of that score; quota: the default quota, as in its paper, see `quotas`.
    """

    nested: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ()
    refers: ClassVar[bool] = False
    signed: ClassVar[bool] = True
    score: str | None = None
    usual: str = "lbpe"
    faithful: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    quota: str = "none"

    def check(self, scores: Tensor) -> None:
        """Check that the rule can choose by these scores [n].

        Raises:
            ValueError: it cannot.
        """
        return

    @property
    def dropped_by(self) -> str | None:
        """The score of `Items.doubts`, if the rule leaves out samples by another score than it ranks by."""
        return None

    def published(self, data: str, condensed: bool, had: Fraction, kept: Fraction) -> "Rule":
        """The rule with its open options set as in its paper for these data and sizes.

        data: the name; condensed: whether it is a condensed set; had, kept: images per class, before and after.
        """
        return self

    def left(self, n: int, total: int) -> int:
        """How many of n samples remain to choose `total` from, once the rule has left some out.

        Raises:
            ValueError: fewer than `total` remain.
        """
        return n

    @abstractmethod
    def __call__(self, items: Items, budget: Budget, rng: Rng) -> Tensor | Choice:
        """Distinct indices, long [budget.total], best first; with weights where the method has them."""


@dataclass(frozen=True, kw_only=True)
class ByScore(Rule):
    """The samples of lowest score, or of highest; of equal scores the one that comes first."""

    nested: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("scores",)
    prefer: Literal["easy", "hard"] = "easy"

    def __post_init__(self) -> None:
        if self.prefer not in ("easy", "hard"):
            raise ValueError(f"rule: prefer must be easy or hard, got {self.prefer!r}")

    def __call__(self, items: Items, budget: Budget, rng: Rng) -> Tensor:
        """All of them compared with each other."""
        order = torch.argsort(need(items, "scores", self.prefer), descending=self.prefer == "hard", stable=True)
        return order[: budget.total(len(items.labels), items.classes)]


@dataclass(frozen=True, kw_only=True)
class AtRandom(Rule):
    """A uniform choice without replacement."""

    nested: ClassVar[bool] = True

    def __call__(self, items: Items, budget: Budget, rng: Rng) -> Tensor:
        """The beginning of one random order of all samples."""
        return rng.choice(len(items.labels), budget.total(len(items.labels), items.classes))


@dataclass(frozen=True, kw_only=True)
class InOrder(Rule):
    """The first samples in the set's own order, for sets whose prefixes serve as smaller sets (MDC, ICLR 2024).

    `select` sorts a condensed set by class, so that under the quota none the first class comes first.
    """

    nested: ClassVar[bool] = True

    def __call__(self, items: Items, budget: Budget, rng: Rng) -> Tensor:
        """The beginning."""
        return torch.arange(budget.total(len(items.labels), items.classes))


def need(items: Items, part: str, rule: str) -> Tensor:
    """A part that the rule cannot do without, on the CPU.

    Raises:
        ValueError: it is not there.
    """
    found: Tensor | None = getattr(items, part)
    if found is None:
        raise ValueError(f"{rule}: needs {part}, got none")
    return found.detach().cpu()


def options_of_rule(rule: Rule) -> dict[str, Any]:
    """The options of a rule and their values: all fields but those that every rule has."""
    common = {f.name for f in fields(Rule)}
    return {f.name: getattr(rule, f.name) for f in fields(rule) if f.name not in common}


def with_options(name: str, rule: Rule, options: Mapping[str, Any]) -> Rule:
    """The same rule with other options; paths among them become words.

    Raises:
        ValueError: it has no such option, or not this value, or no file can hold it.
    """
    known, options = options_of_rule(rule), worded(options)
    for option, value in options.items():
        if option not in known:
            raise unknown(f"option of rule {name}", option, known)
        same_kind(f"rule {name}", option, value, known[option])
    check_kept("rule", name, options)
    return replace(rule, **options)
