"""A bound on how far pruning has moved the outputs: Theorem 3.2 of L-OBS (Dong, Chen and Pan, NIPS 2017).

With E_k = mean |W^_k x - W_k x|^2 of layer k on its inputs x in the dense network, summed over positions,

    |outputs' - outputs|  <=  sum_k  L_k  sqrt(E_k)

in root mean squares over images, where L_k is the product of the Lipschitz constants of all that follows layer k in the
pruned network: 1 for ReLU and max pooling, the norm of its weight matrix for a layer. The paper has Frobenius norms;
spectral norms are never larger. That of a convolution is multiplied by the root of how many patches a pixel is in.
"""

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from math import ceil, prod, sqrt

import torch
from torch import Tensor, nn

from yoco.networks.base import Network
from yoco.sparsify.hold import remove
from yoco.sparsify.network import Prunable, answered, both, dtype_of, layers, matrix, patches, portions, run, watched
from yoco.sparsify.trial import twin

KEEPS = (nn.ReLU, nn.LeakyReLU, nn.Flatten, nn.Identity, nn.Dropout, nn.Dropout2d, nn.Tanh, nn.Sigmoid, nn.Hardtanh)
"""Modules that bring no two inputs further apart, in evaluation mode."""


@dataclass(frozen=True)
class LayerError:
    """One layer's error on the inputs that it has in the dense network.

    measured: 0.5 mean |(W^ - W) x|^2 over its inputs, from outputs that were computed. moved: root mean square over
    images of the change of all its outputs. frobenius, spectral: L_k of its bound; None where it is not known.
    """

    measured: float
    moved: float
    frobenius: float | None
    spectral: float | None


@dataclass(frozen=True)
class Certificate:
    """How far pruning has moved the outputs of the layers and of the network.

    layers: by name of the weight. moved: root mean square over images of how far the network's outputs moved.
    """

    layers: dict[str, LayerError]
    moved: float

    def bound(self, norm: str) -> float | None:
        """The bound of `moved` by the theorem with "frobenius" or "spectral" norms; None where a factor is unknown."""
        terms = [(getattr(layer, norm), layer.moved) for layer in self.layers.values()]
        if any(factor is None for factor, _ in terms):
            return None
        return sum(factor * moved for factor, moved in terms)


@torch.no_grad()
def certify(dense: nn.Module, sparse: nn.Module, batches: Iterable[Tensor]) -> Certificate:
    """Measure what pruning did, on these images as the networks see them, [n, C, H, W].

    dense, sparse: the network before and after; only the weights and biases of their layers may differ. Bounds exist
    for chains: networks of yoco.networks without branches and nn.Sequential, of layers, ReLU, pooling and batch norm.
    Networks in 16 bits are measured as copies in float64: bounds are of the weights, not of what rounding adds.

    Raises:
        ValueError: there are no images, or a network returns something else than one tensor.
    """
    sparse = remove(deepcopy(sparse))  # its zeros are zero, whatever has moved them
    if dtype_of(dense).itemsize < 4:
        dense, sparse, batches = twin(dense), twin(sparse), (batch.double() for batch in batches)
    places, pruned = layers(dense), layers(sparse)
    sums, moved, images, calls = dict.fromkeys(places, 0.0), 0.0, 0, dict.fromkeys(places, 0)
    with watched(places) as seen:
        for batch in batches:
            outputs = answered("certify", run(dense, batch))
            for name, inputs in seen.items():
                change = matrix(pruned[name]).double() - matrix(places[name]).double()
                for given in (part for one in inputs for part in portions(places[name], one)):
                    rows = patches(places[name], given)
                    sums[name] += float((rows @ change.mT).square().sum())
                    calls[name] += rows.shape[1]
            seen.clear()
            moved += float((_outputs(sparse, batch) - outputs.double()).square().sum())
            images += len(batch)
    if not images:
        raise ValueError("certify: needs images, got none")
    after = {norm: factors(sparse, norm) for norm in ("frobenius", "spectral")}
    errors = {
        name: LayerError(
            total / 2 / max(calls[name], 1), sqrt(total / images), *(after[norm].get(name) for norm in after)
        )
        for name, total in sums.items()
    }
    return Certificate(errors, sqrt(moved / images))


def _outputs(network: nn.Module, batch: Tensor) -> Tensor:
    return answered("certify", run(network, batch)).double()


def factors(network: nn.Module, norm: str) -> dict[str, float]:
    """L_k of each layer, by the name of its weight.

    Nothing if the network is no chain of modules that are known, or has a layer or a weight in it twice.
    """
    steps = chain(network)
    names = {id(layer): name for name, layer in layers(network).items()}
    if steps is None or sorted(id(step) for step in steps if isinstance(step, Prunable)) != sorted(names):
        return {}
    constants = [lipschitz(step, norm) for step in steps]
    if any(constant is None for constant in constants):
        return {}
    known = [constant for constant in constants if constant is not None]
    return {names[id(step)]: prod(known[at + 1 :]) for at, step in enumerate(steps) if id(step) in names}


def chain(network: nn.Module) -> list[nn.Module] | None:
    """The modules through which an image goes, one after another; None if that cannot be told."""
    if isinstance(network, Network):
        stages = [chain(stage) for stage in network.stages]
        if any(stage is None for stage in stages):
            return None
        return [*(module for stage in stages for module in stage or []), nn.Flatten(), network.head]
    if type(network) is nn.Sequential:
        inner = [chain(module) for module in network]
        return None if any(part is None for part in inner) else [module for part in inner for module in part or []]
    return None if list(network.children()) else [network]


@torch.no_grad()
def lipschitz(module: nn.Module, norm: str) -> float | None:
    """An upper bound on the Lipschitz constant of a module in Euclidean distance; None if it is unknown."""
    if isinstance(module, Prunable):
        return _layer_norm(module, norm)
    if isinstance(module, nn.AvgPool2d | nn.MaxPool2d):
        return _pool_norm(module)
    if isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size in (1, (1, 1)):
        return 1.0
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.running_var is not None:
        scale = (module.running_var.double() + module.eps).rsqrt()
        return float((scale if module.weight is None else scale * module.weight.double().abs()).max())
    if isinstance(module, KEEPS) and abs(getattr(module, "negative_slope", 0)) <= 1:
        return 1.0
    return None


def _layer_norm(layer: Prunable, norm: str) -> float:
    rows = layer.weight.detach().double().flatten(1)
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    if norm == "frobenius":
        size = float(rows.norm())
    else:
        size = float(torch.linalg.matrix_norm(rows.unflatten(0, (groups, -1)), 2).max())
    return size * sqrt(_coverage(layer)) if isinstance(layer, nn.Conv2d) else size


def _coverage(layer: nn.Conv2d) -> int:
    """How often one pixel can be in a patch; padding that repeats pixels makes it more."""
    sides = zip(layer.kernel_size, layer.stride, layer.dilation, strict=True)
    once = prod(ceil(size / stride) if dilation == 1 else size for size, stride, dilation in sides)
    if layer.padding_mode == "zeros":
        return once
    left, right, above, below = layer._reversed_padding_repeated_twice
    return once * prod(_copies(layer.padding_mode, around) for around in ((left, right), (above, below)))


def _copies(mode: str, around: tuple[int, int]) -> int:
    """How often a pixel can be on a padded line: reflect and circular show it once more at each end."""
    return 1 + sum(around) if mode == "replicate" else 1 + sum(side > 0 for side in around)


def _pool_norm(pool: nn.AvgPool2d | nn.MaxPool2d) -> float | None:
    """Of pools whose windows lie side by side or apart; means of fewer pixels at the border make it 1."""
    size, stride = (both(value) for value in (pool.kernel_size, pool.stride))
    apart = all(s >= k for k, s in zip(size, stride, strict=True))
    if isinstance(pool, nn.MaxPool2d):
        return 1.0 if apart and both(pool.dilation) == (1, 1) else None
    if not apart or pool.divisor_override is not None:
        return None
    return 1.0 if pool.ceil_mode or not pool.count_include_pad else 1 / sqrt(prod(size))
