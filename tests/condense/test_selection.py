"""Methods that choose real images: what they choose, by pixels and by a network, and what they refuse."""

from typing import Any

import pytest
import torch

import yoco
from yoco.cells import upsample
from yoco.condense import condense, estimate, settings_of
from yoco.condense.coreset import herding, medoids
from yoco.condense.crops import random_crops
from yoco.condense.method import Task
from yoco.condense.selection import Selection
from yoco.condense.synthetic import start
from yoco.condense.teacher import Teacher, usual
from yoco.data import Splits, from_arrays
from yoco.rng import Rng

NETWORK = "convnet:width=8,depth=2"


@pytest.fixture
def task(tiny: Splits) -> Task:
    return Task(tiny.train, 2, NETWORK)


def of(name: str, **settings: Any) -> Selection:
    method = settings_of(name, "digits", 2, None, **settings)
    assert isinstance(method, Selection)
    return method


def run(tiny: Splits, method: str, **changes: Any) -> yoco.CondensedSet:
    return condense(tiny, method, **{"ipc": 2, "network": NETWORK, "progress": False, **changes})


@pytest.mark.parametrize("factor", [1, 2])
def test_pixels_choose(task: Task, factor: int) -> None:
    count = 2 * factor**2
    for name in ("herding", "k-means"):
        found = of(name, factor=factor).synthetic(task, Rng(3))
        for label, members in enumerate(task.real.by_class):
            images = task.real.batch(members).images
            flat, rng = images.flatten(1), Rng(3).child(label)
            order = herding(flat, count) if name == "herding" else medoids(flat, count, rng)
            expected = images[order][:, :, ::factor, ::factor]  # nearest takes the first of each two pixels
            assert torch.equal(found.cells[label * count : (label + 1) * count], expected)


def test_a_start_by_k_means_is_the_method_k_means(task: Task) -> None:
    found = of("k-means", factor=2, shrink="nearest").synthetic(task, Rng(3))
    assert torch.equal(found.cells, start("k-means", task.real, 2, 2, Rng(3)).cells)


def test_a_network_chooses_at_the_end_of_the_last_episode(task: Task) -> None:
    method = of("herding", episodes=2)
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(1))
    assert memory is not None
    before = synthetic.cells.detach().clone()
    list(method.episode(task, synthetic, memory, Rng(2)))
    assert torch.equal(synthetic.cells, before)
    list(method.episode(task, synthetic, memory, Rng(3)))
    twin = Teacher(task, usual(task, 2), Rng(1))
    twin.learn()
    twin.learn()
    images = task.real.batch(task.real.by_class[2]).images
    assert torch.equal(synthetic.cells[4:6], images[herding(twin.features(images), 2)])
    assert not torch.equal(synthetic.cells, before)


def test_random_images_are_distinct_and_of_their_class(tiny: Splits) -> None:
    made = run(tiny, "random", ipc=30)
    for label, members in enumerate(tiny.train.by_class):
        reals = {tuple(image.flatten().tolist()) for image in tiny.train.batch(members).images}
        chosen = [tuple(cell.flatten().tolist()) for cell in made.cells[made.labels == label]]
        assert set(chosen) <= reals
        assert len(set(chosen)) == 30


@pytest.mark.parametrize("factor", [1, 2])
def test_best_crops_follow_the_mean_of_whole_images(task: Task, factor: int) -> None:
    method, rng = of("best-crops", factor=factor, pool=10, crops=3), Rng(3).child(0)
    found = method.synthetic(task, Rng(3)).cells[: 2 * factor**2]
    images = task.real.batch(task.real.by_class[0]).images
    pool = images[rng.child("pool").choice(40, 10)]
    crops = random_crops(pool, 3, (8 // factor, 8 // factor), 0.25, rng.child("crops")).flatten(0, 1)
    seen, mean = upsample(crops, (8, 8)).flatten(1).double(), images.flatten(1).mean(0).double()
    total, free, chosen = torch.zeros(64, dtype=torch.float64), list(range(30)), []
    for step in range(1, 2 * factor**2 + 1):
        chosen.append(min(free, key=lambda i: float((step * mean - total - seen[i]).norm())))
        total = total + seen[chosen[-1]]
        free = [i for i in free if i // 3 != chosen[-1] // 3]
    torch.testing.assert_close(found, crops[chosen])


@pytest.mark.parametrize("episodes", [1, 2, 3])
def test_an_estimate_chooses_by_the_network_once(tiny: Splits, episodes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    plain = Teacher.features
    monkeypatch.setattr(Teacher, "features", lambda self, images: looked.append(len(images)) or plain(self, images))
    found = estimate(tiny, "herding", ipc=2, network=NETWORK, episodes=episodes, device="cpu")
    assert looked == list(tiny.train.counts)
    assert found.episodes == episodes


def test_too_few_images_fill_the_cells_again(tiny: Splits) -> None:
    few = tiny.train.take(torch.cat([members[:3] for members in tiny.train.by_class]))
    for name in ("random", "herding", "k-means", "best-crops"):
        cells = of(name, factor=2).synthetic(Task(few, 2), Rng(0)).cells
        assert torch.equal(cells[:3], cells[3:6])
        assert len(cells) == 3 * 8


def test_names_on_the_set_are_those_of_the_table(tiny: Splits) -> None:
    assert [run(tiny, name).method for name in ("k-means", "best-crops")] == ["k-means", "best-crops"]


@pytest.mark.parametrize(
    ("name", "setting", "line"),
    [
        ("random", {"episodes": 3}, "random: episodes must be 0, as no features are compared, got 3"),
        ("herding", {"factor": 5}, "condense: factor must be 1, 2, 3 or 4, got 5"),
        ("best-crops", {"pool": 0}, "best-crops: pool must be at least 1, got 0"),
        ("best-crops", {"least": 1.5}, "best-crops: least must be above 0 and at most 1, got 1.5"),
        ("k-means", {"shrink": "cubic"}, "condense: shrink must be one of nearest, area, got 'cubic'"),
    ],
)
def test_impossible_settings(tiny: Splits, name: str, setting: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError, match=f"^{line}$"):
        run(tiny, name, **setting)


@pytest.mark.parametrize("method", ["random", "herding", "k-means", "best-crops"])
def test_every_tile_has_some_room(method: str) -> None:
    images, labels = torch.rand(40, 1, 9, 9, generator=Rng(0).generator()), torch.arange(40) % 2
    data = Splits(from_arrays(images, labels), from_arrays(images, labels))
    message = r"^condense: factor must leave a pixel for each cell of 9x9 images, got 4$"
    with pytest.raises(ValueError, match=message):
        condense(data, method, ipc=1, factor=4, progress=False)


def test_the_pool_of_best_crops_grows_with_the_cells(task: Task) -> None:
    cells = of("best-crops", factor=2, pool=3, crops=2, least=0.5).synthetic(task, Rng(3)).cells.detach()[:8]
    assert len(torch.unique(cells, dim=0)) == 8


def test_up_to_the_pool_fewer_crops_are_the_beginning_of_more(task: Task) -> None:
    images, method = task.real.batch(task.real.by_class[0]).images, of("best-crops", pool=10, crops=2)
    few, many = (method.choose(images, lambda seen: seen.flatten(1), count, Rng(3)) for count in (4, 10))
    assert torch.equal(few, many[:4])
