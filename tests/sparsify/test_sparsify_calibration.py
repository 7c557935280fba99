"""Images that layers are judged on: which they are, and what the network sees of them."""

import re
from dataclasses import replace

import pytest
import torch
from torch import nn

from yoco.condensed import CondensedSet
from yoco.data.source import Batch, Source, Splits
from yoco.networks import build
from yoco.rng import Rng
from yoco.sparsify.calibration import BATCH, Calibration, calibration
from yoco.train import Normalise


@pytest.fixture
def network() -> nn.Module:
    return build("lenet", (1, 8, 8), 3, Rng(0))


def test_all_images_come_in_their_order(network: nn.Module, tiny: Splits) -> None:
    for images in (None, 120, 4000):
        drawn = calibration(network, tiny.train, Rng(0), images)
        assert len(drawn) == 120
        assert torch.equal(drawn.batch.images, tiny.train.images / 255)
        assert torch.equal(drawn.batch.labels, tiny.train.labels)


def test_some_images_are_drawn_once_by_the_seed(network: nn.Module, tiny: Splits) -> None:
    drawn = [calibration(network, tiny.train, Rng(seed), 50) for seed in (0, 0, 1)]
    assert len(drawn[0]) == 50
    indices = Rng(0).choice(120, 50)
    assert len(indices.unique()) == 50
    assert torch.equal(drawn[0].batch.images, tiny.train.batch(indices).images)
    assert torch.equal(drawn[0].batch.labels, tiny.train.labels[indices])
    assert torch.equal(drawn[0].batch.images, drawn[1].batch.images)
    assert not torch.equal(drawn[0].batch.images, drawn[2].batch.images)


def test_batches_are_normalised_and_can_be_had_again(network: nn.Module, tiny: Splits) -> None:
    many = replace(tiny.train, images=tiny.train.images.repeat(5, 1, 1, 1), labels=tiny.train.labels.repeat(5))
    drawn = calibration(network, many, Rng(0))
    for _ in range(2):
        batches = list(drawn)
        assert [len(batch) for batch in batches] == [BATCH, BATCH, 100]
        assert torch.equal(torch.cat(batches), Normalise(tiny.train.mean, tiny.train.std)(many.images / 255))
    other = Normalise((0.0,), (2.0,))
    assert torch.equal(next(iter(calibration(network, many, Rng(0), 7, other))), drawn_images(many, 7) / 2)


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        ((1, 8, 8), [BATCH, BATCH, 100]),
        ((3, 64, 64), [BATCH, BATCH, 100]),
        ((3, 224, 224), [20] * 30),
        ((3, 2000, 2000), [1] * 600),
    ],
)
def test_large_images_come_in_small_batches(shape: tuple[int, int, int], sizes: list[int]) -> None:
    images = torch.zeros(1, 1, 1, 1).expand(600, *shape)
    drawn = Calibration(Batch(images, torch.zeros(600).long()), lambda given: given, torch.device("cpu"))
    assert [len(batch) for batch in drawn] == sizes


def drawn_images(source: Source, count: int) -> torch.Tensor:
    return source.batch(Rng(0).choice(len(source), count)).images


def test_the_cells_of_a_condensed_set_are_decoded(network: nn.Module, tiny_set: CondensedSet) -> None:
    drawn = calibration(network, tiny_set, Rng(0))
    assert len(drawn) == 36
    assert torch.equal(drawn.batch.images, tiny_set.decode())
    assert torch.equal(drawn.batch.labels, tiny_set.labels)
    assert torch.equal(torch.cat(list(drawn)), Normalise(tiny_set.mean, tiny_set.std)(tiny_set.decode()))
    assert len(calibration(network, tiny_set, Rng(0), 10)) == 10


def test_soft_labels_go_with_the_images(network: nn.Module, tiny_set: CondensedSet) -> None:
    soft = replace(tiny_set, soft_labels=torch.full((36, 3), 1 / 3))
    assert calibration(network, soft, Rng(0)).batch.labels.shape == (36, 3)


def test_the_network_is_as_it_was(tiny: Splits) -> None:
    network = build("convnet:width=4,depth=2,norm=batch", (1, 8, 8), 3, Rng(0)).train()
    before = [value.clone() for value in network.state_dict().values()]
    calibration(network, tiny.train, Rng(0), 5)
    assert network.training
    assert all(torch.equal(*pair) for pair in zip(before, network.state_dict().values(), strict=True))


@pytest.mark.parametrize("images", [0, -3])
def test_there_must_be_an_image(images: int, network: nn.Module, tiny: Splits) -> None:
    with pytest.raises(ValueError, match=rf"^sparsify: images must be at least 1, got {images}$"):
        calibration(network, tiny.train, Rng(0), images)


def test_there_must_be_layers(tiny: Splits) -> None:
    line = "prunable: the network must have Linear or Conv2d layers, got BatchNorm2d"
    with pytest.raises(ValueError, match=rf"^{line}$"):
        calibration(nn.BatchNorm2d(1), tiny.train, Rng(0))


@pytest.mark.parametrize(
    ("name", "shape", "why"),
    [
        ("mlp:width=8", (1, 9, 9), "mat1 and mat2 shapes cannot be multiplied (1x64 and 81x8)"),
        (
            "lenet",
            (3, 8, 8),
            "Given groups=1, weight of size [6, 3, 5, 5], expected input[1, 1, 8, 8] to have 3 channels,"
            " but got 1 channels instead",
        ),
    ],
)
def test_images_must_fit(name: str, shape: tuple[int, int, int], why: str, tiny: Splits) -> None:
    line = f"sparsify: images must fit the network, got [1, 8, 8]: {why}"
    with pytest.raises(ValueError, match=rf"^{re.escape(line)}$"):
        calibration(build(name, shape, 3, Rng(0)), tiny.train, Rng(0))


def test_only_the_cells_that_are_taken_are_decoded(
    network: nn.Module, tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    soft = torch.rand(36, 3, generator=Rng(1).generator()).softmax(1)
    data, indices = replace(tiny_set, soft_labels=soft), Rng(0).choice(36, 10)
    expected = data.decode()[indices]
    monkeypatch.setattr(CondensedSet, "decode", lambda _: pytest.fail("all cells are decoded"))
    drawn = calibration(network, data, Rng(0), 10)
    assert torch.equal(drawn.batch.images, expected)
    assert torch.equal(drawn.batch.labels, soft[indices])
