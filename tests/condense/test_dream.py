"""DREAM: its published settings, its start, and which real images it matches on, and when it chooses them."""

from dataclasses import asdict, replace
from typing import Any

import pytest
import torch

import yoco
from augment import Policy
from yoco.condense import condense, settings_of
from yoco.condense.inner_steps import SETTINGS as IDC_TABLE
from yoco.condense.matching import gradient_distance
from yoco.condense.method import Task
from yoco.condense.methods.dream import DREAM, representatives
from yoco.condense.methods.idc import IDC
from yoco.condense.siamese import siamese
from yoco.condense.synthetic import shrunk
from yoco.data import Splits
from yoco.rng import Rng


@pytest.fixture
def task(tiny: Splits) -> Task:
    return Task(tiny.train, 2, "convnet:width=8,depth=2")


@pytest.fixture
def method() -> DREAM:
    return DREAM(inner=5, interval=2, network_images=64, real_batch=6, metric="l1", reference_side=8)


@pytest.mark.parametrize("data", sorted(set(IDC_TABLE) - {"digits"}))
def test_settings_are_those_of_idc_but_for_batch_and_start(data: str) -> None:
    own, theirs = asdict(DREAM.published(data, 10)), asdict(IDC.published(data, 10))
    assert (own.pop("start"), own.pop("real_batch"), own.pop("interval")) == ("k-means", 128, 10)
    assert own == {name: value for name, value in theirs.items() if name not in ("start", "real_batch")}


@pytest.mark.parametrize(("ipc", "lr"), [(1, 5e-3), (10, 5e-3), (50, 1e-6)])
def test_tiny_imagenet(ipc: int, lr: float) -> None:
    settings = DREAM.published("tiny-imagenet", ipc, (3, 64, 64))
    assert (settings.metric, settings.lr_image, settings.network_images) == ("mse", lr, 1000)


def test_unknown_data_take_the_nearest_settings() -> None:
    assert DREAM.published("my-photos", 50, (1, 20, 20)) == DREAM.published("fashion-mnist", 50)


@pytest.mark.parametrize("factor", [1, 2])
def test_every_cell_starts_from_a_representative(task: Task, factor: int) -> None:
    cells, rng = DREAM(factor=factor).synthetic(task, Rng(3)).cells.detach(), Rng(3)
    network, count = task.network(rng.child("network")), 2 * factor**2
    for label in task.classes:
        chosen = representatives(task, network, label, count, rng.child("clusters", label))
        expected = shrunk(task.real.batch(chosen).images, 2, factor, "nearest")
        assert torch.equal(cells[label * count : (label + 1) * count], expected)


def test_more_cells_than_images_take_every_image(tiny: Splits) -> None:
    task = Task(tiny.train, 40, "convnet:width=8,depth=2")
    cells = DREAM(factor=2).synthetic(task, Rng(0)).cells.detach()
    assert len(cells) == 3 * 160
    assert len(torch.unique(cells, dim=0)) == 3 * 160
    gaps = (cells[40:80] - cells[:40]).flatten(1).norm(dim=1)
    assert 0 < gaps.min() <= gaps.max() < 0.8  # 16 pixels, noise of 0.1


def test_other_starts_are_those_of_idc(task: Task) -> None:
    ours, theirs = (kind(start="mix").synthetic(task, Rng(0)).cells for kind in (DREAM, IDC))
    assert torch.equal(ours, theirs)


def test_real_images_are_chosen_by_the_current_network_and_kept_for_an_interval(task: Task, method: DREAM) -> None:
    """The ages 0, 2 and 4 of a network choose; a new network chooses at once, in the middle of an interval or not."""
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(1))
    chosen = []
    for k in range(6):
        rng = Rng(2).child(k)
        episode = method.episode(task, synthetic, memory, rng)
        next(episode)
        if k in (0, 2, 4, 5):
            expected = representatives(task, memory.network, 0, 6, rng.child("clusters", 0))
            assert torch.equal(memory.chosen[0], expected)
        list(episode)
        chosen.append(memory.chosen)
    assert chosen[0] is chosen[1]
    assert chosen[2] is chosen[3]
    assert len({id(each) for each in chosen}) == 4


def test_one_update_is_the_distance_to_the_representatives(task: Task, method: DREAM) -> None:
    synthetic, memory, rng = method.synthetic(task, Rng(0)), method.memory(task, Rng(1)), Rng(2)
    episode = method.episode(task, synthetic, memory, rng)
    for label in task.classes:
        loss, network = next(episode), task.network(rng.child("network"))
        real = task.real.batch(representatives(task, network, label, 6, rng.child("clusters", label)))
        pair = siamese(task, Policy("color_crop_cutout"), real, synthetic.of(label), rng.child("augment", label))
        assert loss.item() == gradient_distance(network, *pair, "l1").item()


def test_the_network_is_trained_after_the_update_and_replaced_after_its_life(task: Task, method: DREAM) -> None:
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(1))
    networks, highest = [], []
    for k in range(6):
        with torch.no_grad():
            synthetic.cells[0] = 2.0
        list(method.episode(task, synthetic, memory, Rng(2).child(k)))
        networks.append(memory.network)
        highest.append(synthetic.cells.max().item() > 1)
    assert len({id(network) for network in networks}) == 2
    assert networks[4] is not networks[5]
    assert highest == [False, True, True, True, True, False]
    assert not torch.equal(networks[5].head.weight, task.network(Rng(2).child(5, "network")).head.weight)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"interval": 0}, "dream: interval must be at least 1, got 0"),
        ({"real_batch": 0}, "dream: real_batch must be at least 1, got 0"),
        ({"start": "kmeans"}, "dream: start must be one of noise, real, mix, k-means, got 'kmeans'"),
        ({"metric": "l2"}, "dream: metric must be one of mse, l1, got 'l2'"),
    ],
)
def test_impossible_settings(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        settings_of("dream", "digits", 1, None, **setting)


@pytest.mark.slow
def test_it_is_better_than_its_start() -> None:
    """Of one image per class: ten of k-means are worth 97 percent, and nothing is left to learn on digits."""

    def worth(**changes: Any) -> float:
        kept = condense("digits", "dream", ipc=1, progress=False, **changes)
        return yoco.evaluate(kept, epochs=300, seeds=3, progress=False).to_dict()["results"][0]["last_mean"]

    assert worth() > worth(episodes=0) + 1


def test_pretraining_counts_epochs(task: Task, method: DREAM) -> None:
    steps: list[int] = []
    memory = method.memory(task, Rng(1))
    memory.learn = lambda count, rng: steps.append(count)  # type: ignore[method-assign]
    list(replace(method, pretrain=2).episode(task, method.synthetic(task, Rng(0)), memory, Rng(2)))
    assert steps == [-(-2 * len(task.real) // 64), 1]
