"""Snapshot: what one trained network shows of every sample, images neither augmented nor mixed, in evaluation mode."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from yoco.networks import Network
from yoco.prune.material import Material
from yoco.prune.numbers import finite
from yoco.train import Examples, evaluating, in_turn


@dataclass(frozen=True, eq=False, kw_only=True)
class Snapshot:
    """One forward pass over n samples.

    logits: float32 [n, C]; targets: labels long [n], or soft labels float [n, C], argmax being the label;
    features: float32 [n, D], the flattened output of a stage; inputs: float32 [n, D'], what the head sees;
    reference: features float32 [m, D] and labels long [m] of other images, from the same stage;
    network, images: the network and its normalised images, float32 [n, ch, H, W], for gradients in all parameters;
    `look` leaves these on the CPU, wherever the network is.

    Raises:
        ValueError: the parts are not of the same number of samples, or hold values that are not finite.
    """

    logits: Tensor
    targets: Tensor
    features: Tensor
    inputs: Tensor
    reference: tuple[Tensor, Tensor] | None = None
    network: nn.Module | None = None
    images: Tensor | None = None

    def __post_init__(self) -> None:
        parts = {"logits": self.logits, "features": self.features}
        parts |= {} if self.inputs is self.features else {"inputs": self.inputs}
        for name, part in parts.items():
            if part.ndim != 2 or len(part) != len(self.targets):
                raise ValueError(f"snapshot: {name} must be [{len(self.targets)}, size], got {list(part.shape)}")
            if not finite(part):
                raise ValueError(f"snapshot: {name} must be finite, got nan or infinity")

    def __len__(self) -> int:
        return len(self.logits)

    @property
    def labels(self) -> Tensor:
        """long [n]."""
        return self.targets.argmax(1) if self.targets.is_floating_point() else self.targets

    @property
    def together(self) -> "Snapshot":
        """The same, its images where its network is."""
        if self.network is None or self.images is None:
            return self
        return replace(self, images=self.images.to(place_of(self.network)))

    @property
    def errors(self) -> Tensor:
        """Probabilities minus target, float32 [n, C]: the gradient of the cross-entropy in the logits.

        At the label it is -sum of the other probabilities plus 1 - target, so nothing is lost as p_y nears 1.
        """
        at, p = self.labels[:, None], self.logits.softmax(1)
        soft = self.targets.is_floating_point()
        target = self.targets.to(p.dtype) if soft else torch.zeros_like(p).scatter(1, at, 1)
        at_label = 1 - target.gather(1, at) - p.scatter(1, at, 0).sum(1, keepdim=True)
        return (p - target).scatter(1, at, at_label)


def place_of(network: nn.Module) -> torch.device:
    """The device of its parameters; the CPU if it has none."""
    first = next(network.parameters(), None)
    return torch.device("cpu") if first is None else first.device


def check_stage(network: Network, stage: int) -> None:
    """Check that the network has this stage.

    Raises:
        ValueError: it has not.
    """
    stages = len(network.stages)
    if not -stages <= stage < stages:
        raise ValueError(f"features: stage must be in {-stages}..{stages - 1}, got {stage}")


@torch.no_grad()
def look(
    network: Network,
    what: Material,
    *,
    stage: int = -1,
    images: bool = True,
    reference: Examples | None = None,
    batch: int | None = None,
) -> Snapshot:
    """A snapshot of `network` on all samples of `what`; with images, of a copy of it as it is now.

    stage: whose output the features are, counted from 0, or from the end if negative. images: keep them, on the CPU.
    reference: other images, whose features are taken, too; they are normalised as the samples are.

    Raises:
        ValueError: the network has no such stage.
    """
    check_stage(network, stage)
    last = stage in (-1, len(network.stages) - 1)
    kept, rows = [], []
    with evaluating(network):
        others = None if reference is None else _features(network, what, stage, reference, batch)
        for drawn in in_turn(what.examples, batch):
            shown = what.normalise(drawn.images)
            kept += [shown.cpu()] if images else []
            outputs = network.features(shown)
            seen = outputs[-1].flatten(1)
            shows = (network.head(seen), drawn.labels, outputs[stage].flatten(1), *(() if last else (seen,)))
            rows.append([part.cpu() for part in shows])
    logits, targets, features, *inputs = (torch.cat(parts) for parts in zip(*rows, strict=True))
    del rows
    return Snapshot(
        logits=logits,
        targets=targets,
        features=features,
        inputs=features if last else inputs[0],
        network=deepcopy(network).eval() if images else network,
        reference=others,
        images=torch.cat(kept) if images else None,
    )


def _features(
    network: Network, what: Material, stage: int, examples: Examples, batch: int | None
) -> tuple[Tensor, Tensor]:
    """The output of one stage for these images, and their labels."""
    rows = []
    for drawn in in_turn(examples, batch):
        output = network.features(what.normalise(drawn.images.to(what.device)))[stage]
        rows.append((output.flatten(1).cpu(), drawn.labels.cpu()))
    return torch.cat([features for features, _ in rows]), torch.cat([labels for _, labels in rows])


def pooled(views: Sequence[Snapshot]) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
    """Features of several networks side by side, each centred and of length 1; those of one network as they are.

    With them, in the same units, the features of the references and their labels, if all networks saw some.
    """
    first = views[0].reference
    if len(views) == 1:
        return views[0].features.float(), first
    centres = [view.features.double().mean(0) for view in views]
    own = torch.cat([normalize(v.features.double() - c) for v, c in zip(views, centres, strict=True)], 1)
    others = [view.reference[0] for view in views if view.reference is not None]
    if first is None or len(others) < len(views):
        return own.float(), None
    theirs = torch.cat([normalize(part.double() - c) for part, c in zip(others, centres, strict=True)], 1)
    return own.float(), (theirs.float(), first[1])
