"""Recorder: two lines in any training loop that collect its Dynamics."""

from typing import Any, Literal

import torch
from torch import Tensor

from yoco.prune.dynamics import NAMES, Dynamics, measure


class Recorder:
    """Collects the dynamics of `n` samples: `log` every batch, then call `dynamics`.

    Every epoch, from 0 on and in order, must show every sample once: sums over epochs would punish those seen less.
    repeats: what to do with a sample that comes again in an epoch: "refuse", or keep its "first" visit, as for the
    padding of distributed samplers.

    Raises:
        ValueError: n is below 1, or an unknown word for repeats.
    """

    def __init__(self, n: int, *, repeats: Literal["refuse", "first"] = "refuse") -> None:
        if n < 1:
            raise ValueError(f"recorder: n must be at least 1, got {n}")
        if repeats not in ("refuse", "first"):
            raise ValueError(f"recorder: repeats must be refuse or first, got {repeats!r}")
        self.n, self.repeats = n, repeats
        self._epochs: list[dict[str, Tensor]] = []
        self._seen = torch.zeros(n, dtype=torch.bool)
        self._visits = torch.zeros(n, dtype=torch.long)
        self._most = 1

    def log(self, epoch: int, indices: Tensor, logits: Tensor, targets: Tensor) -> None:
        """Take in one batch.

        indices: long [b], places of the samples in 0..n-1; logits: float [b, C]; targets: as in `measure`.

        Raises:
            ValueError: epochs out of order, an epoch left before all samples were seen, a sample seen twice, indices or
                targets that do not fit, or logits that are not finite.
        """
        indices = self._checked(indices.detach().cpu(), len(logits))
        numbers = {name: value.cpu() for name, value in measure(logits, targets).items()}
        self._turn(epoch)
        fresh = self._fresh(epoch, indices)
        for name in NAMES:
            self._epochs[epoch][name][indices[fresh]] = numbers[name][fresh].to(self._epochs[epoch][name].dtype)
        self._seen[indices] = True

    def dynamics(self, **meta: Any) -> Dynamics:
        """All that was logged; `meta` (JSON values) goes with it.

        Raises:
            ValueError: nothing was logged, or samples are missing from the last epoch.
        """
        if not self._epochs:
            raise ValueError("recorder: at least one epoch must be logged, got none")
        self._complete()
        parts = {name: torch.stack([epoch[name] for epoch in self._epochs]) for name in NAMES}
        return Dynamics(**parts, meta={**meta, "epochs": len(self._epochs), "seen": {"least": 1, "most": self._most}})

    def _checked(self, indices: Tensor, count: int) -> Tensor:
        if indices.dtype != torch.long or indices.shape != (count,):
            got = f"{str(indices.dtype).removeprefix('torch.')} {list(indices.shape)}"
            raise ValueError(f"recorder: indices must be int64 [{count}], got {got}")
        if count and (int(indices.min()) < 0 or int(indices.max()) >= self.n):
            raise ValueError(
                f"recorder: indices must be in 0..{self.n - 1}, got {int(indices.min())}..{int(indices.max())}"
            )
        return indices

    def _turn(self, epoch: int) -> None:
        """Begin the next epoch, if this is it."""
        last = len(self._epochs) - 1
        if epoch not in (last, last + 1) or epoch < 0:
            rule = "0" if last < 0 else f"{last} or {last + 1}"
            raise ValueError(f"recorder: epoch must be {rule}, got {epoch}")
        if epoch == last:
            return
        if self._epochs:
            self._complete()
        self._epochs.append({name: torch.zeros(self.n, dtype=_dtype(name)) for name in NAMES})
        self._seen[:] = False
        self._visits[:] = 0

    def _complete(self) -> None:
        missing = torch.nonzero(~self._seen).flatten()
        if len(missing):
            where = f"epoch {len(self._epochs) - 1} must show all {self.n} samples"
            raise ValueError(f"recorder: {where}, got {self.n - len(missing)}; sample {int(missing[0])} is missing")

    def _fresh(self, epoch: int, indices: Tensor) -> Tensor:
        """Which of these samples the epoch sees for the first time: bool [b]."""
        order = torch.argsort(indices, stable=True)
        again = torch.zeros(len(indices), dtype=torch.bool)
        again[order[1:]] = indices[order[1:]] == indices[order[:-1]]
        again |= self._seen[indices]
        if again.any() and self.repeats == "refuse":
            sample = int(indices[again][0])
            raise ValueError(f"recorder: epoch {epoch} must show each sample once, got sample {sample} again")
        self._visits += torch.bincount(indices, minlength=self.n)
        self._most = max(self._most, int(self._visits.max()))
        return ~again


def _dtype(name: str) -> torch.dtype:
    return torch.bool if name == "correct" else torch.float32
