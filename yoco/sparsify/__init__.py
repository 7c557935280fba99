"""Prune the weights of a network: layer by layer after training, or at initialisation; on data or a condensed set."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from yoco.condensed import CondensedSet
from yoco.data.source import Source
from yoco.device import at_work, cpu_by_default
from yoco.registry import resolve, signature_of, unknown
from yoco.rng import Rng
from yoco.sparsify.calibration import calibration
from yoco.sparsify.certificate import Certificate, certify
from yoco.sparsify.hold import held, install, remove
from yoco.sparsify.layer import Layer, Solved, curve, solve
from yoco.sparsify.masks import Masks
from yoco.sparsify.measure import measure
from yoco.sparsify.methods import METHODS
from yoco.sparsify.paths import effective
from yoco.sparsify.pruned import Pruned, Report
from yoco.sparsify.pruner import Pruner
from yoco.sparsify.retrain import gradually, reestimate, retrain
from yoco.sparsify.shrink import shrink
from yoco.sparsify.solvers import SOLVERS
from yoco.sparsify.sparse import load, rebuild, save
from yoco.train import Normalise
from yoco.verb import make_callable

__all__ = [
    "METHODS",
    "SOLVERS",
    "Certificate",
    "Layer",
    "Masks",
    "Pruned",
    "Pruner",
    "Report",
    "Solved",
    "certify",
    "curve",
    "effective",
    "gradually",
    "held",
    "install",
    "load",
    "measure",
    "rebuild",
    "reestimate",
    "remove",
    "retrain",
    "save",
    "shrink",
    "solve",
    "sparsify",
]


IMAGES, IMAGES_AT_INIT = 2048, 128


@cpu_by_default
def sparsify(
    network: nn.Module,
    data: Source | CondensedSet,
    *,
    sparsity: float | None = None,
    solver: str | None = None,
    at_init: str | None = None,
    images: int | None = None,
    seed: int = 0,
    normalise: Normalise | None = None,
    **options: Any,
) -> Pruned:
    """Find the masks and weights of a sparse network; the network itself changes only by `install` of the result.

    data: a source or a condensed set; `images` random images of it are the calibration set. By default these are 2,048
    for a solver and 128 at initialisation (the paper of grasp takes 10 per class), or all if there are fewer.
    sparsity: share of zeros among the weights of Linear and Conv2d layers, and with `prune_bias` their biases. A solver
    leaves layers dense that no image reaches, such as the last layer of nn.MultiheadAttention, and warns.
    solver: for trained networks: a name of SOLVERS, by default "exact"; options: those of `Pruner` and of the solver.
    at_init: in place of a solver: a name of METHODS, for masks of a network that is trained afterwards. The weights
    stay as they are; options: those of the method.
    normalise: maps images in [0, 1] to inputs of the network; by default with the mean and deviation of the data.
    After a solver, a network with batch norm needs new running means and variances. Install the result, then call
    `yoco.sparsify.reestimate(network, data, normalise, rng)` with a source, or with `set.as_dataset()` of a condensed
    set, `normalise` as yoco.train.Normalise(data.mean, data.std), and `rng` as yoco.rng.Rng(0).

    Raises:
        ValueError: an unknown name, option or layer, an impossible sparsity, or images that do not fit the network.
    """
    rng = Rng(seed).child("sparsify")
    if at_init is None:
        pruner = Pruner.of({"solver": solver or "exact", **options})
        pruner.check(sparsity)
    elif solver is not None:
        raise ValueError("sparsify: solver is for trained networks, got it together with at_init")
    images = (IMAGES if at_init is None else IMAGES_AT_INIT) if images is None else images
    drawn = calibration(network, data, rng.child("images"), images, normalise)
    if at_init is None:
        with at_work(drawn.device):
            return pruner(network, drawn, sparsity=sparsity, rng=rng)
    if sparsity is None:
        raise ValueError("sparsify: needs sparsity, got None")
    method = resolve("method", METHODS, at_init)
    _check_options(at_init, method, options)
    with at_work(drawn.device):
        masks = method(network, sparsity=sparsity, rng=rng, data=drawn.batch, normalise=drawn.normalise, **options)
    return Pruned(masks, {}, {}, at_init)


def _check_options(name: str, method: Any, options: Mapping[str, Any]) -> None:
    """Refuse options that a method does not have; one that takes **options has all but those that are given to it."""
    parameters = signature_of(method).parameters
    free = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    fixed = {"network", "sparsity", "rng", "data", "normalise"}
    own = {word for word, parameter in parameters.items() if parameter.kind is not parameter.VAR_KEYWORD} - fixed
    for word in options:
        if word in fixed or not (free or word in own):
            raise unknown(f"option of {name}", word, sorted(own))


make_callable(__name__)
