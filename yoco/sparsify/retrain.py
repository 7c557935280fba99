"""What follows pruning: light retraining with the zeros held, batch norm seen anew, and both in rounds."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from augment import Policy
from yoco.data.source import Batch
from yoco.device import cpu_by_default
from yoco.rng import Rng
from yoco.sparsify.hold import held
from yoco.sparsify.network import dtype_of
from yoco.sparsify.pruned import Pruned
from yoco.train import Examples, Normalise, Recipe, evaluating, shuffled, train_step


@cpu_by_default
def retrain(
    network: nn.Module,
    examples: Examples,
    normalise: Normalise,
    rng: Rng,
    *,
    steps: int,
    lr: float = 1e-3,
    batch: int = 128,
    weight_decay: float = 0.0,
    augment: str = "",
) -> None:
    """Train a sparse network in place for some steps of Adam, its step size falling to 0 along a straight line.

    examples: a source, or the decoded cells of a condensed set (`set.as_dataset()`). The zeros that are held (see
    `install`) stay zeros. augment: a policy such as "color_crop".

    Raises:
        ValueError: the network holds no zeros, or is in float16, or steps is below 0.
    """
    device, dtype = next(network.parameters()).device, dtype_of(network)
    if dtype == torch.float16:
        rule = "the network must be in float32, float64 or bfloat16, got float16, where squares of gradients vanish"
        raise ValueError(f"retrain: {rule}")
    if held(network) is None:
        raise ValueError("retrain: the network must have masks, got none; install them first")
    if steps < 0:
        raise ValueError(f"retrain: steps must be at least 0, got {steps}")
    optimizer = torch.optim.Adam(network.parameters(), lr=lr, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / max(steps, 1))
    recipe, done = Recipe(epochs=1, batch=batch, augment=Policy(augment)), 0
    while done < steps:
        for indices in list(shuffled(len(examples), batch, rng.child("pass", done)))[: steps - done]:
            images, labels = examples.batch(indices)
            drawn = Batch(images.to(device, dtype), labels.to(device))
            train_step(network, optimizer, drawn, recipe, normalise, rng.child("step", done))
            schedule.step()
            done += 1


@cpu_by_default
@torch.no_grad()
def reestimate(network: nn.Module, examples: Examples, normalise: Normalise, rng: Rng, *, batch: int = 128) -> None:
    """Re-estimate the running means and variances of batch norms as plain averages over batches of the examples.

    L-OBS does so after pruning. Batches are random, so that each varies as all examples do, even if these are sorted by
    class; a last batch of one image is left out. Nothing else in the network changes, and without batch norms nothing
    at all. A norm that the images do not reach keeps its statistics; after an error all norms do.

    Raises:
        ValueError: no batch has two images.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not norms:
        return
    if min(batch, len(examples)) < 2:
        raise ValueError(f"reestimate: needs at least 2 images a batch, got batch {batch} of {len(examples)} examples")
    device, dtype = next(network.parameters()).device, dtype_of(network)
    with evaluating(network), _plain_averages(norms):
        for indices in shuffled(len(examples), batch, rng):
            if len(indices) > 1:
                network(normalise(examples.batch(indices).images.to(device)).to(dtype))


@contextmanager
def _plain_averages(norms: Sequence[_BatchNorm]) -> Iterator[None]:
    """Norms that average over all batches within; those that saw none keep what they had, and all do after an error."""
    before, momenta = [[value.clone() for value in _statistics(norm)] for norm in norms], [n.momentum for n in norms]
    done = False
    for norm in norms:
        norm.reset_running_stats()
        norm.train().momentum = None
    try:
        yield
        done = True
    finally:
        for norm, momentum, values in zip(norms, momenta, before, strict=True):
            norm.momentum = momentum
            now = _statistics(norm)
            if not done or not int(now[-1]):
                for value, old in zip(now, values, strict=True):
                    value.copy_(old)


def _statistics(norm: _BatchNorm) -> list[Tensor]:
    """Running mean and variance, and of how many batches: the tensors themselves."""
    return [value for value in (norm.running_mean, norm.running_var, norm.num_batches_tracked) if value is not None]


def gradually(
    network: nn.Module,
    prune: Callable[[nn.Module, float], Pruned],
    mend: Callable[[nn.Module], None],
    *,
    sparsity: float,
    rounds: int,
) -> Pruned:
    """Prune in rounds that each keep the same share of the weights left; returns the `Pruned` of the last round.

    prune: called with the network and a sparsity, such as a `Pruner` with its data. mend: called with the network after
    each round but the last, such as `retrain`. The network is changed: it ends with the last round's weights and zeros.

    Raises:
        ValueError: rounds is below 1.
    """
    if rounds < 1:
        raise ValueError(f"sparsify: rounds must be at least 1, got {rounds}")
    for number in range(1, rounds + 1):
        now = 1 - (1 - sparsity) ** (number / rounds) if number < rounds else sparsity
        pruned = prune(network, now)
        pruned.install(network)
        if number < rounds:
            mend(network)
    return pruned


def check_learned(network: nn.Module) -> None:
    """Refuse a network whose training diverged.

    Raises:
        ValueError: it has weights that are not finite.
    """
    if not all(bool(weight.isfinite().all()) for weight in network.parameters()):
        raise ValueError("sparsify: weights must be finite, got nan or infinity as the training diverged; lower lr")
