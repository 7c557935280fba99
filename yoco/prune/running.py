"""Running: scores that add up while a network trains, so that no epoch is kept."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from yoco.prune.recorder import Repeats, Visits
from yoco.prune.scores import SCORES, countable, doubt, enough, one_of, unlearned
from yoco.registry import resolve, unknown

Row = Mapping[str, Tensor]


class Tally:
    """What a score has of the epochs so far: how many, their sum, float64 [n], and the last one."""

    def __init__(self, n: int) -> None:
        self.epochs = 0
        self.sum = torch.zeros(n, dtype=torch.float64, device="cpu")
        self.last = torch.zeros(n, dtype=torch.float64, device="cpu")

    def add(self, row: Tensor) -> None:
        """One more epoch: a number of each sample, [n]."""
        self.epochs += 1
        self.last = row.double()
        self.sum += self.last


class Spread(Tally):
    """Also the squares of the differences from the mean: float64 [n] (Welford, Technometrics 1962)."""

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self.squares = torch.zeros(n, dtype=torch.float64, device="cpu")

    def add(self, row: Tensor) -> None:
        """One more epoch."""
        before = self.sum / max(self.epochs, 1)
        super().add(row)
        self.squares += (self.last - before) * (self.last - self.sum / self.epochs)


class Falls(Tally):
    """Also how often a one was followed by a zero: float64 [n]."""

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self.falls = torch.zeros(n, dtype=torch.float64, device="cpu")

    def add(self, row: Tensor) -> None:
        """One more epoch."""
        self.falls += (self.last > row.double()).double()
        super().add(row)


def _el2n(tally: Tally, how: str) -> Tensor:
    one_of("el2n", "how", how, ("last", "mean", "sum"))
    return {"last": tally.last, "mean": tally.sum / tally.epochs, "sum": tally.sum}[how]


def _forgetting(tally: Falls, never_learned: Any) -> Tensor:
    return torch.where(tally.sum > 0, tally.falls, unlearned(never_learned, tally.epochs).double())


RUNNING: dict[str, tuple[type[Tally], Callable[[Row], Tensor], Callable[..., Tensor]]] = {
    "el2n": (Tally, lambda row: row["error"], _el2n),
    "forgetting": (Falls, lambda row: row["correct"], _forgetting),
    "aum": (Tally, lambda row: row["logit_margin"], lambda tally: -tally.sum / tally.epochs),
    "margin": (Tally, lambda row: row["margin"], lambda tally: -tally.sum),
    "correctness": (Tally, lambda row: row["correct"], lambda tally: 1 - tally.sum / tally.epochs),
    "confidence": (Tally, lambda row: doubt(row["log_p"]), lambda tally: tally.sum / tally.epochs),
    "variability": (Spread, lambda row: doubt(row["log_p"]), lambda tally: (tally.squares / tally.epochs).sqrt()),
    "loss": (Tally, lambda row: row["log_p"], lambda tally: -tally.sum / tally.epochs),
}
"""name -> what it keeps, what it reads of an epoch, and the score of that; options as those of the row of SCORES."""


class Running(Visits):
    """Scores of `n` samples without their dynamics: `log` every batch as for a `Recorder`, then call `score`.

    Memory does not grow with the epochs: 16 to 24 n bytes a score, and 29 n for the epoch under way.
    scores: names, each with the epochs that its function reads by default, or name -> how many of the first epochs it
    reads, None for all. repeats: as for `Recorder`.

    Raises:
        ValueError: an unknown score or one that needs the full record, n below 1, or an unknown word for repeats.
    """

    where: ClassVar[str] = "running"

    def __init__(
        self, n: int, scores: Iterable[str] | Mapping[str, int | None], *, repeats: Repeats = "refuse"
    ) -> None:
        super().__init__(n, repeats=repeats)
        names = (scores,) if isinstance(scores, str) else tuple(scores)
        if not names:
            raise ValueError("running: scores must name at least one, got none")
        own = {name: self._options(name)["epochs"] for name in names}
        self._limits: dict[str, int | None] = {**own, **(scores if isinstance(scores, Mapping) else {})}
        for name, epochs in self._limits.items():
            countable(name, epochs)
        self._tallies = {name: RUNNING[name][0](n) for name in self._limits}

    def score(self, name: str, **options: Any) -> Tensor:
        """The score that its function in SCORES gives for the whole record: float32 [n].

        Sums and counts are the same to the bit, variability within 1e-6. options: those of the function.

        Raises:
            ValueError: a score that was not named at the start, an unknown option, other epochs than were added up,
                nothing logged, or samples missing from the last epoch.
        """
        if name not in self._tallies:
            raise ValueError(f"running: score must be one of {', '.join(self._tallies)}, got {name!r}")
        self._complete()
        tally, known = self._tallies[name], self._options(name)
        for option in options:
            if option not in known:
                raise unknown(f"option of {name}", option, known)
        chosen = {**known, "epochs": self._limits[name], **options}
        wanted = enough(name, self._kept, chosen.pop("epochs"))
        if wanted != tally.epochs:
            remedy = f"create Running(n, {{{name!r}: {wanted}}}) for that"
            raise ValueError(f"running: {name} covers {tally.epochs} epochs, got epochs={wanted}; {remedy}")
        return RUNNING[name][2](tally, **chosen).float()

    def _keep(self, row: dict[str, Tensor]) -> None:
        for name, tally in self._tallies.items():
            if tally.epochs != self._limits[name]:
                tally.add(RUNNING[name][1](row))

    def _options(self, name: str) -> dict[str, Any]:
        """The options of a score with their defaults."""
        if name in SCORES and name not in RUNNING:
            full = ", ".join(sorted(set(SCORES) - set(RUNNING)))
            raise ValueError(f"running: {full} need the full record, got {name!r}; use a Recorder")
        if name not in RUNNING:
            raise unknown("running", name, RUNNING)
        _, *parameters = inspect.signature(resolve("score", SCORES, name)).parameters.values()
        return {parameter.name: parameter.default for parameter in parameters}
