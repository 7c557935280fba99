"""Soft labels by a teacher: their formula, their class order, who makes them, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import yoco
from yoco.condense import condense, relabel
from yoco.condense.labels import Labels
from yoco.condense.method import Task
from yoco.condense.teacher import Teacher, taught
from yoco.condensed import CondensedSet
from yoco.data import Splits
from yoco.data.source import Source
from yoco.prune import rank
from yoco.prune.at_hand import carried

NETWORK = "convnet:width=8,depth=2"


class Knows(nn.Module):
    """Logits that are larger, by a little, for one class of each of the cells, which come in order."""

    def __init__(self, labels: torch.Tensor, classes: int) -> None:
        super().__init__()
        self.rows = 2 * torch.eye(classes)[labels] + torch.arange(classes) / 10
        self.drop = nn.Dropout(0.5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.drop(self.rows) + 0 * images.flatten(1).sum(1, keepdim=True)


def test_labels_are_the_softmax_over_the_temperature(tiny_set: CondensedSet) -> None:
    teacher = Knows(tiny_set.labels, 3)
    made = relabel(tiny_set, teacher, temperature=4.0)
    powers = np.exp(teacher.rows.double().numpy() / 4)
    assert made.soft_labels is not None
    np.testing.assert_allclose(made.soft_labels.numpy(), powers / powers.sum(1, keepdims=True), rtol=1e-6)
    assert teacher.training  # it was asked in evaluation mode, and is as it was
    assert torch.equal(made.cells, tiny_set.cells)
    assert torch.equal(made.labels, tiny_set.labels)
    assert made.nbytes == tiny_set.nbytes + 4 * 36 * 3
    assert made.history[-1] == {"step": "relabel", "teacher": "Knows", "temperature": 4.0}


def test_a_module_sees_decoded_images_as_the_set_normalises_them(tiny_set: CondensedSet) -> None:
    seen = []

    class Spy(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(images)
            return torch.eye(3)[tiny_set.labels]

    relabel(tiny_set, Spy())
    torch.testing.assert_close(seen[0], (tiny_set.decode() - tiny_set.mean[0]) / tiny_set.std[0])


def test_labels_stand_in_the_class_order_of_the_set_not_of_the_module(tiny_set: CondensedSet) -> None:
    theirs = ("2", "0", "1")  # so class 0 of the set is their output 1
    teacher = Knows(torch.tensor([1, 2, 0])[tiny_set.labels], 3)
    made = relabel(tiny_set, teacher, classes=theirs)
    assert made.soft_labels is not None
    assert torch.equal(made.soft_labels.argmax(1), tiny_set.labels)
    with pytest.raises(ValueError, match="right as guessing, got 0 of 36; pass classes in the teacher's order"):
        relabel(tiny_set, teacher)


def test_a_module_must_say_as_many_right_as_guessing(tiny_set: CondensedSet) -> None:
    def knows(right: int) -> Knows:
        return Knows((tiny_set.labels + (torch.arange(36) >= right)) % 3, 3)

    assert relabel(tiny_set, knows(12)).soft_labels is not None
    with pytest.raises(ValueError, match="right as guessing, got 11 of 36"):
        relabel(tiny_set, knows(11))


def test_a_teacher_that_is_kept_is_only_read(
    tiny: Splits, tiny_set: CondensedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how: dict[str, Any] = {"epochs": 2, "network": NETWORK, "progress": False, "out": tmp_path}
    first = relabel(tiny_set, tiny, **how).soft_labels
    monkeypatch.delattr(Teacher, "learn")
    again = relabel(tiny_set, tiny, **how).soft_labels
    assert first is not None
    assert again is not None
    assert torch.equal(again, first)


def whole_images(tiny: Splits, like: CondensedSet) -> CondensedSet:
    """Twelve training images of each class in place of the cells."""
    images = tiny.train.batch(torch.cat([members[:12] for members in tiny.train.by_class])).images
    return replace(like, cells=images, factor=1)


def renamed(source: Source, classes: tuple[str, ...]) -> Source:
    """The same images, whose classes have other numbers."""
    numbers = torch.tensor([classes.index(name) for name in source.classes])
    return replace(source, labels=numbers[source.labels], classes=classes)


def test_labels_stand_in_the_class_order_of_the_set_not_of_the_data(tiny: Splits, tiny_set: CondensedSet) -> None:
    """The trap of RDED's folders: images sorted otherwise teach a network whose outputs mean other classes."""
    whole = whole_images(tiny, tiny_set)
    other = Splits(*(renamed(half, ("2", "0", "1")) for half in tiny))
    for data in (tiny, other):
        made = relabel(whole, data, epochs=12, network=NETWORK, progress=False)
        assert made.soft_labels is not None
        assert float((made.soft_labels.argmax(1) == tiny_set.labels).float().mean()) > 0.9


def test_numbers_of_classes_stand_for_names_in_their_order(tiny: Splits, tiny_set: CondensedSet) -> None:
    how: dict[str, Any] = {"epochs": 2, "network": NETWORK, "device": "cpu", "progress": False}
    named = Splits(*(replace(half, classes=("b", "c", "a")) for half in tiny))
    found, wanted = (relabel(tiny_set, data, **how).soft_labels for data in (named, tiny))
    assert found is not None
    assert wanted is not None
    assert torch.equal(found, wanted)


def test_numbers_of_classes_go_by_their_value(tiny: Splits, tiny_set: CondensedSet) -> None:
    how: dict[str, Any] = {"epochs": 2, "network": NETWORK, "device": "cpu", "progress": False}
    other = Splits(*(renamed(half, ("2", "0", "1")) for half in tiny))
    padded = Splits(*(replace(half, classes=("02", "00", "01")) for half in other))
    found, wanted = (relabel(tiny_set, data, **how).soft_labels for data in (padded, other))
    assert torch.equal(found, wanted)  # type: ignore[arg-type]


def test_numbers_stand_for_no_names_of_other_data(tiny: Splits, tiny_set: CondensedSet) -> None:
    how: dict[str, Any] = {"epochs": 12, "network": NETWORK, "device": "cpu", "progress": False}
    named = Splits(*(replace(half, classes=("b", "c", "a")) for half in tiny))
    with pytest.raises(ValueError, match=r"^relabel: classes must be those of the set, 0, 1, 2, got b, c, a$"):
        relabel(replace(tiny_set, source={"name": "mnist"}), named, **how)
    turned = Splits(*(replace(half, labels=(half.labels + 1) % 3) for half in named))
    rule = "teacher must get at least as many labels of the set right as guessing"
    with pytest.raises(ValueError, match=rf"^relabel: {rule}, got "):
        relabel(whole_images(tiny, tiny_set), turned, **how)


def test_data_teach_a_network_that_labels(tiny: Splits, tiny_set: CondensedSet) -> None:
    how: dict[str, Any] = {"epochs": 2, "network": NETWORK, "seed": 5, "device": "cpu", "progress": False}
    made = relabel(tiny_set, tiny, temperature=2.0, **how)
    teacher = taught(Task(tiny.train, 1, NETWORK), 2, seed=5)
    assert made.soft_labels is not None
    torch.testing.assert_close(made.soft_labels, (teacher.logits(tiny_set.decode()) / 2).softmax(1))
    again = relabel(tiny_set, tiny, temperature=2.0, **how)
    assert torch.equal(again.soft_labels, made.soft_labels)  # type: ignore[arg-type]
    assert made.history[-1]["data"] == tiny.train.checksum


def test_any_smaller_set_keeps_its_labels_and_files_do(tiny_set: CondensedSet, tmp_path: Path) -> None:
    made = relabel(tiny_set.quantised(), Knows(tiny_set.labels, 3))
    made.save(tmp_path / "set.safetensors")
    small = yoco.load(tmp_path / "set.safetensors", cells=2)
    assert made.soft_labels is not None
    assert torch.equal(small.soft_labels, made.soft_labels[[0, 1, 12, 13, 24, 25]])  # type: ignore[arg-type]


def test_evaluation_trains_on_them(tiny: Splits, tiny_set: CondensedSet) -> None:
    """Labels that say the opposite of the hard ones teach the opposite."""
    plain = whole_images(tiny, tiny_set)
    turned = replace(plain, soft_labels=torch.eye(3)[(plain.labels + 1) % 3])
    found = [
        yoco.evaluate(each, tiny, epochs=200, seeds=1, networks=NETWORK, progress=False).results[0].last[0]
        for each in (plain, turned)
    ]
    assert found[0] > 80
    assert found[1] < 20


def run(tiny: Splits, method: str, **changes: Any) -> CondensedSet:
    taught = changes.get("labels") == "teacher" and method != "rded"
    how: dict[str, Any] = {"ipc": 1, "network": NETWORK, "progress": False} | ({"teacher_epochs": 2} if taught else {})
    return condense(tiny, method, **{**how, **changes})


def test_a_new_set_gets_the_labels_that_are_asked_for(tiny: Splits) -> None:
    assert run(tiny, "herding").soft_labels is None
    assert run(tiny, "herding", labels="hard").soft_labels is None
    made = run(tiny, "herding", labels="teacher", seed=3)
    expected = relabel(run(tiny, "herding"), tiny, epochs=2, network=NETWORK, seed=3, progress=False)
    assert torch.equal(made.soft_labels, expected.soft_labels)  # type: ignore[arg-type]


def test_a_method_that_learns_labels_may_be_told_not_to(tiny: Splits) -> None:
    small = {"episodes": 1, "pool": 1, "real_batch": 20}
    learned, named = run(tiny, "frepo", **small), run(tiny, "frepo", labels="learned", **small)
    assert torch.equal(learned.soft_labels, named.soft_labels)  # type: ignore[arg-type]
    assert run(tiny, "frepo", labels="hard", **small).soft_labels is None
    by_teacher = run(tiny, "frepo", labels="teacher", **small)
    assert by_teacher.config["labels"] == "hard"
    assert by_teacher.history[-1]["step"] == "relabel"


def test_a_method_with_a_teacher_needs_no_other(tiny: Splits, tmp_path: Path) -> None:
    made = run(tiny, "rded", labels="teacher", episodes=1, out=tmp_path)
    assert made.soft_labels is not None
    assert made.history == ()
    assert not (tmp_path / "teacher").exists()


def test_a_run_killed_while_its_teacher_learns_goes_on_to_the_same_bits(tiny: Splits, tmp_path: Path) -> None:
    whole, learn = run(tiny, "random", labels="teacher", teacher_epochs=3), Teacher.learn

    def killed(self: Teacher) -> None:
        if self.age == 2:
            raise KeyboardInterrupt
        learn(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Teacher, "learn", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tiny, "random", labels="teacher", teacher_epochs=3, out=tmp_path)
    again = run(tiny, "random", labels="teacher", teacher_epochs=3, out=tmp_path)
    assert torch.equal(again.soft_labels, whole.soft_labels)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="holds a run with labels=teacher, got None"):
        run(tiny, "random", out=tmp_path)


@pytest.mark.parametrize(
    ("kind", "own", "line"),
    [
        ("learned", ("hard",), "condense: labels must be hard or teacher with idc, got 'learned'"),
        ("learned", ("teacher", "hard"), "condense: labels must be hard or teacher with idc, got 'learned'"),
        ("soft", ("learned", "hard"), "condense: labels must be hard, teacher or learned with idc, got 'soft'"),
    ],
)
def test_labels_that_a_method_has_not(kind: str, own: tuple[str, ...], line: str) -> None:
    with pytest.raises(ValueError, match=f"^{line}$"):
        Labels(kind=kind, method="idc", own=own)


def test_options_that_a_teacher_has_no_use_for_are_refused(tiny: Splits, tiny_set: CondensedSet) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    line = r"^relabel: a teacher module is not trained, got epochs, network, out, seed or bf16 with it$"
    for how in ({"epochs": 3}, {"network": "mlp"}, {"out": "x"}, {"seed": 3}, {"bf16": True}):
        with pytest.raises(ValueError, match=line):
            relabel(tiny_set, module, **how)
    with pytest.raises(ValueError, match=r"^relabel: a teacher module runs on its own device, got device=cpu with it$"):
        relabel(tiny_set, module, device="cpu")
    with pytest.raises(
        ValueError, match=r"^relabel: classes can only be used with a teacher module, got them with data$"
    ):
        relabel(tiny_set, tiny, classes=tiny.train.classes)


def test_what_is_refused(tiny: Splits, tiny_set: CondensedSet) -> None:
    few = Splits(*(replace(half, classes=("0", "1", "x")) for half in tiny))
    for teacher, options, line in (
        (Knows(tiny_set.labels, 3), {"temperature": 0.0}, "relabel: temperature must be above 0, got 0"),
        (Knows(tiny_set.labels, 4), {}, r"relabel: logits must be \[36, 3\], got \[36, 4\]"),
        (few, {"network": NETWORK}, "relabel: classes must be those of the set, 0, 1, 2, got 0, 1, x"),
        (tiny, {"epochs": 0}, "^relabel: epochs must be at least 1, got 0"),
    ):
        with pytest.raises(ValueError, match=line):
            relabel(tiny_set, teacher, progress=False, **options)  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match="relabel: a set in ZCA space must record how it was whitened, got one that does"
    ):
        relabel(replace(tiny_set, space="zca"), tiny)
    with pytest.raises(ValueError, match=r"relabel: data must have images \[1, 7, 7\] like the set, got \[1, 8, 8\]"):
        relabel(replace(tiny_set, size=(7, 7)), tiny)
    with pytest.raises(ValueError, match="condense: teacher_epochs must be at least 1, got 0"):
        run(tiny, "random", labels="teacher", teacher_epochs=0)


def test_scores_of_networks_that_learned_other_labels_are_gone(tiny_set: CondensedSet) -> None:
    how: dict[str, Any] = {"network": "mlp:width=4", "epochs": 3, "top": 2, "device": "cpu", "progress": False}
    ranked = rank(tiny_set, **how)
    assert carried(ranked) is not None
    relabelled = relabel(ranked, Knows(ranked.labels, 3))
    assert relabelled.scores is None
    assert carried(relabelled) is None
    assert len(relabelled.history) == len(ranked.history) + 1
