"""Shrink: take dead channels out of a network for good; the smaller network gives the same answers.

    repeat until nothing is left to do:
        a channel is dead if all weights that read it are zero,
        or if all its own weights are: then it is a constant, which moves into the biases of those that read it
        channels that are added to one another, or flattened, leave together or stay

A layer keeps at least one channel. What stays although it is dead: constants other than 0 that are read by a layer
without a bias, or by a convolution with zeros around its images; inputs and outputs of the network; and what enters a
grouped convolution, a layer that runs twice or whose weight is read without calling it, or a module whose channels are
not independent of one another.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from yoco.device import cpu_by_default
from yoco.rng import Rng
from yoco.sparsify.flow import Flow, follow
from yoco.sparsify.hold import BIAS_MASK, MASK
from yoco.sparsify.network import Prunable, dtype_of, entering, layers
from yoco.sparsify.trace import Join, Trace, Use
from yoco.sparsify.trial import twin

ALIKE = 1e-6
"""How far the answers may differ, next to the largest; of networks in 16 bits by a few roundings."""
MIXING = (nn.GroupNorm, nn.LayerNorm, _InstanceNorm, nn.LocalResponseNorm)
"""Modules that may have no state, and yet a number of channels."""
Modules = Mapping[str, nn.Module]
Units = dict[str, list[tuple[Tensor, Tensor]]]
"""Module name -> the units that entered and left it, for each time that it ran."""


@cpu_by_default
@torch.no_grad()
def shrink(network: nn.Module, shape: tuple[int, int, int]) -> nn.Module:
    """A copy without dead channels that answers the same in evaluation mode, for images of this (C, H, W).

    Masks that are held shrink with their weights.

    Raises:
        ValueError: a network that cannot be followed, or whose forward does not work with other numbers of channels.
    """
    small = deepcopy(network)
    images = torch.randn(2, *shape, generator=Rng(0).generator(), dtype=torch.float64)
    try:
        before = twin(network)(images.to(next(network.parameters()).device))
        while _pass(small, shape):
            pass
        gap = float((twin(small)(images.to(before.device)) - before).abs().max())
    except ValueError as error:
        raise ValueError(f"shrink: {error}") from None
    except RuntimeError as error:
        line = str(error).splitlines()[0]
        raise ValueError(f"shrink: the network must work in float64 and with fewer channels, got: {line}") from None
    most = max(ALIKE, 4 * torch.finfo(dtype_of(network)).eps)
    if not gap <= most * max(float(before.abs().max()), 1.0):
        raise ValueError(f"shrink: the smaller network must give the same outputs, got a difference of {gap:g}")
    return small


def resized(network: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """The network itself with parameters and buffers of the shapes of a state_dict, values to be loaded."""
    for path, module in network.named_modules():
        for name, value in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            wanted = state.get(f"{path}.{name}" if path else name)
            if wanted is not None and wanted.shape != value.shape:
                _put(module, name, value.new_zeros(wanted.shape))
        _describe(module)
    return network


def _pass(network: nn.Module, shape: tuple[int, int, int]) -> bool:
    """Take out what is dead now; whether there was anything."""
    modules = dict(network.named_modules())
    trace, seen = _traced(network, modules, shape)
    values, places = _constants(network, shape), layers(network)
    label = _classes(trace)
    dead = _dead(trace, label, places, values) & ~_any(label, _pinned(trace, modules, values, seen))
    for step in trace.steps:
        if isinstance(step, Use) and bool(dead[label[step.outputs]].all()):
            dead[label[step.outputs[0]]] = False
    gone = dead[label]
    for step in trace.steps:
        if isinstance(step, Use) and bool(gone[step.inputs].any()):
            _fold(places[step.name], values[step.name], gone[step.inputs])
    for name, calls in seen.items():
        inputs, outputs = (~gone[units] for units in calls[0])
        if not (bool(inputs.all()) and bool(outputs.all())):
            _cut(modules[name], inputs, outputs)
    return bool(gone.any())


def _traced(network: nn.Module, modules: Modules, shape: tuple[int, int, int]) -> tuple[Trace, Units]:
    """A run along all paths, and which units entered and left each module that knows a number of channels."""
    seen: Units = {}
    handles = []
    for name, module in modules.items():
        if isinstance(module, MIXING) or any(True for _ in (*module.parameters(False), *module.buffers(False))):

            def note(_: nn.Module, given: Any, named: dict[str, Any], answer: Any, name: str = name) -> None:
                seen.setdefault(name, []).append((_units((given, named)), _units(answer)))

            handles.append(module.register_forward_hook(note, with_kwargs=True))
    try:
        return follow(network, shape, lambda _, weight, __: torch.ones_like(weight, dtype=torch.bool)), seen
    finally:
        for handle in handles:
            handle.remove()


def _units(value: Any) -> Tensor:
    """The units of a map, or of all maps in lists, tuples and dicts: long [k]."""
    if isinstance(value, Flow):
        return value.units
    parts = list(value.values()) if isinstance(value, dict) else value
    found = [_units(part) for part in parts] if isinstance(parts, list | tuple) else []
    return torch.cat([torch.empty(0, dtype=torch.long), *found])


def _constants(network: nn.Module, shape: tuple[int, int, int]) -> dict[str, Tensor]:
    """What each layer sees of one image, by channel or feature: [C, positions]; 16 bits would round it."""
    seen = entering(network if dtype_of(network).itemsize > 2 else twin(network), shape)
    return {name: given[0][0].reshape(given[0].shape[1], -1) for name, given in seen.items()}


def _classes(trace: Trace) -> Tensor:
    """A number for each unit, the same for those that leave together: long [units]."""
    label = torch.arange(trace.units)
    while True:
        before = label
        for step in trace.steps:
            if isinstance(step, Join):
                for here, there in ((step.inputs, step.outputs), (step.outputs, step.inputs)):
                    label = label.scatter_reduce(0, here, label[there], "amin")
        if torch.equal(label, before):
            return label


def _dead(trace: Trace, label: Tensor, places: Mapping[str, Prunable], values: Mapping[str, Tensor]) -> Tensor:
    """Of each class whether nobody reads it, or nothing feeds it and its constant can be moved: bool [units]."""
    read, fed, fixed = torch.zeros(3, trace.units, dtype=torch.bool)
    for step in trace.steps:
        if isinstance(step, Use) and step.name in values and step.groups == 1:
            place = places[step.name]
            used = (place.weight != 0).flatten(2).any(2) if place.weight.dim() > 2 else place.weight != 0
            read[step.inputs] |= used.any(0).cpu()
            fed[step.outputs] |= used.any(1).cpu()
            fixed[step.inputs] |= (used.any(0) & ~_movable(place, values[step.name])).cpu()
    return ~_any(label, read) | ~(_any(label, fed) | _any(label, fixed))


def _movable(place: Prunable, value: Tensor) -> Tensor:
    """Which inputs [C, positions] of a layer, if they are constants, can be replaced by a bias: bool [C]."""
    zero = (value == 0).all(1)
    bordered = isinstance(place, nn.Conv2d) and place.padding_mode == "zeros" and place.padding not in ((0, 0), "valid")
    if place.bias is None or bordered:
        return zero
    return zero | (value == value[:, :1]).all(1)


def _any(label: Tensor, flags: Tensor) -> Tensor:
    """Of each class whether one of its units has the flag: bool [units], at its label."""
    return torch.zeros_like(flags).scatter_reduce(0, label, flags, "amax")


def _pinned(trace: Trace, modules: Modules, values: Mapping[str, Tensor], seen: Units) -> Tensor:
    """Units that have to stay: bool [units]."""
    pinned, made = torch.zeros(2, trace.units, dtype=torch.bool)
    pinned[torch.cat([trace.inputs, trace.outputs])] = True
    names = [step.name for step in trace.steps if isinstance(step, Use)]
    for step in trace.steps:
        made[step.outputs] = True
        if isinstance(step, Use) and (step.groups > 1 or step.name not in values or names.count(step.name) > 1):
            pinned[torch.cat([step.inputs, step.outputs])] = True
    for name, calls in seen.items():
        if len(calls) > 1 or not _independent(modules[name]):
            pinned[torch.cat([units for call in calls for units in call])] = True
    return pinned | ~made


def _independent(module: nn.Module) -> bool:
    """Whether this module can lose channels one by one."""
    if isinstance(module, nn.GroupNorm):
        return module.num_groups == module.num_channels and module.weight is not None
    return isinstance(module, Prunable | _BatchNorm)


def _fold(place: Prunable, value: Tensor, gone: Tensor) -> None:
    """Move what a layer makes of the constants among its inputs [C, positions] into its bias, which is then kept."""
    if place.bias is not None:
        weight = place.weight.flatten(2).sum(2) if place.weight.dim() > 2 else place.weight
        gone = gone.to(weight.device)
        place.bias += (weight[:, gone].double() @ value[gone, 0].double()).to(place.bias.dtype)
        if (mask := getattr(place, BIAS_MASK, None)) is not None:
            mask |= place.bias != 0


def _cut(module: nn.Module, inputs: Tensor, outputs: Tensor) -> None:
    """Keep these channels of the parameters and buffers of a module: bools."""
    for name, value in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
        if value.dim():
            kept = value.detach()[outputs.to(value.device)]
            both = isinstance(module, Prunable) and name in ("weight", MASK) and value.shape[1] == len(inputs)
            _put(module, name, kept[:, inputs.to(value.device)] if both else kept)
    _describe(module)


def _put(module: nn.Module, name: str, value: Tensor) -> None:
    old = getattr(module, name)
    new = nn.Parameter(value.contiguous(), old.requires_grad) if isinstance(old, nn.Parameter) else value.contiguous()
    setattr(module, name, new)


def _describe(module: nn.Module) -> None:
    """Let a module say how many channels it has."""
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.Conv2d):
        module.out_channels, module.in_channels = len(module.weight), module.weight.shape[1] * module.groups
    elif isinstance(module, nn.GroupNorm) and _independent(module):
        module.num_groups = module.num_channels = len(module.weight)
    elif isinstance(module, _BatchNorm) and (known := [module.weight, module.running_mean]) != [None, None]:
        module.num_features = len(next(value for value in known if value is not None))
