"""Recorder: two lines in any training loop that collect its Dynamics."""

from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from yoco.prune.dynamics import NAMES, VERSION, Dynamics, measure
from yoco.prune.numbers import tensor, whole
from yoco.prune.tape import Tape

Repeats = Literal["refuse", "first"]


class Visits:
    """Measures each of `n` samples in every epoch, and checks that every epoch, in order from 0, shows it once.

    A missing sample is an error, since sums over epochs are not comparable for samples that are seen less often.
    repeats: for a sample that occurs again in an epoch: "refuse" it, or keep its "first" visit, as for the padding of
    distributed samplers.

    Raises:
        ValueError: n is below 1, or an unknown word for repeats.
    """

    where: ClassVar[str] = "recorder"

    def __init__(self, n: int, *, repeats: Repeats = "refuse") -> None:
        if n < 1:
            raise ValueError(f"{self.where}: n must be at least 1, got {n}")
        if repeats not in ("refuse", "first"):
            raise ValueError(f"{self.where}: repeats must be refuse or first, got {repeats!r}")
        self.n, self.repeats = n, repeats
        self._epoch, self._left, self._kept, self._classes = -1, 0, 0, 0
        self._row: dict[str, Tensor] = {}
        self._visits = torch.zeros(n, dtype=torch.long, device="cpu")
        self._most = 1

    def log(
        self, epoch: int, indices: Tensor | ArrayLike, logits: Tensor | ArrayLike, targets: Tensor | ArrayLike
    ) -> None:
        """Take in one batch: tensors on any device, or arrays.

        indices: whole numbers [b], places of the samples in 0..n-1; logits: float [b, C]; targets: as in `measure`.

        Raises:
            ValueError: epochs out of order, an epoch left before all samples were seen, a sample seen twice, indices or
                targets that do not fit, or logits that are not finite.
        """
        logits = tensor("dynamics: logits", logits)
        numbers = measure(logits, targets)
        places = self._places(indices, logits)
        self._turn(epoch)
        fresh = self._fresh(places)
        for name, value in numbers.items():
            self._row[name][places[fresh]] = value.cpu()[fresh].to(self._row[name].dtype)
        self._note(places, fresh, logits)
        self._left -= int(fresh.sum())
        if not self._left and self._kept <= epoch:
            self._close(self._row)

    def _note(self, places: Tensor, fresh: Tensor, logits: Tensor) -> None:
        """Note more of a batch than its six numbers: nothing, unless a subclass wants to."""

    def _keep(self, row: dict[str, Tensor]) -> None:
        """Take over the numbers of an epoch, each [n]."""
        raise NotImplementedError

    def _close(self, row: dict[str, Tensor]) -> None:
        """End an epoch that has shown all samples."""
        for name, part in row.items():
            if not torch.isfinite(part).all():
                rule = f"{name} of epoch {self._epoch} must be finite in float32"
                raise ValueError(f"{self.where}: {rule}, got nan or infinity; lower the step size")
        self._keep(row)
        self._kept += 1

    def _places(self, indices: Tensor | ArrayLike, logits: Tensor) -> Tensor:
        """The indices as long [b] on the CPU."""
        places, b, classes = tensor(f"{self.where}: indices", indices).cpu(), len(logits), logits.shape[1]
        if not whole(places) or places.shape != (b,):
            got = f"{str(places.dtype).removeprefix('torch.')} {list(places.shape)}"
            raise ValueError(f"{self.where}: indices must be whole numbers [{b}], got {got}")
        if b and (int(places.min()) < 0 or int(places.max()) >= self.n):
            got = f"{int(places.min())}..{int(places.max())}"
            raise ValueError(f"{self.where}: indices must be in 0..{self.n - 1}, got {got}")
        if classes != (self._classes or classes):
            raise ValueError(f"{self.where}: logits must have {self._classes} classes as before, got {classes}")
        self._classes = classes
        return places.long()

    def _turn(self, epoch: int) -> None:
        """Begin the next epoch, if this is it."""
        last = self._epoch
        if epoch not in (last, last + 1) or epoch < 0:
            rule = "0" if last < 0 else f"{last} or {last + 1}"
            raise ValueError(f"{self.where}: epoch must be {rule}, got {epoch}")
        if epoch == last:
            return
        if epoch:
            self._complete()
        kinds = {name: torch.bool if name == "correct" else torch.float32 for name in NAMES}
        self._row = {name: torch.zeros(self.n, dtype=kind, device="cpu") for name, kind in kinds.items()}
        self._visits[:] = 0
        self._epoch, self._left = epoch, self.n

    def _fresh(self, places: Tensor) -> Tensor:
        """Which of these samples the epoch sees for the first time: bool [b]."""
        order = torch.argsort(places, stable=True)
        again = torch.zeros_like(places, dtype=torch.bool)
        again[order[1:]] = places[order[1:]] == places[order[:-1]]
        again |= self._visits[places] > 0
        if again.any() and self.repeats == "refuse":
            rule = f"epoch {self._epoch} must show each sample once"
            raise ValueError(f"{self.where}: {rule}, got sample {int(places[again][0])} again")
        self._visits.index_add_(0, places, torch.ones_like(places))
        self._most = max(self._most, int(self._visits[places].max())) if len(places) else self._most
        return ~again

    def _complete(self) -> None:
        """Check that there are epochs, and that the last one is whole."""
        if self._epoch < 0:
            raise ValueError(f"{self.where}: at least one epoch must be logged, got none")
        missing = torch.nonzero(self._visits == 0).flatten()
        if len(missing):
            rule = f"epoch {self._epoch} must show all {self.n} samples"
            got = f"{self.n - len(missing)}; sample {int(missing[0])} is missing"
            raise ValueError(f"{self.where}: {rule}, got {got}")
        if self._kept <= self._epoch:
            raise ValueError(f"{self.where}: epoch {self._epoch} is missing because of an earlier error; start again")


class Recorder(Visits):
    """Collects the dynamics of `n` samples: `log` every batch, then call `dynamics`.

    Every epoch, from 0 on and in order, must show every sample once.
    repeats: "refuse" a sample that occurs again in an epoch, or keep its "first" visit. shift: also record the shift,
    which TDDS needs; this holds n C float32 during the recording. file: append each finished epoch to this new file,
    21 n bytes (25 n with shift), instead of memory; after a crash `Dynamics.open` reads the finished epochs.

    Raises:
        ValueError: n is below 1, or an unknown word for repeats.
        OSError: the file exists or cannot be written.
    """

    def __init__(
        self, n: int, *, repeats: Repeats = "refuse", shift: bool = False, file: str | Path | None = None
    ) -> None:
        super().__init__(n, repeats=repeats)
        self.shift = shift
        self._rows: list[dict[str, Tensor]] = []
        self._before: Tensor | None = None
        floats = [*(name for name in NAMES if name != "correct"), *["shift"] * shift]
        self._tape = None if file is None else Tape(file, n, floats, ["correct"])

    def dynamics(self, **meta: Any) -> Dynamics:
        """All that was logged; `meta` (JSON values) goes with it.

        Raises:
            ValueError: nothing was logged, or samples are missing from the last epoch.
        """
        self._complete()
        meta = {**meta, "epochs": self._epoch + 1, "seen": {"least": 1, "most": self._most}}
        if self._tape is not None:
            self._tape.label(self._epoch + 1, {"version": VERSION, "meta": meta})
            return Dynamics.open(self._tape.path)
        parts: dict[str, Any] = {name: torch.stack([row[name] for row in self._rows]) for name in self._rows[0]}
        return Dynamics(**parts, meta=meta)

    def _note(self, places: Tensor, fresh: Tensor, logits: Tensor) -> None:
        """The shift of these samples, by log-probabilities in float64 that are kept in float32."""
        if not self.shift:
            return
        if self._before is None:
            self._before = torch.zeros(self.n, logits.shape[1], device="cpu")
        places, exact = places[fresh], logits.cpu()[fresh].double().log_softmax(1)
        now, part = exact.float(), self._row.setdefault("shift", torch.zeros(self.n, device="cpu"))
        if self._epoch:
            part[places] = (exact.exp() * (now.double() - self._before[places])).abs().sum(1).float()
        self._before[places] = now

    def _keep(self, row: dict[str, Tensor]) -> None:
        if self._tape is None:
            self._rows.append(row)
        else:
            self._tape.append(self._epoch, row)
