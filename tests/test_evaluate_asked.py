"""What a caller of `evaluate` asks for, from Python: numbers of other packages, data without a name, notebooks."""

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from augment import Flip, InTurn
from yoco.condensed import CondensedSet
from yoco.data import from_arrays, load
from yoco.data.source import Splits
from yoco.evaluate import evaluate, made_from
from yoco.evaluate.asked import check_sent, seeds_of
from yoco.train import Normalise, Recipe

QUICK: dict[str, Any] = {"networks": "mlp:width=4", "progress": False, "device": "cpu"}


@pytest.mark.parametrize(
    ("seeds", "numbers"),
    [
        (2, (0, 1)),
        (np.int64(2), (0, 1)),
        (torch.tensor(2), (0, 1)),
        ((5, np.int64(3)), (5, 3)),
        (torch.tensor([5, 3]), (5, 3)),
        (range(2, 4), (2, 3)),
    ],
)
def test_seeds_are_whole_numbers_of_any_kind(seeds: Any, numbers: tuple[int, ...]) -> None:
    found = seeds_of(seeds)
    assert found == numbers
    assert {type(each) for each in found} == {int}


@pytest.mark.parametrize(
    ("seeds", "got"), [(1.5, "1.5"), ((0, 1.5), "1.5"), (("0",), "'0'"), (torch.tensor(1.0), "tensor(1.)")]
)
def test_other_seeds_are_refused(tiny: Splits, tiny_set: CondensedSet, seeds: Any, got: str) -> None:
    with pytest.raises(ValueError) as caught:
        evaluate(tiny_set, tiny, epochs=1, seeds=seeds, **QUICK)
    assert str(caught.value) == f"evaluate: seeds must be a whole number, got {got}"


def test_epochs_of_numpy_are_told_as_others(tiny: Splits, tiny_set: CondensedSet) -> None:
    epochs: Any = np.int64(2)
    found = evaluate(tiny_set, tiny, epochs=epochs, seeds=1, **QUICK)
    assert type(found.to_dict()["epochs"]) is type(found.results[0].epochs) is int
    assert found.results == evaluate(tiny_set, tiny, epochs=2, seeds=1, **QUICK).results


def fill(folder: Path) -> Path:
    """Three images of each of two classes."""
    for name, level in (("a", 20), ("b", 200)):
        (folder / name).mkdir(parents=True)
        for number in range(3):
            Image.fromarray(np.full((8, 8), level + number, np.uint8)).save(folder / name / f"{number}.png")
    return folder


def test_images_from_python_are_no_folder_of_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "train")
    monkeypatch.chdir(tmp_path)
    pixels, labels = np.zeros((4, 8, 8), np.uint8), ["a", "a", "b", "b"]
    half = load({"train": (pixels, labels), "test": (pixels, labels)}).train
    for mine in (half, half.take(torch.tensor([0, 2])), from_arrays(pixels, labels, name="train")):
        with pytest.raises(ValueError) as caught:
            evaluate(mine, epochs=1, seeds=1, **QUICK)
        rule = "data must be given again for a set made from Python objects, got none"
        assert str(caught.value) == f"evaluate: {rule}"


def test_images_are_found_where_they_were_read(tmp_path: Path) -> None:
    folder = fill(tmp_path / "mine")
    train = load(folder).train
    assert made_from(train) == made_from(train.take(torch.tensor([0, 1]))) == str(folder)
    assert made_from(load("digits", size=4).train) == "digits"
    found = evaluate(train, epochs=1, seeds=1, **QUICK)
    assert (found.data, found.test_checksum) == ("mine", load(folder).test.checksum)


def test_a_network_of_a_notebook_is_refused_among_processes(
    tiny: Splits, tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    with pytest.raises(ValueError) as caught:
        evaluate(tiny_set, tiny, epochs=1, jobs=2, **{**QUICK, "networks": ("mlp:width=4", "__main__:Small:width=4")})
    rule = "networks must be in a module that other processes can import if jobs is above 1"
    assert str(caught.value) == f"evaluate: {rule}, got '__main__:Small:width=4', which is in no file"


class Slow(Recipe):
    """A recipe of a notebook."""


class Still:
    """An augmentation of a notebook, which changes nothing."""

    def draw(self, count: int, size: tuple[int, int], generator: torch.Generator) -> dict[str, torch.Tensor]:
        return {}

    def apply(self, images: torch.Tensor, params: Any) -> torch.Tensor:
        return images


class Knowing(nn.Flatten):
    """A teacher of a notebook, or a part of one."""


def test_what_else_of_a_notebook_is_refused_among_processes(
    tiny: Splits, tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    module: Any = ModuleType("mine")
    module.slow = lambda *about: Slow(epochs=1)
    module.still = lambda *about: Recipe(epochs=1, augment=InTurn((Flip(), Still())))
    monkeypatch.setitem(sys.modules, "mine", module)
    for kind in (Slow, Still, Knowing):
        monkeypatch.setattr(kind, "__module__", "__main__")
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    monkeypatch.setattr("yoco.evaluate.with_teachers", None)
    teacher = nn.Sequential(Knowing(), nn.Linear(64, 3))
    rule = "recipes, augmentations and teachers must be in a module that other processes can import"
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"protocol": "mine:slow"}, "Slow"),
        ({"protocol": "mine:still"}, "Still"),
        ({"protocol": "rded", "epochs": 1, "teacher": teacher}, "Knowing"),
    )
    for how, name in cases:
        with pytest.raises(ValueError) as caught:
            evaluate(tiny_set, tiny, jobs=2, **how, **QUICK)
        got = f"'__main__:{name}', which is in no file"
        assert str(caught.value) == f"evaluate: {rule} if jobs is above 1, got {got}"
    check_sent([Recipe(epochs=1)], nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), 2)
    check_sent([Slow(epochs=1)], teacher, 1)


def test_what_a_script_defines_may_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    script: Any = ModuleType("__main__")
    script.__file__ = "study.py"
    monkeypatch.setitem(sys.modules, "__main__", script)
    monkeypatch.setattr(Slow, "__module__", "__main__")
    check_sent([Slow(epochs=1)], None, 2)


def test_a_protocol_is_told_of_whole_images(
    tiny: Splits, tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []
    module = ModuleType("mine_asked")
    module.own = lambda *about: asked.append(about) or Recipe(epochs=1)
    monkeypatch.setitem(sys.modules, "mine_asked", module)
    uneven = tiny_set.take(torch.tensor([0, 12, 13, 14, 15, 16, 24, 25, 26, 27]))
    how: dict[str, Any] = {**QUICK, "epochs": 1, "seeds": 1, "baselines": ("random", "full"), "full_epochs": 1}
    evaluate(uneven, tiny, protocol="mine_asked:own", **how)
    about = ("digits", (1, 8, 8))
    assert asked == [(*about, 2, 1.25), (*about, 1, 2), (*about, 1, 40)]


def test_test_images_are_normalised_as_the_set_is(
    tiny: Splits, tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Normalise] = []

    def accuracy(network: nn.Module, data: Any, normalise: Normalise) -> float:
        seen.append(normalise)
        return 50.0

    def predict(network: nn.Module, data: Any, normalise: Normalise) -> torch.Tensor:
        seen.append(normalise)
        return torch.eye(3)[data.labels]

    monkeypatch.setattr("yoco.evaluate.trials.accuracy", accuracy)
    monkeypatch.setattr("yoco.evaluate.trials.predict", predict)
    mine = replace(tiny_set, mean=(0.1,), std=(0.7,))
    evaluate(mine, tiny, epochs=1, seeds=1, baselines=("full",), full_epochs=1, confusion=True, **QUICK)
    assert seen == [Normalise((0.1,), (0.7,))] * 4
