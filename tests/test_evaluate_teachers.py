"""Protocols with teachers: who teaches, what is said of them, and what is refused."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import yoco
from yoco.cli import run
from yoco.condensed import CondensedSet
from yoco.data.source import Source, Splits
from yoco.evaluate import Result, evaluate, teachers
from yoco.evaluate.trials import Measured, Plan
from yoco.protocols import PROTOCOLS
from yoco.recipes import Distilled, Regression
from yoco.train import Normalise, Recipe

SMALL = "mlp:width=8"
HOW: dict[str, Any] = {"seeds": 1, "networks": SMALL, "progress": False, "protocol": "rded", "epochs": 2}


class Known(nn.Module):
    """Says the nearest class mean of the test images; keeps how often it was asked, and in which mode."""

    def __init__(self, tiny: Splits, off: int = 0) -> None:
        super().__init__()
        means = torch.stack([tiny.test.batch(members).images.mean(0) for members in tiny.test.by_class])
        shift, scale = torch.tensor(tiny.train.mean), torch.tensor(tiny.train.std)
        self.means = nn.Parameter(((means - shift[:, None, None]) / scale[:, None, None]).flatten(1).roll(off, 0))
        self.asked: list[bool] = []

    def forward(self, images: Tensor) -> Tensor:
        self.asked.append(self.training)
        return -torch.cdist(images.flatten(1), self.means)


def found(tiny: Splits, tiny_set: CondensedSet, **how: Any) -> Result:
    return evaluate(tiny_set, tiny, **{**HOW, **how})


def test_a_network_of_each_kind_is_taught_first(tiny: Splits, tiny_set: CondensedSet) -> None:
    networks = (SMALL, "mlp:width=4")
    made = found(tiny, tiny_set, networks=networks, teacher_epochs=3, baselines=("random",), seeds=2)
    assert [(each["network"], each["epochs"]) for each in made.teachers] == [(name, 3) for name in networks]
    assert all(0 < each["accuracy"] <= 100 for each in made.teachers)
    assert [row.name for row in made.results] == ["condensed", "condensed", "random", "random"]
    said = made.teachers[0]["accuracy"]
    assert f"the teacher: {SMALL} after 3 epochs on the training images, {said:.2f}" in repr(made)
    assert made.to_dict()["teachers"] == [dict(each) for each in made.teachers]
    assert found(tiny, tiny_set, teacher_epochs=3).teachers == made.teachers[:1]


def test_a_teacher_of_ones_own_is_asked_and_left_as_it_was(tiny: Splits, tiny_set: CondensedSet) -> None:
    teacher = Known(tiny).train()
    made = found(tiny, tiny_set, teacher=teacher)
    assert [set(each) for each in made.teachers] == [{"network", "accuracy"}]
    assert made.teachers[0]["network"] == "Known"
    assert f"the teacher: Known, {made.teachers[0]['accuracy']:.2f}" in repr(made)
    assert teacher.training
    assert not teacher.asked
    assert teacher.means.requires_grad


def test_a_teacher_may_compute_in_another_type(tiny: Splits, tiny_set: CondensedSet) -> None:
    usual, double = found(tiny, tiny_set, teacher=Known(tiny)), found(tiny, tiny_set, teacher=Known(tiny).double())
    assert double.teachers[0]["accuracy"] == pytest.approx(usual.teachers[0]["accuracy"], abs=2)
    assert double.teachers[0]["network"] == "Known"
    assert len(double.results[0].last) == 1


def test_a_teacher_without_weights_is_shown_images_in_the_type_of_its_buffers() -> None:
    images, norm = torch.rand(2, 1, 4, 4), nn.BatchNorm2d(1, affine=False).double().eval()
    assert teachers.Cast(norm)(images).dtype == torch.float64
    assert teachers.Cast(nn.Flatten())(images).dtype == images.dtype


def test_a_teacher_of_the_protocol_itself_teaches(
    tiny: Splits, tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, teacher = ModuleType("mine"), Known(tiny)
    module.own = lambda *words: Distilled(epochs=2, batch=4, teacher=teacher)
    monkeypatch.setitem(sys.modules, "mine", module)
    made, given = (
        found(tiny, tiny_set, protocol="mine:own"),
        found(tiny, tiny_set, protocol="mine:own", teacher=teacher),
    )
    assert [each["network"] for each in made.teachers] == ["Known"]
    assert made.results == given.results
    with pytest.raises(ValueError, match="a given teacher is not trained further, got teacher_epochs=3"):
        found(tiny, tiny_set, protocol="mine:own", teacher_epochs=3)


def test_teachers_learn_the_training_half_as_the_set_normalises_it(
    tiny: Splits, tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, Normalise]] = []
    plain = teachers.fit

    def fit(network: nn.Module, data: Source, recipe: Recipe, normalise: Normalise, *rest: Any, **how: Any) -> None:
        seen.append((data.checksum, normalise))
        plain(network, data, recipe, normalise, *rest, **how)

    monkeypatch.setattr(teachers, "fit", fit)
    found(tiny, replace(tiny_set, mean=(0.1,), std=(0.7,)), teacher_epochs=1)
    assert seen == [(tiny.train.checksum, Normalise((0.1,), (0.7,)))]


def test_each_network_is_taught_by_its_own_kind(
    tiny: Splits, tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans: list[Plan] = []

    def run(plan: Plan, jobs: int, progress: bool, found: dict[int, Measured]) -> None:
        plans.append(plan)
        found |= {k: Measured(((1, 50.0),)) for k in range(len(plan.trials))}

    monkeypatch.setattr(import_module("yoco.evaluate"), "run", run)
    found(tiny, tiny_set, networks=("mlp:width=8", "mlp:width=4"), teacher_epochs=1)
    recipes: list[Any] = [trial.recipe for trial in plans[0].trials]
    assert [recipe.teacher.head.in_features for recipe in recipes] == [8, 4]


def test_labels_are_the_teachers_alone(tiny: Splits, tiny_set: CondensedSet) -> None:
    asked: dict[str, Any] = {"teacher": Known(tiny), "protocol": "sre2l", "networks": "mlp:width=64", "epochs": 300}
    learned = found(tiny, tiny_set, **asked)
    assert learned.results[0].last[0] > 60
    turned = replace(tiny_set, labels=tiny_set.labels.flip(0), soft_labels=torch.eye(3).repeat(12, 1))
    assert found(tiny, turned, **asked).results == learned.results
    by_labels = found(tiny, tiny_set, protocol="idc", epochs=2)
    assert by_labels.teachers == ()
    assert "teacher" not in repr(by_labels)


def test_regression_counts_in_steps_but_its_baselines_in_images(
    tiny: Splits, tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yoco.protocols.frepo", lambda *about: Regression(epochs=1000, batch=27))
    asked: dict[str, Any] = {"protocol": "frepo", "epochs": 7, "baselines": ("random", "full")}
    for full, steps in ((None, 45), (4, 18)):  # 10 and 4 epochs of 120 images in steps of 27
        made = found(tiny, tiny_set, **asked, full_epochs=full)
        turns = {row.name: (row.images, row.epochs) for row in made.results}
        assert turns == {"condensed": (36, 7), "random": (9, 21), "full": (120, steps)}


@pytest.mark.parametrize(("asks", "named"), [(True, "condensed"), (False, "random, full")])
def test_a_protocol_that_asks_for_some_rows_alone_is_refused_ahead_of_the_training(
    tiny: Splits, tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch, asks: bool, named: str
) -> None:
    module, kinds = ModuleType("mine_some"), (Distilled(epochs=2, batch=4), Recipe(epochs=2))
    module.some = lambda data, shape, factor, ipc: kinds[(factor > 1) != asks]  # the set has the factor 2
    monkeypatch.setitem(sys.modules, "mine_some", module)
    monkeypatch.setattr(teachers, "fit", None)
    with pytest.raises(ValueError) as caught:
        found(tiny, tiny_set, protocol="mine_some:some", baselines=("random", "full"))
    rule = "evaluate: a protocol must need a teacher for all rows or for none"
    assert str(caught.value) == f"{rule}, got one for {named} only"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_trains_and_gives_the_same_again(protocol: str, tiny: Splits, tiny_set: CondensedSet) -> None:
    learned = replace(tiny_set, config={"learned": {"lr": 0.02}})
    first, second = (found(tiny, learned, protocol=protocol, seeds=2) for _ in range(2))
    assert first.results == second.results
    assert (first.protocol, first.epochs) == (protocol, 2)
    assert len(first.teachers) == (protocol in ("rded", "sre2l"))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (
            {"protocol": "idc", "teacher_epochs": 3},
            "teacher and teacher_epochs can only be used with a protocol that needs a teacher, such as rded, got idc",
        ),
        ({"teacher_epochs": 0}, "teacher_epochs must be at least 1, got 0"),
        ({"teacher": "mine", "teacher_epochs": 3}, "a given teacher is not trained further, got teacher_epochs=3"),
        (
            {"teacher": "rolled"},
            r"a teacher must be better than guessing, got .* % of the test images right; ",
        ),
        ({"teacher": "wide"}, r"a teacher must return logits \[n, 3\], got \[\d+, 5\]"),
        ({"teacher": "mine", "protocol": "dsa"}, "teacher and teacher_epochs can only be used with a protocol"),
    ],
)
def test_what_is_refused(how: dict[str, Any], said: str, tiny: Splits, tiny_set: CondensedSet) -> None:
    wide = nn.Sequential(nn.Flatten(), nn.Linear(tiny.test.shape[1] * tiny.test.shape[2], 5))
    mine = {"mine": Known(tiny), "rolled": Known(tiny, off=1), "wide": wide}
    asked = {**how, **({"teacher": mine[how["teacher"]]} if "teacher" in how else {})}
    with pytest.raises(ValueError, match=f"evaluate: {said}"):
        found(tiny, tiny_set, **asked)


def test_a_teacher_that_diverged_is_said(tiny: Splits, tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(network: nn.Module, *_: Any, **__: Any) -> None:
        next(network.parameters()).detach().fill_(float("nan"))

    monkeypatch.setattr("yoco.evaluate.teachers.fit", diverge)
    with pytest.raises(
        ValueError, match=r"^evaluate: weights of the teacher \S+ must be finite, got NaN or infinity after 2 epo"
    ):
        found(tiny, tiny_set, teacher_epochs=2)


def test_the_command_takes_the_file_of_a_teacher(
    tmp_path: Path, fails: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    kind, weights, small = "mlp:width=32", str(tmp_path / "dense.safetensors"), str(tmp_path / "set.safetensors")
    learn = ["sparsify", "--data", "digits", "--network", kind, "--epochs", "8", "--sparsity", "0", "--images", "60"]
    assert run([*learn, "--out", str(tmp_path)]) == 0
    yoco.condense("digits", "random", ipc=1, progress=False).save(small)
    quick = ["evaluate", small, "--protocol", "rded", "--network", "mlp:width=4", "--epochs", "1", "--seeds", "1"]
    assert run([*quick, "--teacher", weights, "--teacher-network", kind]) == 0
    (teacher,) = json.loads((tmp_path / "evaluation-set-rded.json").read_text())["teachers"]
    assert (teacher["network"], teacher["file"]) == ("MLP", weights)
    right = json.loads((tmp_path / "sparsify.json").read_text())["accuracy"]["dense"]
    assert teacher["accuracy"] == pytest.approx(right)
    assert f"the teacher: MLP of {weights}, {right:.2f}" in capsys.readouterr().out
    wrong = {
        (weights,): f"evaluate: {weights} must hold weights of this network, got: ",
        (f"{tmp_path}/none.pt",): f"{tmp_path}/none.pt: No such file",
        (str(tmp_path),): f"{tmp_path}: Is a folder, name a file",
        (weights, "--teacher-network", kind, "--teacher-epochs", "3"): "a given teacher is not trained further",
        (weights, "--teacher-network", kind, "--protocol", "idc"): "such as rded, got idc",
    }
    for words, line in wrong.items():
        assert line in fails(*quick, "--teacher", *words)
    assert "--teacher-network needs --teacher, got mlp" in fails(*quick, "--teacher-network", "mlp")
