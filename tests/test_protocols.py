"""Protocols: the published settings, word by word."""

import re
from dataclasses import replace
from fractions import Fraction

import pytest

from augment import Crop, Flip, InTurn, OnePerImage, Policy, ResizedCrop, Rotate, Scale
from yoco.protocols import GLYPHS, PROTOCOLS, recipe, teaching
from yoco.recipes import Distilled, Regression
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
    for data in ("fashion-mnist", "svhn", "kmnist", "digits"):
        assert recipe("dc", data, GREY, 1, 10) == plain
    mnist = recipe("dc", "mnist", GREY, 1, 10)
    ops = OnePerImage((Crop(4 / 28), Scale(1.2), Rotate(45.0)))
    assert mnist == Recipe(epochs=1000, augment=ops, **HALVED)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "ipc", "steps"),
    [("cifar10", 50, 1000), ("cifar100", 1, 1000), ("cifar100", 10, 2000), ("cifar100", 50, 5000)],
)
def test_frepo(data: str, ipc: int, steps: int) -> None:
    policy = Policy("flip_color_crop_rotate_translate_cutout", "dsa")
    assert recipe("frepo", data, RGB, 1, ipc) == Regression(
        epochs=steps, batch=500, lr=3e-4, weight_decay=0, drops=(), cutmix=0, augment=policy
    )


@pytest.mark.parametrize(
    ("data", "ipc", "batch", "lr"),
    [
        ("cifar10", 1, 10, 1e-3),
        ("cifar10", 10, 50, 1e-3),
        ("imagenet-10", 50, 100, 1e-3),
        ("tiny-imagenet", 1, 20, 1e-3),
        ("imagenet-100", 10, 100, 1e-3),
        ("cifar100", 50, 25, 2e-3),
    ],
)
def test_rded(data: str, ipc: int, batch: int, lr: float) -> None:
    augment = InTurn((ResizedCrop(0.08), Flip(0.5)))
    assert recipe("rded", data, RGB, 1, ipc) == Distilled(
        epochs=300, batch=batch, lr=lr, weight_decay=0.01, drops=(), cutmix=1, temperature=20, augment=augment
    )


def test_sre2l() -> None:
    common = {"lr": 1e-3, "weight_decay": 0.01, "drops": (), "cutmix": 1.0, "temperature": 20.0}
    large, small = InTurn((ResizedCrop(0.08), Flip(0.5))), Policy("flip_crop", "idc")
    assert recipe("sre2l", "imagenet-100", (3, 224, 224), 1, 10) == Distilled(
        epochs=300,
        batch=1024,
        augment=large,
        **common,  # type: ignore[arg-type]
    )
    assert recipe("sre2l", "cifar100", RGB, 1, 10) == Distilled(
        epochs=400,
        batch=128,
        augment=small,
        **common,  # type: ignore[arg-type]
    )


def test_sre2l_goes_by_the_shorter_side() -> None:
    for side, batch in ((64, 128), (65, 1024)):
        assert recipe("sre2l", "mine", (3, side, side), 1, 10).batch == batch
    assert recipe("sre2l", "mine", (3, 128, 32), 1, 10) == recipe("sre2l", "mine", (3, 32, 128), 1, 10)


def test_teachers_learn_as_networks_of_idc_in_larger_steps() -> None:
    assert teaching("cifar10", RGB, 50_000, 20) == replace(recipe("idc", "cifar10", RGB, 1, 1, 20), lr=0.1)
    for epochs, drops in ((1, []), (2, [1, 1]), (3, [2, 2]), (6, [4, 5])):
        assert teaching("cifar10", RGB, 50_000, epochs).drop_epochs() == drops


def test_no_class_that_is_told_by_its_handedness_is_mirrored() -> None:
    made = [
        recipe(name, data, shape, 2, 10).augment
        for name in PROTOCOLS
        for data in GLYPHS
        for shape in (GREY, (3, 128, 128))
    ]
    assert all("flip" not in policy.words for policy in made if isinstance(policy, Policy))
    assert not any(isinstance(op, Flip) for augment in made if isinstance(augment, InTurn) for op in augment.ops)


@pytest.mark.parametrize("data", GLYPHS)
def test_mirroring_is_all_that_digits_and_letters_lack(data: str) -> None:
    assert recipe("frepo", data, RGB, 1, 10).augment == Policy("color_crop_rotate_translate_cutout", "dsa")
    assert recipe("sre2l", data, RGB, 1, 10).augment == Policy("crop", "idc")
    for name in ("sre2l", "rded"):
        assert recipe(name, data, (3, 128, 128), 1, 10).augment == InTurn((ResizedCrop(0.08),))


def test_other_epochs_keep_the_shares() -> None:
    assert recipe("idc", "cifar10", RGB, 2, 10, epochs=60).drop_epochs() == [40, 50]
    assert recipe("dsa", "cifar10", RGB, 2, 10, epochs=60).drop_epochs() == [32]
    assert recipe("idc", "cifar10", RGB, 2, 10, epochs=2).drop_epochs() == [1, 1]


def test_an_only_epoch_has_the_whole_step_size() -> None:
    for protocol in PROTOCOLS:
        assert recipe(protocol, "cifar10", RGB, 2, 10, epochs=1).drop_epochs() == []


def test_ones_own_protocol_by_path() -> None:
    assert recipe("yoco.protocols:dsa", "svhn", RGB, 1, 1) == recipe("dsa", "svhn", RGB, 1, 1)


def test_mistakes_are_one_line() -> None:
    with pytest.raises(ValueError) as caught:
        recipe("icd", "cifar10", RGB, 1, 1)
    for name, line in (
        ("yoco.recipes:Distilled", "must be a function of data, shape, factor and ipc, got <class"),
        ("yoco.protocols:GLYPHS", "must be a function of data, shape, factor and ipc, got ('digits'"),
        ("builtins:print", "must return a yoco.train.Recipe, got NoneType"),
    ):
        with pytest.raises(ValueError, match=rf"^protocol {name}: {re.escape(line)}"):
            recipe(name, "cifar10", RGB, 1, 1)
    known = "dc, dsa, frepo, idc, mtt, rded, sre2l"
    assert str(caught.value) == f"protocol: unknown name 'icd'; did you mean 'idc'? known: {known}"
    with pytest.raises(ValueError) as caught:
        recipe("idc", "cifar10", RGB, 1, 1, epochs=0)
    assert str(caught.value) == "evaluate: epochs must be at least 1, got 0"
