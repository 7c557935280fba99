"""A device whose tensors do not mix with those of the CPU, as a GPU's do not, though the CPU computes for it.

What runs on it also where a computer has no GPU: whether all tensors of a computation are on the device that was asked
for. `lazy` is a kind of device of torch without memory of its own, whose gradients torch computes in the same thread.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from yoco import device
from yoco.networks.pool import AvgPool2

T = TypeVar("T")
WORD = "apart"
PLACE = torch.device("lazy:0")
BETWEEN = ("aten::_to_copy", "aten::copy_")
"""Operators that bring a tensor from one device to the other."""
INDEXED = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")
"""Operators whose indices may be on the CPU, if the tensor is not."""
OF_NETWORKS = ("aten::convolution", "aten::addmm")
"""Operators of networks, which the CPU has no part in."""


class Apart(Tensor):
    """A tensor on the device; held: it, in truth."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    def __new__(cls, held: Tensor) -> "Apart":
        about = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        made = Tensor._make_wrapper_subclass(cls, held.shape, device=PLACE, **about)
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})

    def tolist(self) -> Any:
        return self.held.tolist()

    def __reduce_ex__(self, protocol: Any) -> Any:
        """A file has it as one of the CPU."""
        return self.held.__reduce_ex__(protocol)


class Computing(TorchDispatchMode):
    """Every operator of torch within, as tensors on the device are made by operators that have no tensor yet."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


def compute(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Compute an operator on the CPU; its result is on the device that is named, else where its tensors are.

    Raises:
        RuntimeError: tensors of both devices, a generator of the CPU for random numbers on the device, or a network on
            the CPU.
    """
    asked, name, inputs = kwargs.get("device"), func._schema.name, list(within((*args, *kwargs.values())))
    there = any(isinstance(each, Apart) for each in inputs)
    if there and name not in BETWEEN:
        check(func, args, [each for each in inputs if isinstance(each, Tensor) and not isinstance(each, Apart)])
    if not there and name in OF_NETWORKS:
        raise RuntimeError(f"{name}: expected networks on the device, got one on the CPU")
    there = there if asked is None else torch.device(asked).type == PLACE.type
    if there and any(isinstance(each, torch.Generator) for each in inputs):
        raise RuntimeError(f"{name}: expected a generator of the device, got one of the CPU")
    named = {word: torch.device("cpu") if word == "device" and asked else held(each) for word, each in kwargs.items()}
    made = func(*held(tuple(args)), **named)
    returned = func._schema.returns
    if len(returned) == 1 and returned[0].alias_info is not None and returned[0].alias_info.is_write:
        return changed(func, args, kwargs)
    return apart(made) if there else made


def within(values: Sequence[Any]) -> Iterator[Any]:
    """All values, and those of the lists among them."""
    for each in values:
        yield from within(each) if isinstance(each, (list, tuple)) else (each,)


def held(value: Any) -> Any:
    """What tensors on the device are in truth, also in lists."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(held, value))
    return value.held if isinstance(value, Apart) else value


def apart(value: Any) -> Any:
    """Tensors of the CPU as tensors on the device, also in lists."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(apart, value))
    return Apart(value) if isinstance(value, Tensor) else value


def check(func: Any, args: Sequence[Any], others: Sequence[Tensor]) -> None:
    """Refuse tensors of the CPU beside those on the device, but for numbers, and for indices of a tensor that is."""
    name = func._schema.name
    if name in INDEXED and isinstance(args[0], Apart):
        others = [each for each in args[2:3] if isinstance(each, Tensor) and not isinstance(each, Apart)]
    numbers = torch.Tag.pointwise in func.tags or name in INDEXED
    if any(each.ndim or not numbers for each in others):
        raise RuntimeError(f"{name}: expected all tensors on the same device, got some on the CPU")


def changed(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The argument that an operator writes into and returns."""
    for place, each in enumerate(func._schema.arguments):
        if each.alias_info is not None and each.alias_info.is_write:
            return args[place] if place < len(args) else kwargs[each.name]
    raise AssertionError(func)


def both(run: Callable[[str], T]) -> tuple[T, T]:
    """What a run gives that is told its device: on the CPU, without its own pooling, and on this one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AvgPool2, "forward", nn.AvgPool2d.forward)  # which some processors round otherwise
        plain = run("cpu")
    with there() as word:
        return plain, run(word)


@contextmanager
def there() -> Iterator[str]:
    """Within, the word that is given names this device for everything that takes one."""
    plain, future = device.pick, torch.__future__
    before = future.get_overwrite_module_params_on_conversion()
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(...) goes through operators, too
    future.set_overwrite_module_params_on_conversion(True)  # network.double() makes parameters anew
    try:
        with pytest.MonkeyPatch.context() as patch, Computing():
            for module in [each for name, each in sys.modules.items() if name.split(".")[0] == "yoco"]:
                if getattr(module, "pick", None) is plain:
                    patch.setattr(module, "pick", lambda word: PLACE if word == WORD else plain(word))
            yield WORD
    finally:
        future.set_overwrite_module_params_on_conversion(before)
        torch._C._set_only_lift_cpu_tensors(False)
