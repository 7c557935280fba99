"""Some classes alone, and sets of different classes as one."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

import yoco
from yoco.classes import merge, only
from yoco.condensed import CondensedSet
from yoco.data import Splits, from_arrays
from yoco.data.source import channel_statistics
from yoco.prune import as_set, select


def test_some_classes_of_data_are_the_classes_0_and_1(tiny: Splits) -> None:
    found = only(tiny, ["2", "0"])
    for part, whole in zip(found, tiny, strict=True):
        assert part.classes == ("2", "0")
        assert (part.mean, part.std) == (whole.mean, whole.std)
        for label, old in enumerate((2, 0)):
            assert torch.equal(part.images[part.labels == label], whole.images[whole.labels == old])
        assert len(part) == (whole.labels != 1).sum()
    assert torch.equal(only(tiny.train, ["0", "1", "2"]).labels, tiny.train.labels)


def test_some_classes_of_a_set_keep_its_order_and_their_part_of_soft_labels(tiny_set: CondensedSet) -> None:
    soft = torch.rand(36, 3, generator=torch.Generator().manual_seed(0)).softmax(1)
    whole = replace(tiny_set, soft_labels=soft, scores=torch.arange(36.0))
    found = only(whole, ["2", "0"])
    rows = torch.cat([torch.arange(24, 36), torch.arange(12)])
    assert torch.equal(found.cells, whole.cells[rows])
    assert found.labels.tolist() == [0] * 12 + [1] * 12
    assert torch.equal(found.scores, whole.scores[rows])
    wanted = soft[rows][:, [2, 0]]
    torch.testing.assert_close(found.soft_labels, wanted / wanted.sum(1, keepdim=True))
    learned = only(replace(whole, soft_labels=soft - 0.5), ["2", "0"])
    assert torch.equal(learned.soft_labels, (soft - 0.5)[rows][:, [2, 0]])


def test_cells_whose_soft_labels_say_nothing_of_the_classes_keep_their_labels(tiny_set: CondensedSet) -> None:
    soft = torch.eye(3)[(tiny_set.labels + 1) % 3]  # a teacher takes 0 for 1, 1 for 2 and 2 for 0
    found = only(replace(tiny_set, soft_labels=soft), ["0", "1"])
    assert torch.equal(found.soft_labels, torch.tensor([[0.0, 1.0]]).repeat(24, 1))


def test_a_whitened_set_keeps_its_classes(tiny_set: CondensedSet) -> None:
    white = replace(tiny_set, space="zca", config={"whitening": {"eps": 0.1}})
    assert only(white, tiny_set.classes).checksum == white.checksum
    for names, said in ((["0", "1"], "0, 1"), (["2", "1", "0"], "2, 1, 0")):
        with pytest.raises(ValueError, match=rf"^only: a set in ZCA space must keep its classes, .*, got {said}$"):
            only(white, names)


def test_parts_merged_are_the_whole(tiny_set: CondensedSet, tiny: Splits) -> None:
    four = replace(tiny_set, classes=("a", "b", "c", "d"), labels=torch.arange(4).repeat_interleave(9), order="mdc")
    parts = only(four, ["a", "b"]), only(four, ["c", "d"])
    found = merge(*parts)
    assert found.checksum == four.checksum
    assert (found.classes, found.mean, found.source, found.order) == (
        four.classes,
        four.mean,
        {"name": "digits"},
        "mdc",
    )
    assert found.history[-1] == {"step": "merge", "sets": [part.checksum for part in parts]}
    back = merge(*parts[::-1])
    assert back.classes == ("c", "d", "a", "b")
    assert torch.equal(only(back, four.classes).cells, four.cells)


def test_classes_of_several_sets_have_the_cells_of_all_and_no_order(tiny_set: CondensedSet) -> None:
    first, second = replace(tiny_set, order="mdc"), replace(tiny_set.quantised(), order="mdc", method="other", seed=4)
    found = merge(first, only(second, ["2", "1"]))
    assert found.counts == (12, 24, 24)
    assert (found.order, found.method, found.seed) == ("condensed", "merged", None)
    assert found.cells.dtype == torch.float32
    ones = found.cells[found.labels == 1]
    assert torch.equal(ones[:12], tiny_set.cells[12:24])
    torch.testing.assert_close(ones[12:], tiny_set.cells[12:24], atol=1 / 510 + 1e-6, rtol=0)


def test_hard_labels_become_soft_beside_soft_ones(tiny_set: CondensedSet) -> None:
    taught = replace(only(tiny_set, ["0", "1"]), soft_labels=torch.tensor([0.75, 0.25]).expand(24, 2).clone())
    found = merge(taught, only(tiny_set, ["1", "2"]))
    assert found.soft_labels is not None
    assert found.soft_labels[:24].tolist() == [[0.75, 0.25, 0]] * 24
    assert found.soft_labels[24:36].tolist() == [[0, 1, 0]] * 12
    assert found.soft_labels[36:].tolist() == [[0, 0, 1]] * 12
    assert merge(taught).soft_labels is not None
    assert merge(tiny_set, tiny_set).soft_labels is None


def test_mean_and_deviation_are_those_of_all_images(tiny_set: CondensedSet) -> None:
    generator = torch.Generator().manual_seed(0)
    halves = [torch.randint(0, high, (n, 1, 8, 8), generator=generator).byte() for n, high in ((30, 90), (10, 250))]
    sets = []
    for images in halves:
        mean, std = channel_statistics(images)
        sets.append(replace(tiny_set, mean=mean, std=std, source={"name": "x", "images": len(images)}))
    found = merge(*sets)
    mean, std = channel_statistics(torch.cat(halves))
    assert (*found.mean, *found.std) == pytest.approx((*mean, *std))
    assert found.source == {"name": "x", "images": 40}
    more = replace(sets[0], source={"name": "x", "images": 70, "checksum": "a"}, mean=(0.7,), std=(0.1,))
    steps, once = merge(merge(*sets), more), merge(*sets, more)
    assert (*steps.mean, *steps.std) == pytest.approx((*once.mean, *once.std))
    assert steps.source == once.source == {"name": "x", "images": 110}
    assert merge(more, more, sets[0]).mean == pytest.approx(merge(more, sets[0]).mean)


def test_a_merged_set_says_how_its_parts_were_made_and_files_keep_it(tiny_set: CondensedSet, tmp_path: Path) -> None:
    first = replace(tiny_set, config={"lr": 1}, history=({"step": "prune"},), versions={"yoco": "0"})
    found = merge(first, replace(first, seed=4, config={"lr": 2}, history=()))
    ours, theirs = found.config["parts"]
    assert (ours["seed"], ours["config"], ours["history"]) == (0, {"lr": 1}, [{"step": "prune"}])
    assert (theirs["seed"], theirs["config"], theirs["history"]) == (4, {"lr": 2}, [])
    assert merge(found, first).config["parts"][0]["config"] == found.config
    paths = [tmp_path / name for name in ("set.safetensors", "set.npz", "back.safetensors")]
    found.save(paths[0])
    assert yoco.load(paths[0]).config == found.config
    for source, target in pairwise(paths):
        yoco.convert(source, target)
    assert paths[2].read_bytes() == paths[0].read_bytes()


def test_a_step_size_that_all_parts_have_learned_is_kept(tiny_set: CondensedSet) -> None:
    learned = replace(tiny_set, config={"learned": {"lr": 0.5}})
    assert merge(only(learned, ["0", "1"]), only(learned, ["1", "2"])).config["learned"] == {"lr": 0.5}
    for config in ({"learned": {"lr": 0.25}}, {}):
        assert "learned" not in merge(learned, replace(tiny_set, config=config)).config


def test_chosen_images_count_as_all_that_they_were_chosen_from() -> None:
    draw = torch.Generator().manual_seed(0)
    images = [torch.randint(0, high, (n, 1, 8, 8), generator=draw).byte() for n, high in ((30, 90), (10, 250))]
    whole = [from_arrays(part, [0, 1] * (len(part) // 2)) for part in images]
    found = merge(*(as_set(data, select(data, rule="random", ipc=1)) for data in whole))
    mean, std = channel_statistics(torch.cat(images))
    assert (*found.mean, *found.std) == pytest.approx((*mean, *std))
    assert found.source == {"name": "arrays", "images": 40, "python": True}


def test_tasks_are_learned_one_after_the_other_and_judged_together(tiny: Splits) -> None:
    images = torch.cat([half.images for half in tiny])
    four = torch.cat([half.labels for half in tiny]) + 3 * (torch.arange(len(images)) % 2)
    both = Splits(*(from_arrays(images, four, name="six") for _ in range(2)))
    how: dict[str, Any] = {"ipc": 1, "progress": False}
    sets = [yoco.condense(only(both, names), "random", **how) for names in (["0", "3"], ["1", "4"], ["2", "5"])]
    whole = only(merge(*sets), both.train.classes)
    assert whole.counts == (1,) * 6
    result = yoco.evaluate(whole, both, networks="mlp:width=4", epochs=1, seeds=1, progress=False)
    assert result.same_data is not True


def test_some_classes_are_not_said_to_be_of_other_images(tiny: Splits, tiny_set: CondensedSet) -> None:
    names, how = ["0", "2"], {"networks": "mlp:width=4", "epochs": 1, "seeds": 1, "progress": False}
    assert yoco.evaluate(only(tiny_set, names), only(tiny, names), **how).same_data is None


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["0"], "only: needs at least two different classes, got 0$"),
        (["0", "1", "0"], "only: needs at least two different classes, got 0, 1, 0$"),
        (["0", "11"], "class: unknown name '11'"),
    ],
)
def test_classes_that_are_refused(tiny: Splits, tiny_set: CondensedSet, names: list[str], said: str) -> None:
    for part in (tiny, tiny.train, tiny_set):
        with pytest.raises(ValueError, match=said):
            only(part, names)


def test_what_is_refused(tiny_set: CondensedSet) -> None:
    with pytest.raises(ValueError, match=r"^only: needs data or a condensed set, got list$"):
        only([1, 2], ["0", "1"])
    with pytest.raises(ValueError, match=r"^merge: needs condensed sets, got none$"):
        merge()
    with pytest.raises(ValueError, match=r"^merge: needs condensed sets, got CondensedSet, str$"):
        merge(tiny_set, "x")  # type: ignore[arg-type]
    whole = replace(tiny_set, cells=tiny_set.decode(), factor=1)
    with pytest.raises(ValueError, match=r"^merge: sets must have the same factor, got 2 and 1$"):
        merge(tiny_set, whole)
    with pytest.raises(ValueError, match=r"^merge: sets must have the same space, got unit and unbounded$"):
        merge(tiny_set, replace(tiny_set, space="unbounded"))
    missing = replace(tiny_set, classes=("0", "1", "2", "x", "y"))
    with pytest.raises(ValueError, match=r"^only: needs cells of these classes, got none of x, y$"):
        only(missing, ["x", "y"])
