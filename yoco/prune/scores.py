"""Scores of training dynamics: Dynamics -> float32 [n], larger = harder, always.

A score is a function of the dynamics and of keyword options with defaults. Its option `epochs` says how many of the
first epochs it reads: a number where its paper has one, None for all that were recorded. Where a paper's score is
larger for easier samples, it is reversed here; each function says so. Sums run epoch by epoch in float64, so that a
mapped file is never in memory as a whole.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any, Literal

import torch
from torch import Tensor

from yoco.prune.dynamics import Dynamics

Score = Callable[..., Tensor]

SCORES: dict[str, str] = {
    "lbpe": "yoco.prune.scores:lbpe",
    "el2n": "yoco.prune.scores:el2n",
    "forgetting": "yoco.prune.scores:forgetting",
    "aum": "yoco.prune.scores:aum",
    "margin": "yoco.prune.scores:margin",
    "correctness": "yoco.prune.scores:correctness",
    "confidence": "yoco.prune.scores:confidence",
    "variability": "yoco.prune.scores:variability",
    "loss": "yoco.prune.scores:loss",
    "dyn-unc": "yoco.prune.windows:dyn_unc",
    "dual": "yoco.prune.windows:dual",
    "tdds": "yoco.prune.windows:tdds",
}
"""name -> function(dynamics, *, options)."""

LBPE_SETTINGS: dict[tuple[str, str], tuple[int, int]] = {
    ("idc", "cifar10"): (100, 10),
    ("idc", "cifar100"): (200, 10),
    ("idc", "imagenet-10"): (200, 10),
    ("dream", "cifar10"): (200, 10),
    ("mtt", "cifar10"): (10, 3),
    ("kip", "cifar10"): (50, 3),
    ("dsa", "cifar10"): (100, 3),
}
"""(method, data) -> (epochs, top) of YOCO's code; for all others the defaults of `lbpe`."""

How = Literal["last", "mean", "sum"]
NeverLearned = Literal["max", "zero", "inf"]


def lbpe(
    dynamics: Dynamics, *, epochs: int = 100, top: int = 10, by: Literal["accuracy", "loss"] = "accuracy"
) -> Tensor:
    """Logit-based prediction error: the error norm, summed over the best of the first epochs (YOCO, NeurIPS 2023).

    epochs: how many of the first epochs are considered. top: how many of these are summed: the ones of highest
    accuracy, or lowest mean loss, on the recorded samples; ties go to the earlier epoch. The paper's own direction.
    Data other than condensed sets are trained for ten epochs, unless `epochs` says more, and all ten are summed; set
    `top` to sum the best of them alone, such as the 3 of ten in YOCO's code for sets of MTT.

    Raises:
        ValueError: fewer epochs were recorded, top is not in 1..epochs, or an unknown word for `by`.
    """
    enough("lbpe", dynamics, epochs)
    if not 1 <= top <= epochs:
        raise ValueError(f"lbpe: top must be in 1..epochs = 1..{epochs}, got {top}")
    one_of("lbpe", "by", by, ("accuracy", "loss"))
    merit = dynamics.hits if by == "accuracy" else -dynamics.loss
    best = torch.argsort(merit[:epochs], descending=True, stable=True)[:top]
    return dynamics.error[best.sort().values].double().sum(0).float()


def el2n(dynamics: Dynamics, *, epochs: int = 20, how: How = "last") -> Tensor:
    """Error norm early in training (EL2N, Paul et al., NeurIPS 2021).

    how: "last" takes epoch number epochs - 1 alone, as the paper, which averages it over about ten runs; "mean" and
    "sum" take all of the first `epochs`: YOCO's and CCS's code is epochs=10, how="sum", one run.
    The paper's own direction. For data other than condensed sets, without a recipe, `epochs` (by default ten) is also
    the length of the schedule, so that "last" is its last epoch.

    Raises:
        ValueError: fewer epochs were recorded, or an unknown word for `how`.
    """
    epochs = enough("el2n", dynamics, epochs, last=how == "last")
    one_of("el2n", "how", how, ("last", "mean", "sum"))
    if how == "last":
        return dynamics.error[epochs - 1 - dynamics.since].float().clone()
    found = total(dynamics.error[:epochs])
    return (found / epochs if how == "mean" else found).float()


def forgetting(dynamics: Dynamics, *, epochs: int | None = None, never_learned: NeverLearned = "max") -> Tensor:
    """How often a sample was forgotten: right in one epoch, wrong in the next (Toneva et al., ICLR 2019).

    Before the first epoch no sample counts as right. never_learned: the value of a sample that was never right. "max":
    the number of epochs, above all learned samples, as in the authors' code; "zero": as if it was never forgotten, as
    in YOCO's and CCS's code; "inf": torch.inf, which stays inf in a mean over runs. The paper's own direction.

    Raises:
        ValueError: fewer epochs were recorded, or an unknown word for `never_learned`.
    """
    epochs = enough("forgetting", dynamics, epochs)
    before, learned = torch.zeros(2, len(dynamics), dtype=torch.bool, device=dynamics.correct.device)
    events = torch.zeros(len(dynamics), device=dynamics.correct.device)
    for correct in dynamics.correct[:epochs]:
        events += before & ~correct
        learned = learned | correct
        before = correct
    return torch.where(learned, events, unlearned(never_learned, epochs))


def aum(dynamics: Dynamics, *, epochs: int | None = None) -> Tensor:
    """Minus the area under the margin, the mean margin of logits (AUM, Pleiss et al., NeurIPS 2020).

    The paper's area is small for hard and mislabelled samples; it is negated here.

    Raises:
        ValueError: fewer epochs were recorded.
    """
    epochs = enough("aum", dynamics, epochs)
    return (-total(dynamics.logit_margin[:epochs]) / epochs).float()


def margin(dynamics: Dynamics, *, epochs: int | None = None) -> Tensor:
    """Minus the accumulated margin, a sum over epochs of margins of probabilities (CCS, Zheng et al., ICLR 2023).

    CCS's and YOCO's codes, which call it AUM, take small sums as hard; it is negated here.

    Raises:
        ValueError: fewer epochs were recorded.
    """
    return -total(dynamics.margin[: enough("margin", dynamics, epochs)]).float()


def correctness(dynamics: Dynamics, *, epochs: int | None = None) -> Tensor:
    """Share of the epochs in which a sample was wrong (data maps, Swayamdipta et al., EMNLP 2020).

    The paper's correctness is the share in which it was right, large = easy: this is 1 minus that.

    Raises:
        ValueError: fewer epochs were recorded.
    """
    epochs = enough("correctness", dynamics, epochs)
    return (1 - total(dynamics.correct[:epochs]) / epochs).float()


def confidence(dynamics: Dynamics, *, epochs: int | None = None) -> Tensor:
    """Mean over epochs of 1 - p_y, the probability that the label is not given (data maps, Swayamdipta et al.).

    The paper's confidence is the mean of p_y, large = easy: this is 1 minus that, without loss where p_y is near 1.

    Raises:
        ValueError: fewer epochs were recorded.
    """
    epochs = enough("confidence", dynamics, epochs)
    return (total(map(doubt, dynamics.log_p[:epochs])) / epochs).float()


def variability(dynamics: Dynamics, *, epochs: int | None = None) -> Tensor:
    """Standard deviation over epochs of the label's probability (data maps, Swayamdipta et al., EMNLP 2020).

    That of the population: squares divided by the epochs, as in the paper. The paper's own direction: large is
    ambiguous, small is either easy or hopeless.

    Raises:
        ValueError: fewer epochs were recorded.
    """
    epochs = enough("variability", dynamics, epochs)
    mean = total(map(doubt, dynamics.log_p[:epochs])) / epochs
    squares = total((doubt(row) - mean).square() for row in dynamics.log_p[:epochs])
    return (squares / epochs).sqrt().float()


def loss(dynamics: Dynamics, *, epochs: int | None = None) -> Tensor:
    """Mean cross-entropy loss of a sample over the epochs, -log p_y (small-loss selection, large = hard).

    Raises:
        ValueError: fewer epochs were recorded.
    """
    epochs = enough("loss", dynamics, epochs)
    return (-total(dynamics.log_p[:epochs]) / epochs).float()


def mean_confidence(dynamics: Dynamics, epochs: int | None = None) -> Tensor:
    """Mean over the first epochs of p_y: float32 [n] in [0, 1], large = easy. No score: DUAL samples by it.

    Raises:
        ValueError: fewer epochs were recorded.
    """
    epochs = enough("confidence", dynamics, epochs)
    return (1 - total(map(doubt, dynamics.log_p[:epochs])) / epochs).float()


def doubt(log_p: Tensor) -> Tensor:
    """1 - p in float64 from log p, without loss where p is near 1."""
    return -torch.expm1(log_p.double())


def unlearned(never_learned: NeverLearned, epochs: int) -> Tensor:
    """The forgetting score of a sample that was right in none of these epochs: float32 [].

    Raises:
        ValueError: an unknown word.
    """
    one_of("forgetting", "never_learned", never_learned, ("max", "zero", "inf"))
    return torch.tensor({"max": float(epochs), "zero": 0.0, "inf": torch.inf}[never_learned], device="cpu")


def one_of(name: str, option: str, value: str, words: Sequence[str]) -> None:
    """Check a word.

    Raises:
        ValueError: it is none of these.
    """
    if value not in words:
        raise ValueError(f"{name}: {option} must be {', '.join(words[:-1])} or {words[-1]}, got {value!r}")


def unread(name: str, options: Mapping[str, Any]) -> int:
    """How many of the first epochs a score does not read, by its name and all its options."""
    last = name == "el2n" and options["how"] == "last" and options["epochs"] is not None
    return int(options["epochs"]) - 1 if last else 0


def enough(name: str, dynamics: Dynamics | int, epochs: int | None, *, last: bool = False) -> int:
    """Check that enough epochs were recorded, and answer how many the score reads: `epochs`, or all if it is None.

    dynamics: or the number of recorded epochs. last: the score reads the last epoch alone, so that those before it need
    not be recorded.

    Raises:
        ValueError: fewer were recorded, the first that the score reads was not, or epochs is no number of epochs.
    """
    countable(name, epochs)
    since, recorded = (0, dynamics) if isinstance(dynamics, int) else (dynamics.since, dynamics.since + dynamics.epochs)
    if epochs is not None and recorded < epochs:
        raise ValueError(f"{name}: needs the dynamics of {epochs} epochs, got {recorded}")
    wanted = recorded if epochs is None else epochs
    if since > (first := wanted - 1 if last else 0):
        raise ValueError(f"{name}: needs the dynamics of epoch {first}, counted from 0, got those from {since} on")
    return wanted


def countable(name: str, epochs: int | None) -> None:
    """Check a number of epochs.

    Raises:
        ValueError: it is neither a whole number of at least 1 nor None.
    """
    if epochs is not None and (not isinstance(epochs, Integral) or isinstance(epochs, bool) or epochs < 1):
        raise ValueError(f"{name}: epochs must be a whole number of at least 1, got {epochs!r}")


def total(rows: Iterable[Tensor]) -> Tensor:
    """Sum of rows [n], one after the other: float64 [n]."""
    found = torch.zeros((), dtype=torch.float64, device="cpu")  # which joins rows of any device
    for row in rows:
        found = found + row.double()
    return found
