"""Run a network as the linear map of its weights, so that what flows through it can be summed and differentiated."""

from collections.abc import Mapping
from inspect import signature
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from yoco.sparsify.flow import ACTIVATIONS, NORMS

SOFTMAXES = (
    *("softmax", "log_softmax", "softmin", "gumbel_softmax"),
    *("scaled_dot_product_attention", "multi_head_attention_forward"),
)
LAYERS = ("linear", *(f"{kind}{n}d" for kind in ("conv", "conv_transpose") for n in (1, 2, 3)))
"""Functions whose third argument is a bias."""


class Linearised(TorchFunctionMode):
    """While it is entered, layers have no biases, activations and dropout do nothing, and norms are linear.

    scaled: a norm in evaluation mode divides by its running deviation, if it has one, and multiplies by the absolute
    values of its weights; else it does nothing. Pools, sums and whatever else the network does are as ever.

    Raises:
        ValueError: the network has a softmax, which has no linear part.
    """

    def __init__(self, scaled: bool) -> None:
        super().__init__()
        self.scaled = scaled

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The linear part of a function of torch."""
        given, name = dict(kwargs or {}), func.__name__
        if name in SOFTMAXES:
            raise ValueError(f"paths: cannot follow {name}; it has no linear part")
        if name in ACTIVATIONS:
            return args[0]
        if name in NORMS:
            return _scaled(name, signature(func).bind(*args, **given).arguments) if self.scaled else args[0]
        if name in LAYERS:
            args = args[:2] + (None,) * (len(args) > 2) + args[3:]
            given = {key: value for key, value in given.items() if key != "bias"}
        return func(*args, **given)


def _scaled(norm: str, given: Mapping[str, Any]) -> Tensor:
    """The linear part of a norm in evaluation mode, without its signs."""
    maps, weight, variance = given["input"], given.get("weight"), given.get("running_var")
    along = [1] * (0 if norm == "layer_norm" else maps.ndim - 2)
    if weight is not None:
        maps = maps * weight.abs().reshape(*weight.shape, *along)
    if variance is not None:
        maps = maps / (variance + given.get("eps", 1e-5)).sqrt().reshape(-1, *along)
    return maps
