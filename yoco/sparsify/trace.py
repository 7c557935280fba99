"""Trace: what a run along the paths of a network showed of its units, its weights and how they are joined."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

Choose = Callable[[str, Tensor, Tensor], Tensor]
"""Called with (parameter name, weight, log counts of its inputs) where a layer is reached; the bool mask to go on with.

The inputs are [1, in, H, W] or [1, in]; -inf stands for no path.
"""


@dataclass(frozen=True)
class Use:
    """One use of a weight, by parameter name: it joins the units `inputs`, long [in], to `outputs`, long [out]."""

    name: str
    inputs: Tensor
    outputs: Tensor
    groups: int


@dataclass(frozen=True)
class Join:
    """Units that pass on all their paths: `inputs[i]` to `outputs[i]`, long [k]; `spread` where maps are flattened."""

    inputs: Tensor
    outputs: Tensor
    spread: bool = False


def _none() -> Tensor:
    return torch.empty(0, dtype=torch.long)


@dataclass
class Trace:
    """Units are numbered: channels, or features where maps were flattened.

    names: parameter names by the id of the parameter. units: how many there are. steps: in the order of the run.
    inputs, outputs: the units of the image and of the answer. masks: float64 0 or 1 by parameter name.
    end: log counts of the answer, [1, outputs, ...].
    """

    choose: Choose
    names: Mapping[int, str]
    units: int = 0
    steps: list[Use | Join] = field(default_factory=list)
    masks: dict[str, Tensor] = field(default_factory=dict)
    inputs: Tensor = field(default_factory=_none)
    outputs: Tensor = field(default_factory=_none)
    end: Tensor = field(default_factory=_none)

    def fresh(self, count: int) -> Tensor:
        """Numbers of `count` new units."""
        self.units += count
        return torch.arange(self.units - count, self.units)

    def join(self, inputs: Tensor, outputs: Tensor, spread: bool = False) -> None:
        """Note that these units are passed on."""
        self.steps.append(Join(inputs, outputs, spread))

    def layer(self, weight: Tensor, inputs: Tensor, groups: int) -> Tensor:
        """Note a use of a weight; the units of its outputs."""
        outputs = self.fresh(len(weight))
        self.steps.append(Use(self.names[id(weight)], inputs, outputs, groups))
        return outputs

    def mask(self, weight: Tensor, log: Tensor) -> Tensor:
        """The mask of a weight, chosen when it is first reached."""
        name = self.names[id(weight)]
        if name not in self.masks:
            chosen = self.choose(name, weight.detach(), log.detach())
            self.masks[name] = chosen.to(weight.device).double().requires_grad_(True)
        return self.masks[name]

    def log_paths(self) -> float:
        """Natural logarithm of the number of paths; -inf if there are none."""
        return float(self.end.detach().flatten().logsumexp(0))

    def reached(self) -> Tensor:
        """Which of the outputs at least one path leads to: bool [outputs]."""
        return self.end.detach()[0].reshape(self.end.shape[1], -1).isfinite().any(1)

    def live(self) -> dict[str, Tensor]:
        """Which weights lie on a path, or would if they were kept and nothing else changed: bools by name."""
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
            ones = torch.ones_like(self.end)
            grads = torch.autograd.grad(self.end, list(self.masks.values()), ones, allow_unused=True)
        pairs = zip(self.masks.items(), grads, strict=True)
        return {n: torch.zeros_like(m, dtype=torch.bool) if g is None else g > 0.5 for (n, m), g in pairs}
