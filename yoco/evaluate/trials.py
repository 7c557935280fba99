"""Trials: one network each, trained from scratch and measured now and then; in turn or in several processes."""

import os
import signal
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from copy import deepcopy
from dataclasses import dataclass, replace
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot
from tqdm import tqdm

from yoco import networks
from yoco.condensed import CondensedSet
from yoco.data.source import Batch, Source, Splits
from yoco.recipes import Distilled
from yoco.rng import Rng
from yoco.screen import hidden
from yoco.train import Examples, Normalise, Recipe, accuracy, fit, predict

if TYPE_CHECKING:
    from multiprocessing.synchronize import Semaphore

Curve = tuple[tuple[int, float], ...]
"""Pairs (epochs done, test accuracy in percent)."""
Confusion = tuple[tuple[int, ...], ...]
"""Counts of test images by true class (row) and predicted class (column)."""


class Measured(NamedTuple):
    """The result of a trial: its curve and, if wanted, the confusion at the end."""

    curve: Curve
    confusion: Confusion | None = None


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One network to train. name: of the training set: condensed, coreset, random or full; images: how many it has."""

    name: str
    network: str
    seed: int
    recipe: Recipe
    images: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Trials and what they share. budget: images of each class in a random subset; everything lies on the CPU.

    measurements: how often the accuracy is measured, at most. confusion: whether it is counted at the end. weights:
    float [n] of the examples, with a mean of 1.
    """

    examples: CondensedSet | Source
    splits: Splits
    budget: tuple[int, ...]
    normalise: Normalise
    device: torch.device
    autocast: torch.dtype | None
    trials: tuple[Trial, ...]
    measurements: int = 4
    confusion: bool = False
    weights: Tensor | None = None

    def training(self, trial: Trial) -> Examples:
        """The images that a trial trains on, on its device."""
        if trial.name == "full":
            return self.splits.train.to(self.device)
        if trial.name == "random":
            subset = random_subset(self.splits.train, self.budget, Rng(trial.seed).child("evaluate", "random"))
            return subset.to(self.device)
        kept = self.examples.as_dataset().to(self.device)
        return kept if self.weights is None else Weighted(kept, self.weights, len(self.examples.classes))

    def measure(self, index: int, tick: Callable[[], object] = lambda: None) -> Measured:
        """Train the network of one trial; `tick` is called after every epoch.

        Raises:
            ValueError: its weights do not stay finite.
        """
        trial = self.trials[index]
        rng = Rng(trial.seed).child("evaluate")
        test, shape = self.splits.test.to(self.device), self.splits.test.shape
        network = networks.build(trial.network, shape, len(test.classes), rng.child("network", trial.network))
        network.to(self.device).autocast = self.autocast
        curve: list[tuple[int, float]] = []

        def after(epoch: int) -> None:
            if epoch + 1 in measured(trial.recipe, self.measurements):
                curve.append((epoch + 1, accuracy(network, test, self.normalise)))
            tick()

        training, recipe = self.training(trial), self.recipe(trial)
        fit(network, training, recipe, self.normalise, rng.child("train", trial.name), after_epoch=after)
        if not finite(network):
            rule = f"weights must be finite, got NaN or infinity in {trial.network} on {trial.name}, seed {trial.seed}"
            raise ValueError(f"evaluate: training diverged: {rule}; lower the step size")
        return Measured(tuple(curve), confusion_of(network, test, self.normalise) if self.confusion else None)

    def apart(self) -> "Plan":
        """The plan for another process: its training half has a single image if no trial is trained on it."""
        if any(trial.name in ("random", "full") for trial in self.trials):
            return self
        one = self.splits.train.take(torch.arange(1))
        return replace(self, splits=self.splits._replace(train=one))

    def recipe(self, trial: Trial) -> Recipe:
        """That of a trial, with its teacher, if it has one, on the device."""
        if not isinstance(trial.recipe, Distilled) or trial.recipe.teacher is None:
            return trial.recipe
        return replace(trial.recipe, teacher=deepcopy(trial.recipe.teacher).to(self.device))


def finite(network: nn.Module) -> bool:
    """Whether all weights are."""
    return all(bool(weight.isfinite().all()) for weight in network.parameters())


def confusion_of(network: nn.Module, test: Source, normalise: Normalise) -> Confusion:
    """Counts of test images by true class (row) and predicted class (column)."""
    classes, found = len(test.classes), predict(network, test, normalise).argmax(1)
    pairs = test.labels.cpu() * classes + found.cpu()
    counts = torch.bincount(pairs, minlength=classes**2).view(classes, classes)
    return tuple(map(tuple, counts.tolist()))


@dataclass(frozen=True)
class Weighted:
    """Examples with weights [n], which multiply their targets, as cross-entropy is linear in these."""

    examples: Examples
    weights: Tensor
    classes: int

    def __len__(self) -> int:
        return len(self.examples)

    def batch(self, indices: Tensor) -> Batch:
        """These images, with soft labels times their weights: float [n, classes]."""
        images, targets = self.examples.batch(indices)
        soft = targets if targets.is_floating_point() else one_hot(targets, self.classes)
        return Batch(images, soft.to(images) * self.weights[indices.cpu(), None].to(images))


def evened(weights: Any, count: int, recipe: Recipe) -> Tensor:
    """Weights as float64 [n] of mean 1.

    Raises:
        ValueError: they are not one for each example, not all finite and at least 0, or not for this recipe.
    """
    try:
        found = torch.as_tensor(weights).detach().cpu().double()
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"evaluate: weights must be numbers [{count}], got {type(weights).__name__}") from None
    if (type(recipe).loss, type(recipe).error) != (Recipe.loss, Recipe.error):
        raise ValueError(
            "evaluate: weights can only be used with protocols that train by cross-entropy, such as idc, got another"
        )
    if found.shape != (count,):
        raise ValueError(f"evaluate: weights must be [{count}], got {list(found.shape)}")
    if not bool((found.isfinite() & (found >= 0)).all()) or not found.any():
        raise ValueError("evaluate: weights must be finite, at least 0, and not all 0")
    return found / found.mean()


def measured(recipe: Recipe, times: int) -> set[int]:
    """The numbers of epochs after which to measure: `times` of them, or all if fewer, evenly, and at the end."""
    return {recipe.epochs * k // times for k in range(1, times)} - {0} | {recipe.length}


def random_subset(train: Source, budget: tuple[int, ...], rng: Rng) -> Source:
    """A random choice of so many images of each class, or all if there are fewer."""
    chosen = [
        members[rng.child(label).choice(len(members), count)]
        for label, (members, count) in enumerate(zip(train.by_class, budget, strict=True))
    ]
    return train.take(torch.cat(chosen))


def run(plan: Plan, jobs: int, progress: bool, found: dict[int, Measured]) -> None:
    """Run all trials and add their results to `found` by number; if one fails, those of the others done by then.

    jobs: processes, which share the threads.
    """
    total = sum(trial.recipe.length for trial in plan.trials)
    with tqdm(total=total, desc="evaluate", unit="epoch", disable=hidden(progress)) as bar:
        if jobs > 1:
            _run_apart(plan.apart(), min(jobs, len(plan.trials)), bar.update, found)
        else:
            for index in range(len(plan.trials)):
                found[index] = plan.measure(index, bar.update)


def _run_apart(plan: Plan, jobs: int, advance: Callable[[int], object], found: dict[int, Measured]) -> None:
    """`run` with several processes."""
    context = get_context("spawn")
    stop = context.Semaphore(0)
    shared = (threads_of(jobs), torch.get_default_dtype(), stop)
    pool = ProcessPoolExecutor(jobs, context, initializer=_begin, initargs=shared)
    futures: list[Future[Measured]] = []
    try:
        futures += [pool.submit(plan.measure, index) for index in range(len(plan.trials))]
        for index, future in enumerate(futures):
            found[index] = future.result()
            advance(plan.trials[index].recipe.length)
    except BrokenExecutor:
        found |= _done(futures)
        why = "for lack of memory, or as the script does not guard its main code by if __name__ == '__main__'"
        raise ValueError(f"evaluate: one of the {jobs} worker processes died, perhaps {why}") from None
    except BaseException:
        found |= _done(futures)
        for _ in range(jobs):
            stop.release()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _done(futures: list[Future[Measured]]) -> dict[int, Measured]:
    return {index: future.result() for index, future in enumerate(futures) if well(future)}


def well(future: Future[Measured]) -> bool:
    """Whether a trial is done, and well."""
    return future.done() and not future.cancelled() and future.exception() is None


def threads_of(jobs: int) -> int:
    """Threads of each of so many processes."""
    return max(1, torch.get_num_threads() // jobs)


def _begin(threads: int, dtype: torch.dtype, stop: "Semaphore") -> None:
    """Set up another process; Ctrl-C, which reaches it too, is left to its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    torch.set_default_dtype(dtype)
    Thread(target=_follow, args=(stop,), daemon=True).start()


def _follow(stop: "Semaphore") -> None:
    """End in the middle of a trial when the parent says so, or is not there any more."""
    parent = parent_process()
    while parent is not None and parent.is_alive() and not stop.acquire(timeout=0.5):
        pass
    os._exit(1)
