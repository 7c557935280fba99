"""Dynamics: what a training run showed of every sample in every epoch, as six numbers instead of all probabilities."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn.functional import softplus

from yoco import artefact
from yoco.disk import at_home
from yoco.prune import tape
from yoco.prune.numbers import finite, tensor, whole

KIND, VERSION = "training dynamics", 1
NAMES = ("correct", "log_p", "margin", "logit_margin", "error", "entropy")


@dataclass(frozen=True, eq=False, kw_only=True)
class Dynamics:
    """Six numbers for every epoch e and sample i: tensors [E, N], float32 but for `correct`.

    correct: bool, the label alone has the largest logit; log_p: log-probability of the label, at most 0;
    margin: probability of the label minus the largest other, in [-1, 1]; logit_margin: the same of logits;
    error: ||p - target||_2, in [0, sqrt 2]; entropy: of the probabilities, in nats.
    shift: sum over classes of |p_e (log p_e - log p_{e-1})|, zero in the first epoch; only where it was recorded.
    meta: how they were made, JSON values only.

    Raises:
        ValueError: the tensors do not share one shape [E, N], or hold values that are not finite.
    """

    correct: Tensor
    log_p: Tensor
    margin: Tensor
    logit_margin: Tensor
    error: Tensor
    entropy: Tensor
    shift: Tensor | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = self.correct.shape
        if len(shape) != 2 or 0 in shape:
            raise ValueError(f"dynamics: correct must be [epochs, samples], got {list(shape)}")
        if self.correct.dtype != torch.bool:
            raise ValueError(f"dynamics: correct must be bool, got {_said(self.correct)}")
        for name, part in self.parts.items():
            if part.shape != shape:
                raise ValueError(f"dynamics: {name} must be {list(shape)}, got {list(part.shape)}")
            if not finite(part):
                raise ValueError(f"dynamics: {name} must be finite, got nan or infinity")

    def __len__(self) -> int:
        return self.correct.shape[1]

    @property
    def epochs(self) -> int:
        """Recorded epochs."""
        return self.correct.shape[0]

    @property
    def since(self) -> int:
        """How many epochs of the training went by before those that are recorded."""
        return int(self.meta.get("unrecorded", 0))

    @property
    def parts(self) -> dict[str, Tensor]:
        """The tensors by name; `shift` is among them if it was recorded."""
        found = {name: getattr(self, name) for name in (*NAMES, "shift")}
        return {name: part for name, part in found.items() if part is not None}

    @property
    def hits(self) -> Tensor:
        """Correct samples in each epoch: long [E]."""
        return self.correct.sum(1)

    @property
    def loss(self) -> Tensor:
        """Mean of -log_p in each epoch: float64 [E]."""
        return torch.stack([-row.double().mean() for row in self.log_p])

    def save(self, path: str | Path) -> None:
        """Write one safetensors file.

        Raises:
            OSError: the place cannot be written; what stood there is as it was.
        """
        artefact.write(Path(path), KIND, VERSION, self.parts, {"meta": self.meta})

    @classmethod
    def load(cls, path: str | Path) -> "Dynamics":
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged, of another kind, of a newer format, or its content breaks a rule.
        """
        tensors, header = artefact.read(Path(path), KIND, VERSION)
        missing = [name for name in NAMES if name not in tensors]
        if missing:
            raise ValueError(f"load: {path} has no {missing[0]}")
        known = {name: part for name, part in tensors.items() if name in (*NAMES, "shift")}
        return cls(**known, meta=header.get("meta", {}))

    @classmethod
    def open(cls, path: str | Path) -> "Dynamics":
        """Map the file of a `Recorder(n, file=path)`: the same values, read from the disk as they are used.

        A recording that was cut short gives the epochs that it finished, and says so in meta: interrupted.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is truncated, not a recording, of a newer format, or its content breaks a rule.
        """
        arrays, label = tape.read(at_home(path))
        if not set(NAMES) <= set(arrays) <= {*NAMES, "shift"}:
            raise ValueError(f"open: {path} must hold {KIND}, got a recording of {', '.join(sorted(arrays))}")
        parts: dict[str, Any] = {name: torch.from_numpy(array) for name, array in arrays.items()}
        if label is None:
            return cls(**parts, meta={"epochs": len(parts["correct"]), "interrupted": True})
        if label["version"] > VERSION:
            found = f"format version {label['version']}"
            raise ValueError(f"open: {path} has {found}, this yoco reads up to {VERSION}; upgrade yoco")
        return cls(**parts, meta=label["meta"])


def measure(logits: Tensor | ArrayLike, targets: Tensor | ArrayLike) -> dict[str, Tensor]:
    """The six numbers of `Dynamics` for one batch, each [n], on the device of the logits.

    logits: float [n, C], C at least 2; targets: labels, any whole numbers [n], or soft labels float [n, C], argmax
    being the label. Tensors or arrays.
    Nothing is lost as p_y nears 1: with m = logsumexp of the other logits minus the label's, log p_y = -softplus(m) and
    1 - p_y = -expm1(log p_y); a tie for the largest logit counts as wrong.

    Raises:
        ValueError: shapes do not fit, a label is out of range, or a logit is not finite.
    """
    z = tensor("dynamics: logits", logits)
    labels, soft = _checked(z, tensor("dynamics: targets", targets))
    z = z if z.dtype in (torch.float32, torch.float64) else z.float()
    at = labels[:, None]
    own, others = z.gather(1, at).squeeze(1), z.scatter(1, at, -torch.inf)
    log_p = -softplus(others.logsumexp(1) - own)
    log_all = z.log_softmax(1).scatter(1, at, log_p[:, None])
    p = log_all.exp()
    rest = torch.zeros_like(z) if soft is None else soft.to(z.dtype).scatter(1, at, 0)
    share = 1 if soft is None else soft.to(z.dtype).gather(1, at).squeeze(1)
    off = p.scatter(1, at, 0) - rest
    at_label = torch.expm1(log_p) + (1 - share)
    logit_margin = own - others.amax(1)
    return {
        "correct": logit_margin > 0,
        "log_p": log_p,
        "margin": log_p.exp() - p.scatter(1, at, 0).amax(1),
        "logit_margin": logit_margin,
        "error": (off.square().sum(1) + at_label.square()).sqrt(),
        "entropy": -(p * log_all).sum(1),
    }


def _checked(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor | None]:
    """Labels long [n], and the soft labels if there are any."""
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(f"dynamics: logits must be [n, classes] of at least 2 classes, got {list(logits.shape)}")
    if not torch.isfinite(logits).all():
        raise ValueError("dynamics: logits must be finite, got nan or infinity; lower the step size")
    targets = targets.to(logits.device)
    if targets.is_floating_point() and targets.shape == logits.shape:
        return targets.argmax(1), targets
    if not whole(targets) or targets.shape != logits.shape[:1]:
        rule = f"whole numbers [{len(logits)}] or float {list(logits.shape)}"
        raise ValueError(f"dynamics: targets must be {rule}, got {_said(targets)} {list(targets.shape)}")
    if len(targets) and (int(targets.min()) < 0 or int(targets.max()) >= logits.shape[1]):
        got = f"{int(targets.min())}..{int(targets.max())}"
        raise ValueError(f"dynamics: labels must be in 0..{logits.shape[1] - 1}, got {got}")
    return targets.long(), None


def _said(values: Tensor) -> str:
    return str(values.dtype).removeprefix("torch.")
