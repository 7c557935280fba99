"""Representative images: k-means on features, the nearest image to each centre, and what is remembered."""

import numpy as np
import pytest
import torch
from torch import Tensor

from yoco.condense.method import Task
from yoco.condense.methods.dream import Chooser, nearest_rows, penultimate, representatives
from yoco.data import Splits
from yoco.kmeans import k_means
from yoco.rng import Rng
from yoco.train import Recipe

NETWORK = "convnet:width=4,depth=2"
RECIPE = Recipe(epochs=1, batch=16)


@pytest.fixture
def task(tiny: Splits) -> Task:
    return Task(tiny.train, 2, NETWORK)


def blobs(count: int, each: int, size: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    middles = 20 * torch.eye(count, size, dtype=torch.float64).repeat_interleave(each, 0)
    return middles + torch.randn(count * each, size, dtype=torch.float64, generator=generator)


def test_the_representative_of_a_cluster_is_nearest_to_its_mean() -> None:
    rows = blobs(4, 9)
    found = nearest_rows(rows, k_means(rows, 4, Rng(0))[1])
    expected = set()
    for k in range(4):
        own = rows[9 * k : 9 * k + 9].numpy()
        distances = [np.sqrt(((row - own.mean(0)) ** 2).sum()) for row in own]
        expected.add(9 * k + int(np.argmin(distances)))
    assert set(found.tolist()) == expected


def test_an_image_that_is_nearest_to_two_centres_comes_twice() -> None:
    rows = torch.tensor([[0.0, 3.0], [0.0, 0.0], [2.0, 3.0]])
    assert nearest_rows(rows, torch.tensor([[0.1, 0.0], [0.0, -0.2], [2.0, 9.0]])).tolist() == [1, 1, 2]


def test_of_two_rows_that_make_up_a_cluster_the_first_stands_for_it() -> None:
    rows = torch.rand(40, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    pairs = [(i, j) for i in range(40) for j in range(i)]
    for i, j in pairs:
        both = rows[[i, j]]
        assert nearest_rows(both, both.mean(0)[None]).tolist() == [0]


def test_equal_rows_have_representatives_too() -> None:
    rows = torch.ones(6, 3, dtype=torch.float64)
    assert nearest_rows(rows, k_means(rows, 3, Rng(0))[1]).tolist() == [0, 0, 0]


def test_features_are_what_the_head_sees_of_normalised_images(task: Task) -> None:
    """Not of images in [0, 1], on which the network is never trained."""
    network, seen = task.network(Rng(0)), []
    members = task.real.by_class[1]
    rows = penultimate(task, network, members)
    network.head.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach()))
    network(task.normalise(task.real.batch(members).images))
    assert rows.dtype == torch.float64
    torch.testing.assert_close(rows.float(), seen[0], rtol=1e-5, atol=1e-6)


def test_looking_changes_no_batch_norm(tiny: Splits) -> None:
    task = Task(tiny.train, 2, f"{NETWORK},norm=batch")
    network = task.network(Rng(0))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    penultimate(task, network, task.real.by_class[0])
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert network.training


def test_representatives_are_of_their_class_and_as_many_as_asked(task: Task) -> None:
    network = task.network(Rng(0))
    for label in task.classes:
        found = representatives(task, network, label, 8, Rng(1))
        assert len(found) == 8
        assert set(task.real.labels[found].tolist()) == {label}
        rows = penultimate(task, network, task.real.by_class[label])
        middles = k_means(rows, 8, Rng(1))[1].numpy()
        for index, middle in zip(found.tolist(), middles, strict=True):
            distances = np.array([((row - middle) ** 2).sum() for row in rows.numpy()])
            first = int(np.argmax(distances <= distances.min() + 1e-9))
            assert int(task.real.by_class[label][first]) == index


@pytest.mark.parametrize("count", [40, 1000])
def test_of_a_small_class_all_images_are_taken(task: Task, count: int) -> None:
    found = representatives(task, task.network(Rng(0)), 2, count, Rng(1))
    assert torch.equal(found, task.real.by_class[2])


def test_a_saved_chooser_remembers_its_choice(task: Task) -> None:
    chooser, other = Chooser(task, RECIPE, 3, Rng(0)), Chooser(task, RECIPE, 3, Rng(9))
    chooser.choose(5, Rng(1))
    other.load_state_dict(chooser.state_dict())
    assert list(map(Tensor.tolist, other.chosen)) == list(map(Tensor.tolist, chooser.chosen))
    assert torch.equal(other.network.head.weight, chooser.network.head.weight)


def test_it_chooses_by_the_network_as_it_is_now(task: Task) -> None:
    chooser = Chooser(task, RECIPE, 3, Rng(0))
    chooser.choose(5, Rng(1))
    before = chooser.chosen
    chooser.learn(20, Rng(2))
    chooser.choose(5, Rng(1))
    assert list(map(Tensor.tolist, before)) != list(map(Tensor.tolist, chooser.chosen))
