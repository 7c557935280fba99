"""Follow the paths of a network from its inputs to its outputs: one run in which tensors hold logs of path counts.

A path is a chain of kept weights, one of each layer on its way, from a pixel to an output, through one position of
every map it crosses. Biases, norms and activations neither add nor stop any; a pool passes on each position of its
window; an addition or a difference passes on both terms. Whatever the forward of the network does is followed,
branches included.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yoco.sparsify.logspace import Map, Sum
from yoco.sparsify.trace import Choose, Trace
from yoco.sparsify.trial import twin


def follow(network: nn.Module, shape: tuple[int, int, int], choose: Choose) -> Trace:
    """Run a copy of the network, in evaluation mode, on an image (C, H, W) with one path into every pixel.

    Raises:
        ValueError: the network does something that paths cannot be followed through.
    """
    copied = twin(network)
    device = next(copied.parameters()).device
    trace = Trace(choose, {id(parameter): name for name, parameter in copied.named_parameters()})
    trace.inputs = trace.fresh(shape[0])
    image = torch.zeros(1, *shape, dtype=torch.float64, device=device)
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        answer = copied(_flow(image, trace.inputs, trace))
        if not isinstance(answer, Flow):
            raise ValueError(f"paths: the network must return one tensor, got {type(answer).__name__}")
        trace.outputs, trace.end = answer.units, _log(answer)
    return trace


class Flow(Tensor):
    """Log counts of the paths into each position, [1, units, ...]; `units` numbers them, see Trace."""

    units: Tensor
    record: Trace
    spent: bool

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """What a function of torch means for paths."""
        name = func.__name__
        with torch._C.DisableTorchFunctionSubclass():
            if name in QUERIES:
                found = func(*args, **(kwargs or {}))
                if not isinstance(found, Tensor) or isinstance(found, Flow):
                    return found
                name = func.__self__.__name__  # an attribute such as .mT or .data, which is another tensor
            if name not in RULES:
                raise ValueError(f"paths: cannot follow {name}; it is not a layer, norm, activation, pool, sum or cat")
            return RULES[name](*args, **(kwargs or {}))


def _flow(log: Tensor, units: Tensor, trace: Trace) -> Flow:
    flow = log.as_subclass(Flow)
    flow.units, flow.record, flow.spent = units, trace, False
    return flow


def _log(flow: Flow) -> Tensor:
    if flow.spent:
        raise ValueError("paths: cannot follow a tensor that was added to in place and is used again")
    with torch._C.DisableTorchFunctionSubclass():
        return flow.as_subclass(Tensor)


def _through(input: Flow, apply: Callable[[Tensor], Tensor]) -> Flow:
    """A map of positions that leaves the units as they are."""
    log = _log(input)
    return _flow(Map.apply(log, log.new_ones(()), lambda counts, _: apply(counts)), input.units, input.record)


def _same(input: Flow, *_: Any, **__: Any) -> Flow:
    return input


def _copied(input: Flow, *_: Any, **__: Any) -> Flow:
    return _flow(_log(input), input.units, input.record)


def _into(rule: Callable[..., Flow]) -> Callable[..., Flow]:
    """The rule of a method that changes its tensor, which must be a map itself."""

    def changed(input: Any, *others: Any, **how: Any) -> Flow:
        if not isinstance(input, Flow):
            raise ValueError("paths: cannot follow a constant that is changed in place")
        return rule(input, *others, **how)

    return changed


def _weighed(input: Flow, weight: Tensor, groups: int, apply: Callable[[Tensor, Tensor], Tensor]) -> Flow:
    trace, log = input.record, _log(input)
    if id(weight) not in trace.names:
        raise ValueError("paths: cannot follow a layer whose weight is not a parameter of the network")
    mask = trace.mask(weight, log)
    return _flow(Map.apply(log, mask, apply), trace.layer(weight, input.units, groups), trace)


def _linear(input: Flow, weight: Tensor, bias: Tensor | None = None) -> Flow:
    if input.ndim != 2:
        raise ValueError(f"paths: a linear layer must get [n, features], got {input.ndim} dimensions")
    return _weighed(input, weight, 1, F.linear)


def _conv2d(
    input: Flow,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Flow:
    return _weighed(input, weight, groups, lambda x, w: F.conv2d(x, w, None, stride, padding, dilation, groups))


def _add(input: Any, other: Any, **_: Any) -> Flow:
    if not (isinstance(input, Flow) and isinstance(other, Flow)):
        constant: Flow = input if isinstance(input, Flow) else other
        return constant
    if input.shape != other.shape:
        raise ValueError(f"paths: cannot add maps of {list(input.shape)} and {list(other.shape)}")
    units = input.record.fresh(len(input.units))
    for term in (input, other):
        input.record.join(term.units, units)
    return _flow(Sum.apply(_log(input), _log(other)), units, input.record)


def _add_in_place(input: Flow, other: Any, **_: Any) -> Flow:
    added = _add(input, other)
    input.spent = added is not input
    return added


def _scale(input: Any, other: Any = 1, **_: Any) -> Flow:
    if isinstance(input, Flow) and isinstance(other, Flow):
        raise ValueError("paths: cannot follow a product of two maps")
    constant: Flow = input if isinstance(input, Flow) else other
    return constant


def _cat(tensors: Sequence[Any], dim: int = 0, **_: Any) -> Flow:
    if not all(isinstance(part, Flow) for part in tensors) or dim % tensors[0].ndim != 1:
        raise ValueError("paths: can follow cat of maps along dimension 1 only")
    units = torch.cat([part.units for part in tensors])
    return _flow(torch.cat([_log(part) for part in tensors], 1), units, tensors[0].record)


def _reshaped(name: str) -> Callable[..., Flow]:
    """flatten, view and their like: the units stay, or each becomes as many features as it has positions."""

    def rule(input: Flow, *args: Any, **kwargs: Any) -> Flow:
        """What becomes of the flow, as the operation itself shapes its numbers."""
        log, trace = getattr(Tensor, name)(_log(input), *args, **kwargs), input.record
        if log.shape[:2] == input.shape[:2]:
            return _flow(log, input.units, trace)
        if log.shape != (1, input.numel()):
            raise ValueError(f"paths: cannot follow {name} of {list(input.shape)} to {list(log.shape)}")
        features = trace.fresh(input.numel())
        trace.join(input.units.repeat_interleave(input.numel() // len(input.units)), features, spread=True)
        return _flow(log, features, trace)

    return rule


def _getitem(input: Flow, index: Any) -> Flow:
    parts = index if isinstance(index, tuple) else (index,)
    if Ellipsis in parts[:2] and len(parts) <= input.ndim - 1:
        parts = (slice(None), slice(None), *parts[1:])
    if parts[0] != slice(None) or not all(isinstance(part, slice) for part in parts):
        raise ValueError("paths: can follow slices of channels and positions only")
    units = input.units[parts[1]] if len(parts) > 1 else input.units
    return _flow(_log(input)[index], units, input.record)


def _pad(input: Flow, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Flow:
    log = F.pad(_log(input), list(pad), mode, -torch.inf if mode == "constant" else None)
    edges = [*pad[4:6], 0, 0][:2]
    fresh = [input.record.fresh(count) for count in edges]
    return _flow(log, torch.cat([fresh[0], input.units, fresh[1]]), input.record)


def _mean(input: Flow, dim: Any = None, keepdim: bool = False, **_: Any) -> Flow:
    dims = [d % input.ndim for d in ([dim] if isinstance(dim, int) else dim or [0])]
    if min(dims) < 2:
        raise ValueError("paths: can follow means over positions only")
    return _through(input, lambda counts: counts.sum(dims, keepdim=keepdim))


def _avg_pool2d(
    input: Flow,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Flow:
    stride = kernel_size if stride is None or stride == () else stride
    return _through(input, lambda counts: F.avg_pool2d(counts, kernel_size, stride, padding, ceil_mode, True, 1))


def _max_pool2d(
    input: Flow,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Flow:
    if return_indices or dilation not in (1, (1, 1), [1, 1]):
        raise ValueError("paths: cannot follow max_pool2d with a dilation or with indices")
    return _avg_pool2d(input, kernel_size, stride, padding, ceil_mode)


def _adaptive_pool2d(input: Flow, output_size: Any, return_indices: bool = False) -> Flow:
    def window_sums(counts: Tensor) -> Tensor:
        """The mean of every window times its size."""
        means = F.adaptive_avg_pool2d(counts, output_size)
        sizes = [
            [-(-(i + 1) * side // out) - i * side // out for i in range(out)]
            for side, out in zip(counts.shape[2:], means.shape[2:], strict=True)
        ]
        return means * counts.new_tensor(sizes[0])[:, None] * counts.new_tensor(sizes[1])

    return _through(input, window_sums)


NORMS = ("batch_norm", "group_norm", "instance_norm", "layer_norm")
ACTIVATIONS = (
    *("relu", "relu_", "relu6", "leaky_relu", "leaky_relu_", "prelu", "rrelu", "elu", "elu_", "selu", "celu", "gelu"),
    *("silu", "mish", "softplus", "sigmoid", "tanh", "hardtanh", "hardtanh_", "hardswish", "hardsigmoid", "clamp"),
    *("dropout", "dropout2d", "feature_dropout", "alpha_dropout"),
)
QUERIES = ("dim", "size", "numel", "ndimension", "stride", "is_floating_point", "__len__", "__get__", "is_contiguous")
RULES: dict[str, Callable[..., Flow]] = {
    **dict.fromkeys((*NORMS, *ACTIVATIONS, "contiguous"), _same),
    **dict.fromkeys(("add", "__add__", "__radd__"), _add),
    **dict.fromkeys(("sub", "subtract", "__sub__", "rsub", "__rsub__"), _add),
    **dict.fromkeys(("__iadd__", "__isub__"), _add_in_place),
    **dict.fromkeys(("add_", "sub_"), _into(_add_in_place)),
    **dict.fromkeys(("mul", "__mul__", "__rmul__", "div", "true_divide", "__truediv__"), _scale),
    **dict.fromkeys(("__imul__", "__idiv__", "__itruediv__"), _scale),
    **dict.fromkeys(("mul_", "div_"), _into(_scale)),
    **dict.fromkeys(("cat", "concat", "concatenate"), _cat),
    **{name: _reshaped(name) for name in ("flatten", "view", "reshape", "squeeze", "unsqueeze")},
    **dict.fromkeys(("mean", "sum"), _mean),
    **dict.fromkeys(("adaptive_avg_pool2d", "adaptive_max_pool2d"), _adaptive_pool2d),
    "clone": _copied,
    "linear": _linear,
    "conv2d": _conv2d,
    "avg_pool2d": _avg_pool2d,
    "max_pool2d": _max_pool2d,
    "pad": _pad,
    "__getitem__": _getitem,
}
"""Name of a function or method of torch -> what it means for paths."""
