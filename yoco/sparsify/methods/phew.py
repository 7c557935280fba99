"""PHEW (Patil and Dovrolis, ICML 2021): keep the weights that random walks take, which prefer large ones.

until enough weights are kept, in turns:
    walk from the next input forward to an output, or from the next output back to an input, where
        the next unit comes with a probability in proportion to the sum of |w| of the kernel on the way to it,
        the position in that kernel in proportion to |w|
    keep the weights of the walk
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from yoco.data.source import Batch
from yoco.rng import Rng
from yoco.sparsify.flow import follow
from yoco.sparsify.masks import Masks, budget, top, weights
from yoco.sparsify.trace import Join, Trace, Use
from yoco.sparsify.trial import Normaliser, image_shape

FEWEST, MOST = 256, 4096
"""How many walks are taken side by side: about as many as weights are missing."""


def phew(
    network: nn.Module,
    *,
    sparsity: float,
    rng: Rng,
    data: Batch | None = None,
    normalise: Normaliser | None = None,
    shape: tuple[int, int, int] | None = None,
) -> Masks:
    """Keep the weights that walks biased by |w| cross, until `sparsity` is met exactly; the last walk may be cut.

    shape: (C, H, W) of an image, by default that of the data, whose images are not read.

    Raises:
        ValueError: sparsity is not in [0, 1), no shape, or a network that cannot be followed.

    Not in the paper: walks follow any network. Where a unit leads several ways (residual branches, layers that see the
    same map), all are equally likely, as in the authors' code, which knows only shortcuts with a convolution; so are
    the positions of a map that is flattened. When fewer than one walk in 64 finds a new weight, as happens at low
    sparsity, the largest weights left make up the number.
    """
    size, flat = image_shape("phew", data, shape), {n: w.abs().flatten() for n, w in weights(network).items()}
    wanted = budget(sum(len(part) for part in flat.values()), sparsity)
    walks, generator = _Walks(network, size), rng.generator()
    kept = torch.zeros(sum(len(part) for part in flat.values()), dtype=torch.bool)
    turn, missing = 0, wanted
    while missing:
        count = min(MOST, max(FEWEST, missing - missing % 2))
        crossed = walks.crossed(turn, count, generator)
        new = _distinct(crossed[~kept[crossed]])[:missing]
        kept[new] = True
        turn, missing = turn + count // 2, missing - len(new)
        if len(new) < count // 64:
            break
    parts = zip(flat.items(), kept.split([len(part) for part in flat.values()]), strict=True)
    found = {name: part.masked_fill(crossed.to(part.device), torch.inf) for (name, part), crossed in parts}
    return top({name: found[name].reshape(weight.shape) for name, weight in weights(network).items()}, wanted)


class _Side:
    """Where units go in one direction. ends: for each step the units that it starts from, in this direction."""

    def __init__(self, units: int, ends: Sequence[Tensor]) -> None:
        ways: list[list[int]] = [[] for _ in range(units)]
        for step, here in enumerate(ends):
            for unit in here.unique().tolist():
                ways[unit].append(step)
        self.count = torch.tensor([len(steps) for steps in ways])
        most = max(1, int(self.count.max()))
        self.ways = torch.tensor([steps + [-1] * (most - len(steps)) for steps in ways])
        self.order = [here.argsort(stable=True) for here in ends]
        self.sorted = [here[order] for here, order in zip(ends, self.order, strict=True)]

    def next(self, units: Tensor, generator: torch.Generator) -> Tensor:
        """The step that each unit takes next, -1 where it is at the end: one of those that it may take, at random."""
        drawn = torch.rand(len(units), generator=generator, dtype=torch.float64)
        return self.ways[units, (drawn * self.count[units]).long()]

    def place(self, step: int, units: Tensor, generator: torch.Generator) -> Tensor:
        """At which place of its step each unit stands; one at random where there are several."""
        low = torch.searchsorted(self.sorted[step], units)
        high = torch.searchsorted(self.sorted[step], units, right=True)
        drawn = torch.rand(len(units), generator=generator, dtype=torch.float64)
        return self.order[step][low + (drawn * (high - low)).long()]


class _Walks:
    """Walks through a network; weights are numbered as they stand one after another."""

    def __init__(self, network: nn.Module, shape: tuple[int, int, int]) -> None:
        trace = follow(network, shape, lambda name, weight, log: torch.ones_like(weight, dtype=torch.bool))
        self.steps = trace.steps
        self.forward = _Side(trace.units, [step.inputs for step in trace.steps])
        self.backward = _Side(trace.units, [step.outputs for step in trace.steps])
        self.starts, self.ends = _starts(trace), trace.outputs
        sizes = weights(network)
        ends = itertools.accumulate(weight.numel() for weight in sizes.values())
        self.offset = {name: end - sizes[name].numel() for name, end in zip(sizes, ends, strict=True)}
        named = dict(network.named_parameters())
        self.kernels = [
            _grouped(named[step.name], step.groups) if isinstance(step, Use) else None for step in trace.steps
        ]

    def crossed(self, first: int, count: int, generator: torch.Generator) -> Tensor:
        """The weights that `count` walks cross, in the order of the walks, forward and backward in turns."""
        turns = torch.arange(first, first + count // 2)
        there, forth = self._walk(self.starts[turns % len(self.starts)], self.forward, True, generator)
        back, again = self._walk(self.ends[turns % len(self.ends)], self.backward, False, generator)
        order = torch.cat([2 * there, 2 * back + 1]).argsort(stable=True)
        return torch.cat([forth, again])[order]

    def _walk(self, unit: Tensor, side: _Side, forward: bool, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Which walk crosses which weight, in the order of the steps."""
        walks, crossed = [torch.empty(0, dtype=torch.long)], [torch.empty(0, dtype=torch.long)]
        following = side.next(unit, generator)
        for index in range(len(self.steps)) if forward else reversed(range(len(self.steps))):
            at = torch.nonzero(following == index).flatten()
            if not len(at):
                continue
            step, kernels, place = self.steps[index], self.kernels[index], side.place(index, unit[at], generator)
            if isinstance(step, Use) and kernels is not None:
                place, weight = _crossing(kernels, place, forward, generator)
                if step.name in self.offset:
                    walks.append(at)
                    crossed.append(weight + self.offset[step.name])
            unit[at] = (step.outputs if forward else step.inputs)[place]
            following[at] = side.next(unit[at], generator)
        return torch.cat(walks), torch.cat(crossed)


def _crossing(kernels: Tensor, place: Tensor, forward: bool, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The places at the other side of a layer, and the weights on the way there, for places at this side: long [k]."""
    _, outputs, inputs, size = kernels.shape
    group, here = place // (inputs if forward else outputs), place % (inputs if forward else outputs)
    strength = kernels.sum(3)
    there = _drawn(strength[group, :, here] if forward else strength[group, here], generator)
    row, column = (there, here) if forward else (here, there)
    position = _drawn(kernels[group, row, column], generator)
    weight = ((group * outputs + row) * inputs + column) * size + position
    return group * (outputs if forward else inputs) + there, weight


def _drawn(odds: Tensor, generator: torch.Generator) -> Tensor:
    """One column of each row, in proportion to its odds; any if all are zero: long [rows]."""
    return torch.multinomial(odds + (odds.sum(1, keepdim=True) == 0), 1, generator=generator)[:, 0]


def _grouped(weight: Tensor, groups: int) -> Tensor:
    """|w| as float64 [groups, outputs, inputs, size] on the CPU."""
    kernels = weight.detach().abs().cpu().double()
    return kernels.reshape(groups, len(kernels) // groups, kernels.shape[1], -1)


def _starts(trace: Trace) -> Tensor:
    """The units in which walks begin: inputs, or the features of those that are only flattened."""
    spread = [step for step in trace.steps if isinstance(step, Join) and step.spread]
    other = [step for step in trace.steps if not (isinstance(step, Join) and step.spread)]
    entering = torch.cat([step.inputs for step in other])
    flat = [step.outputs[torch.isin(step.inputs, trace.inputs)] for step in spread]
    return torch.cat([trace.inputs[torch.isin(trace.inputs, entering)], *flat])


def _distinct(values: Tensor) -> Tensor:
    """Each value once, where it stood first."""
    unique, inverse = values.unique(return_inverse=True)
    first = torch.full_like(unique, len(values)).scatter_reduce(0, inverse, torch.arange(len(values)), "amin")
    return values[first.sort().values]
