"""Sampling by score: a window around a quantile, strata of the score range, and Beta weights."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import floor, isfinite
from typing import Any, ClassVar

import torch
from torch import Tensor

from yoco.prune.budget import Budget, decimal
from yoco.prune.kinds import same_kind
from yoco.prune.rules import Items, Rule, need
from yoco.rng import Rng

CCS_BETA: dict[tuple[str, int, int], float] = {
    ("cifar10", 10, 1): 0.3,
    ("cifar10", 10, 2): 0.1,
    ("cifar10", 10, 5): 0.0,
    ("cifar10", 50, 1): 0.3,
    ("cifar10", 50, 2): 0.3,
    ("cifar10", 50, 5): 0.3,
    ("cifar10", 50, 10): 0.1,
    ("cifar100", 10, 1): 0.5,
    ("cifar100", 10, 2): 0.4,
    ("cifar100", 10, 5): 0.2,
    ("cifar100", 20, 1): 0.5,
    ("cifar100", 20, 2): 0.5,
    ("cifar100", 20, 5): 0.3,
    ("cifar100", 50, 1): 0.5,
    ("cifar100", 50, 2): 0.5,
    ("cifar100", 50, 5): 0.5,
    ("cifar100", 50, 10): 0.3,
    ("imagenet-10", 10, 1): 0.3,
    ("imagenet-10", 10, 2): 0.2,
    ("imagenet-10", 10, 5): 0.1,
    ("imagenet-10", 20, 1): 0.3,
    ("imagenet-10", 20, 2): 0.3,
    ("imagenet-10", 20, 5): 0.2,
}
"""(data, images per class, images per class kept) -> beta of YOCO's code for CCS on condensed sets."""

CCS_PAPER_BETA: dict[tuple[str, int], float] = {
    ("cifar10", 90): 0.3,
    ("imagenet", 80): 0.2,
    ("imagenet", 90): 0.3,
}
"""(data, percent of the samples that go) -> beta, as far as CCS's own instructions say."""


@dataclass(frozen=True, kw_only=True)
class Window(Rule):
    """The samples whose rank is nearest to a quantile of the scores, as Moderate's code has it with distances.

    centre: the quantile, 0 the easiest, 1 the hardest sample. Equal scores are ranked by place; of two ranks equally
    near the easier comes first. The centre does not depend on how many are kept, so answers are nested.

    Raises:
        ValueError: centre is not in 0..1.
    """

    nested: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("scores",)
    centre: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.centre <= 1:
            raise ValueError(f"window: centre must be in 0..1, got {self.centre:g}")

    def __call__(self, items: Items, budget: Budget, rng: Rng) -> Tensor:
        """Ranks by their distance from centre * (n - 1)."""
        order = torch.argsort(need(items, "scores", "window"), stable=True)
        exact = decimal(self.centre) * (len(order) - 1)
        rest = exact - floor(exact)
        quarter = 0 if rest == 0 else 1 if rest <= Fraction(1, 2) else 3
        distance = (4 * torch.arange(len(order)) - 4 * floor(exact) - quarter).abs()
        return order[torch.argsort(distance, stable=True)[: budget.total(len(order), items.classes)]]


@dataclass(frozen=True, kw_only=True)
class Stratified(Rule):
    """Coverage-centric selection (Zheng et al., CCS, ICLR 2023, algorithm 1).

    1. Drop the floor(beta * n) hardest samples. 2. Cut the range of the remaining scores into `strata` of equal width.
    3. Visit these from the smallest to the largest; each gives min(its size, remaining // remaining strata).
    4. Draw inside: at random, or with `fixed` the hardest, as YOCO's code does.

    Step 3 is written as turns: every stratum gives one sample, the largest first, then every stratum its second, until
    there are enough. The counts are the same, and for one seed and beta the answers are nested; the paper's beta grows
    with the pruned share.
    beta: None looks it up by data and size: for condensed sets in YOCO's code (`CCS_BETA`), for whole data in CCS's
    own instructions (`CCS_PAPER_BETA`); 0 where these have none.
    drop: the score by which step 1 drops; by default that of the strata. CCS's code always drops by the accumulated
    margin (score "margin"), whatever score makes the strata.

    Raises:
        ValueError: beta is not in [0, 1), or strata is below 1; when called, beta leaves too few.
    """

    nested: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("scores",)
    usual: str = "aum"
    beta: float | None = 0.0
    strata: int = 50
    fixed: bool = False
    drop: str | None = None

    def __post_init__(self) -> None:
        same_kind("stratified", "beta", self.beta or 0.0, 0.0)
        if self.beta is not None and not 0 <= self.beta < 1:
            raise ValueError(f"stratified: beta must be in [0, 1), got {self.beta:g}")
        if self.strata < 1:
            raise ValueError(f"stratified: strata must be at least 1, got {self.strata}")

    def __call__(self, items: Items, budget: Budget, rng: Rng) -> Tensor:
        """The strata in turns."""
        scores = need(items, "scores", "stratified").double()
        total = budget.total(len(scores), items.classes)
        doubts = scores if self.drop is None else need(items, "doubts", "stratified")
        pool = torch.argsort(doubts, stable=True)[: self.left(len(scores), total)]
        hardest = torch.argsort(scores[pool], descending=True, stable=True)
        pool = pool[hardest if self.fixed else rng.choice(len(pool), len(pool))]
        stratum = strata_of(scores[pool], self.strata)
        sizes = torch.bincount(stratum, minlength=self.strata)
        largest_first = torch.argsort(torch.argsort(sizes, stable=True).flip(0))
        turn = turn_in(stratum, sizes)
        return pool[torch.argsort(turn * self.strata + largest_first[stratum])[:total]]

    @property
    def dropped_by(self) -> str | None:
        """`drop`."""
        return self.drop

    def published(self, data: str, condensed: bool, had: Fraction, kept: Fraction) -> "Stratified":
        """With beta out of its table, where it is None.

        For whole data a pruned share within 0.01 percentage points of a whole percentage counts as that one, since no
        share of ImageNet's 1,281,167 images is one exactly.
        """
        share = 100 * (1 - kept / had)
        near = round(share) if abs(share - round(share)) < Fraction(1, 100) else share
        gone: Any = (data, had, kept) if condensed else (data, near)
        table: Mapping[Any, float] = CCS_BETA if condensed else CCS_PAPER_BETA
        return self if self.beta is not None else replace(self, beta=table.get(gone, 0.0))

    def left(self, n: int, total: int) -> int:
        """How many samples the drop leaves."""
        beta = self.beta or 0.0
        left = n - floor(decimal(beta) * n)
        if left < total:
            most = floor(Fraction(n - total, n) * 10**6) / 10**6
            got = f"{beta:g}, which leaves {left}"
            raise ValueError(f"stratified: beta must be at most {most:g} to keep {total} of {n}, got {got}")
        return left


def strata_of(scores: Tensor, count: int) -> Tensor:
    """The stratum of each score: long [n] in 0..count-1, equal widths, each with its lower edge, the last with both.

    scores: float64 [n]; if they are all equal, all are in stratum 0.
    """
    low, high = scores.min(), scores.max()
    if low == high:
        return torch.zeros(len(scores), dtype=torch.long)
    return ((scores - low) * count / (high - low)).long().clamp(max=count - 1)


def turn_in(groups: Tensor, sizes: Tensor) -> Tensor:
    """How many of its own group stand before each element: long [n]."""
    order = torch.argsort(groups, stable=True)
    starts = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    return torch.empty_like(order).scatter(0, order, torch.arange(len(order)) - starts)


@dataclass(frozen=True, kw_only=True)
class BetaSampling(Rule):
    """Draws without replacement, by score times a Beta density of the mean probability of the label (DUAL, ICML 2025).

    The density has b = 15 (1 - anchor) (1 - gone^c_d) and a = 16 - b, where gone is the pruned share of the samples
    and anchor the mean confidence of the `anchors` samples of highest score. At a small budget it favours samples of
    higher confidence. DUAL takes c_d = 4 for CIFAR-100, and its code 10 anchors.

    Each sample gets an independent exponential time divided by its weight; the smallest are kept, in their order. This
    is sampling one after another in proportion to the weights. Samples of weight 0 come after all others, in random
    order, so that the total is always met. The density changes with the budget, hence answers are not nested.
    Confidence is capped at 1 - 2^-24, since the density for b < 1 is unbounded at 1.

    Raises:
        ValueError: c_d is not above 0, or anchors is below 1; when called, a score is negative.
    """

    needs: ClassVar[tuple[str, ...]] = ("scores", "confidence")
    signed: ClassVar[bool] = False
    usual: str = "dual"
    c_d: float = 4.0
    anchors: int = 10

    def __post_init__(self) -> None:
        if not (self.c_d > 0 and isfinite(self.c_d)):
            raise ValueError(f"beta: c_d must be above 0, got {self.c_d:g}")
        if self.anchors < 1:
            raise ValueError(f"beta: anchors must be at least 1, got {self.anchors}")

    def __call__(self, items: Items, budget: Budget, rng: Rng) -> Tensor:
        """The order of arrival."""
        scores = need(items, "scores", "beta").double()
        confidence = need(items, "confidence", "beta").double()
        self.check(scores)
        n = len(scores)
        total = budget.total(n, items.classes)
        a, b = self.shape(scores, confidence, 1 - total / n)
        sure = confidence.clamp(max=1 - 2**-24)
        log_weight = scores.log() + torch.xlogy(torch.tensor(a - 1), sure) + (b - 1) * torch.log1p(-sure)
        noise = torch.empty(n, dtype=torch.float64).exponential_(generator=rng.generator()).log()
        by_noise = torch.argsort(noise, stable=True)
        return by_noise[torch.argsort((noise - log_weight)[by_noise], stable=True)[:total]]

    def check(self, scores: Tensor) -> None:
        """They are weights."""
        if bool((scores < 0).any()):
            raise ValueError(f"beta: scores must be at least 0, got {float(scores.min()):g}")

    def shape(self, scores: Tensor, confidence: Tensor, gone: float) -> tuple[float, float]:
        """a and b of the Beta density."""
        anchors = torch.argsort(scores, descending=True, stable=True)[: self.anchors]
        b = 15 * (1 - float(confidence[anchors].mean())) * (1 - gone**self.c_d)
        return 16 - b, b
