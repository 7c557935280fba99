"""Trials: what a seed decides on, samples that count more than others, and processes that find what one finds."""

import os
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from yoco.condensed import CondensedSet
from yoco.data.source import Splits
from yoco.evaluate import evaluate
from yoco.evaluate.trials import Measured, Plan, Weighted
from yoco.networks import build
from yoco.prune import select
from yoco.rng import Rng
from yoco.train import Normalise, Recipe, fit

TYPED = """
import os
from pathlib import Path
from yoco.networks import MLP

class Typed(MLP):
    '''Leaves what it computes in.'''
    def __init__(self, channels, classes, size):
        super().__init__(channels, classes, size, width=4)
        Path("seen", f"{os.getpid()}-{self.head.weight.dtype}").touch()
"""


def test_every_seed_has_weights_an_order_and_a_subset_of_its_own(
    tiny: Splits, tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Tensor] = []
    images: list[Tensor] = []
    orders: list[int] = []

    def fit(network: Any, examples: Any, recipe: Recipe, normalise: Normalise, rng: Rng, **hooks: Any) -> None:
        begun.append(network.head.weight.detach().clone())
        images.append(examples.batch(torch.arange(len(examples))).images)
        orders.append(rng.key())
        hooks["after_epoch"](recipe.length - 1)

    monkeypatch.setattr("yoco.evaluate.trials.fit", fit)
    quick: dict[str, Any] = {"networks": "mlp:width=8", "progress": False, "device": "cpu"}
    evaluate(tiny_set, tiny, epochs=1, seeds=3, baselines=("random",), **quick)
    assert len(set(orders)) == len(orders) == 6  # three seeds of the set, then three of the baseline
    for i, j in combinations(range(3), 2):
        assert not torch.equal(begun[i], begun[j])
        assert not torch.equal(images[3 + i], images[3 + j])
    assert all(torch.equal(begun[k], begun[k + 3]) for k in range(3))  # rows are compared on the same networks


QUICK: dict[str, Any] = {"networks": "mlp:width=8", "progress": False, "device": "cpu", "curve": True}


def test_a_weight_of_two_is_a_sample_twice(tiny: Splits) -> None:
    some = tiny.train.take(torch.arange(0, 120, 7))
    weights = torch.where(torch.arange(len(some)) % 3 == 0, 2.0, 1.0)
    twice = some.take(torch.arange(len(some)).repeat_interleave(weights.long()))
    recipe = Recipe(epochs=1, batch=100, lr=0.1, cutmix=0.0)
    networks = []
    for examples in (Weighted(some, weights / weights.mean(), 3), twice):
        network = build("mlp:width=8", some.shape, 3, Rng(0))
        fit(network, examples, recipe, Normalise(some.mean, some.std), Rng(1))
        networks.append(network)
    for mine, theirs in zip(*(network.parameters() for network in networks), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_a_sample_weighs_the_same_in_every_batch(tiny: Splits) -> None:
    some = tiny.train.take(torch.arange(0, 120, 20))
    found = Weighted(some, torch.tensor([0.5, 2, 1, 1, 1, 0.5]), 3).batch(torch.tensor([1, 0]))
    assert found.labels.sum(1).tolist() == [2.0, 0.5]


def test_weights_stand_in_the_order_of_the_set(tiny: Splits, tiny_set: CondensedSet) -> None:
    for data in (tiny.train, tiny_set):
        chosen = select(data, rule="craig", n=9, network="mlp:width=8", epochs=2, progress=False)
        assert chosen.weights is not None
        kept, places = chosen.of(data), data.labels[chosen.indices]
        order = torch.argsort(places, stable=True) if data is tiny_set else torch.arange(9)
        assert torch.equal(chosen.weights_of(data), chosen.weights[order])
        found = evaluate(kept, tiny, epochs=2, weights=chosen.weights_of(data), seeds=1, **QUICK)
        assert (found.weighted, "its images had weights" in repr(found)) == (True, True)
    assert select(tiny_set, rule="random", ipc=1).weights_of(tiny_set) is None


def test_equal_weights_change_nothing(tiny: Splits, tiny_set: CondensedSet) -> None:
    how: dict[str, Any] = {"epochs": 3, "seeds": 1, "measurements": 3, **QUICK}
    plain = evaluate(tiny_set, tiny, **how).results[0].curves
    assert evaluate(tiny_set, tiny, weights=7 * np.ones(36), **how).results[0].curves == plain


def test_weights_reach_the_training_of_the_set_alone(
    tiny: Splits, tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    sums: list[Tensor | None] = []

    def fit(network: Any, examples: Any, recipe: Recipe, normalise: Normalise, rng: Rng, **hooks: Any) -> None:
        labels = examples.batch(torch.arange(len(examples))).labels
        sums.append(labels.sum(1) if labels.is_floating_point() else None)
        hooks["after_epoch"](recipe.length - 1)

    monkeypatch.setattr("yoco.evaluate.trials.fit", fit)
    weights = torch.arange(36.0)
    evaluate(tiny_set, tiny, epochs=1, seeds=1, baselines=("random",), weights=weights, **QUICK)
    assert sums[0] is not None
    torch.testing.assert_close(sums[0], weights / weights.mean())
    assert sums[1:] == [None]


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ({"weights": "craig"}, "evaluate: weights must be numbers [36], got str"),
        ({"weights": [1.0] * 3}, "evaluate: weights must be [36], got [3]"),
        ({"weights": [-1.0] * 36}, "evaluate: weights must be finite, at least 0, and not all 0"),
        ({"weights": [0.0] * 36}, "evaluate: weights must be finite, at least 0, and not all 0"),
        (
            {"weights": [1.0] * 36, "protocol": "frepo"},
            "evaluate: weights can only be used with protocols that train by cross-entropy, such as idc, got another",
        ),
    ],
)
def test_weights_that_cannot_be_are_one_line(
    tiny: Splits, tiny_set: CondensedSet, how: dict[str, Any], line: str
) -> None:
    with pytest.raises(ValueError) as caught:
        evaluate(tiny_set, tiny, **how)
    assert str(caught.value) == line


@pytest.mark.parametrize(("baselines", "images"), [((), 1), (("random",), 120), (("full",), 120)])
def test_other_processes_have_no_training_half_that_nobody_reads(
    tiny: Splits,
    tiny_set: CondensedSet,
    monkeypatch: pytest.MonkeyPatch,
    baselines: tuple[str, ...],
    images: int,
) -> None:
    sent: list[Plan] = []

    def here(plan: Plan, jobs: int, advance: Callable[[int], object], found: dict[int, Measured]) -> None:
        sent.append(plan)
        found.update({index: plan.measure(index) for index in range(len(plan.trials))})

    monkeypatch.setattr("yoco.evaluate.trials._run_apart", here)
    how: dict[str, Any] = {"epochs": 1, "seeds": 1, "baselines": baselines, **QUICK}
    how |= {"full_epochs": 1} if baselines == ("full",) else {}
    found = evaluate(tiny_set, tiny, jobs=2, **how)
    assert [len(plan.splits.train) for plan in sent] == [images]
    assert found.results == evaluate(tiny_set, tiny, **how).results
    assert found.checksum == tiny.train.checksum


def test_processes_find_what_one_finds_in_its_type_with_their_share_of_its_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Splits
) -> None:
    (tmp_path / "seen").mkdir()
    (tmp_path / "mine_typed.py").write_text(TYPED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    how: dict[str, Any] = {"networks": "mine_typed:Typed", "epochs": 12, "seeds": 3, "device": "cpu", "progress": False}
    how |= {"protocol": "rded", "teacher_epochs": 2, "curve": True, "confusion": True}  # they are sent the teacher
    threads = torch.get_num_threads()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(4)
    try:
        found, alone = (evaluate(tiny.train, tiny, jobs=jobs, **how) for jobs in (2, 1))
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(torch.float32)
    assert found.threads == 2
    elsewhere = [path.name for path in (tmp_path / "seen").iterdir() if not path.name.startswith(f"{os.getpid()}-")]
    assert len(elsewhere) >= 1
    assert all(name.endswith("-torch.float64") for name in elsewhere)
    apart, inside = found.results[0], alone.results[0]
    assert apart.seeds == inside.seeds == (0, 1, 2)
    assert len(set(inside.curves)) > 1
    assert [sum(map(sum, counts)) for counts in apart.confusions] == [120, 120, 120]
    np.testing.assert_allclose(np.array(apart.curves), np.array(inside.curves), atol=1.0)
