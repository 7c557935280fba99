"""Protocols: the published settings, word by word."""

from dataclasses import replace
from fractions import Fraction

import pytest
import torch

from augment import Crop, Policy, Rotate, Scale
from yoco.protocols import GLYPHS, PROTOCOLS, OnePerImage, recipe
from yoco.train import Recipe

RGB, GREY = (3, 32, 32), (1, 28, 28)
HALVED = {"batch": 256, "drops": (Fraction(1, 2),), "gamma": 0.1, "extra": 1, "fresh": True}


@pytest.mark.parametrize(
    ("data", "factor", "ipc", "words", "cutmix"),
    [
        ("cifar10", 2, 10, "color_crop_flip_scale_rotate", 0.5),
        ("fashion-mnist", 2, 1, "color_crop_flip_scale_rotate", 0.5),
        ("my-folder", 1, 1, "color_crop_flip_scale_rotate", 0.5),
        ("mnist", 1, 1, "color_crop_scale_rotate", 0.5),
        ("mnist", 2, 10, "color_crop_scale_rotate", 0.0),
        ("svhn", 1, 1, "color_crop_cutout_scale_rotate", 0.0),
        ("svhn", 2, 1, "color_crop_scale_rotate", 0.5),
        ("svhn", 1, 10, "color_crop_scale_rotate", 0.5),
        ("digits", 2, 10, "color_crop_scale_rotate", 0.5),
    ],
)
def test_idc(data: str, factor: int, ipc: int, words: str, cutmix: float) -> None:
    expected = Recipe(
        epochs=1000,
        batch=64,
        lr=0.01,
        momentum=0.9,
        weight_decay=5e-4,
        drops=(Fraction(2, 3), Fraction(5, 6)),
        gamma=0.2,
        extra=0,
        fresh=False,
        augment=Policy(words, "idc"),
        cutmix=cutmix,
    )
    assert recipe("idc", data, RGB, factor, ipc) == expected
    assert expected.drop_epochs() == [666, 833]


@pytest.mark.parametrize(
    ("factor", "ipc", "ten", "hundred"),
    [
        (1, 1, 3000, 2000),
        (1, 2, 2000, 1300),
        (3, 1, 2000, 1300),
        (1, 10, 2000, 1300),
        (1, 11, 1500, 1000),
        (1, 50, 1500, 1000),
        (3, 50 / 9, 1500, 1000),
        (3, 10, 1000, 600),
        (3, 20, 1000, 600),
        (1, 200, 1000, 600),
        (3, 50, 500, 300),
        (1, 501, 300, 200),
    ],
)
def test_idc_trains_longer_on_few_images_of_imagenet(factor: int, ipc: float, ten: int, hundred: int) -> None:
    usual = recipe("idc", "cifar10", (3, 224, 224), factor, ipc)
    for data, epochs in (("imagenet-10", ten), ("imagenet-100", hundred)):
        assert recipe("idc", data, (3, 224, 224), factor, ipc) == replace(usual, epochs=epochs)
        assert recipe("idc", data, (3, 224, 224), factor, ipc, epochs=7).epochs == 7
    for data in ("cifar100", "tiny-imagenet", "my-folder", "digits", "fashion-mnist"):
        assert recipe("idc", data, (3, 224, 224), factor, ipc).epochs == 1000


def test_digits_and_letters_are_these() -> None:
    assert set(GLYPHS) == {"digits", "emnist", "kmnist", "mnist", "svhn"}


def test_mtt_is_dsa_but_for_a_learned_step_size() -> None:
    for data in ("cifar10", "svhn"):
        assert recipe("mtt", data, RGB, 1, 10) == recipe("dsa", data, RGB, 1, 10)


@pytest.mark.parametrize(
    ("data", "words"),
    [("cifar100", "color_crop_cutout_flip_scale_rotate"), ("svhn", "color_crop_cutout_scale_rotate")],
)
def test_dsa(data: str, words: str) -> None:
    made = recipe("dsa", data, RGB, 1, 10)
    assert made == Recipe(epochs=1000, lr=0.01, augment=Policy(words, "dsa"), **HALVED)  # type: ignore[arg-type]
    assert (made.length, made.drop_epochs()) == (1001, [502])


def test_dc() -> None:
    plain = recipe("dc", "cifar10", RGB, 1, 10)
    assert plain == Recipe(epochs=300, augment=Policy(""), **HALVED)  # type: ignore[arg-type]
    assert (plain.length, plain.drop_epochs()) == (301, [152])
    mnist = recipe("dc", "mnist", GREY, 1, 10)
    ops = OnePerImage((Crop(4 / 28), Scale(1.2), Rotate(45.0)))
    assert mnist == Recipe(epochs=1000, augment=ops, **HALVED)  # type: ignore[arg-type]


def test_no_class_that_is_told_by_its_handedness_is_mirrored() -> None:
    made = [recipe(name, data, GREY, 2, 10).augment for name in PROTOCOLS for data in GLYPHS]
    assert all("flip" not in policy.words for policy in made if isinstance(policy, Policy))


def test_other_epochs_keep_the_shares() -> None:
    assert recipe("idc", "cifar10", RGB, 2, 10, epochs=60).drop_epochs() == [40, 50]
    assert recipe("dsa", "cifar10", RGB, 2, 10, epochs=60).drop_epochs() == [32]


def test_ones_own_protocol_by_path() -> None:
    assert recipe("yoco.protocols:dsa", "svhn", RGB, 1, 1) == recipe("dsa", "svhn", RGB, 1, 1)


def test_mistakes_are_one_line() -> None:
    with pytest.raises(ValueError) as caught:
        recipe("icd", "cifar10", RGB, 1, 1)
    assert str(caught.value) == "protocol: unknown name 'icd'; did you mean 'idc'? known: dc, dsa, idc, mtt"
    with pytest.raises(ValueError) as caught:
        recipe("idc", "cifar10", RGB, 1, 1, epochs=0)
    assert str(caught.value) == "evaluate: epochs must be at least 1, got 0"


def test_one_per_image_gives_each_image_its_own_op() -> None:
    ops = (Crop(4 / 28), Scale(1.2), Rotate(45.0))
    augment, images = OnePerImage(ops), torch.rand(40, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    choice, params = augment.draw(40, (28, 28), torch.Generator().manual_seed(1))
    assert min(torch.bincount(choice, minlength=3).tolist()) > 4
    found = augment(images, (choice, params))
    for row, op in enumerate(choice.tolist()):
        own = {name: values[row : row + 1] for name, values in params[op].items()}
        torch.testing.assert_close(found[row : row + 1], ops[op].apply(images[row : row + 1], own))
    shifts = params[0]["down"]
    assert (int(shifts.min()), int(shifts.max())) == (-4, 4)
