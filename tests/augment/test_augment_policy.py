"""Policies: which ops a call gets, in which order, and on which parameters."""

import dataclasses
from collections import Counter

import pytest
import torch
from torch import Tensor

from augment import OPS, WORDS, Brightness, Contrast, Crop, Cutout, Flip, Policy, Rotate, Saturation, Scale, Translate

ALL = "color_crop_cutout_flip_scale_rotate"
SIZE = (8, 8)
JITTER = ["brightness", "saturation", "contrast"]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int, seed: int = 7) -> Tensor:
    return torch.randn(n, 3, *SIZE, generator=generator(seed), dtype=torch.float64)


def names(policy: Policy, seed: int, count: int = 1) -> list[str]:
    return [word for word, _ in policy.draw(count, SIZE, generator(seed))]


def test_dsa_draws_exactly_one_word_and_colour_is_one() -> None:
    times = Counter("_".join(names(Policy(ALL, "dsa"), seed)) for seed in range(1200))
    assert set(times) == {"brightness_saturation_contrast", "crop", "cutout", "flip", "scale", "rotate"}
    assert all(140 < n < 260 for n in times.values())


def test_idc_always_has_flip_colour_and_cutout_and_one_of_the_rest() -> None:
    rest: Counter[str] = Counter()
    for seed in range(900):
        flip, *jitter, one, cutout = names(Policy(ALL, "idc"), seed)
        assert (flip, jitter, cutout) == ("flip", JITTER, "cutout")
        rest[one] += 1
    assert set(rest) == {"crop", "scale", "rotate"}
    assert all(230 < n < 370 for n in rest.values())


def test_idc_without_the_rest_or_with_nothing_else() -> None:
    assert names(Policy("cutout_flip"), 0) == ["flip", "cutout"]
    assert names(Policy("color"), 0) == JITTER
    assert {tuple(names(Policy("crop_translate"), seed)) for seed in range(20)} == {("crop",), ("translate",)}


def test_idc_is_the_default_flavour() -> None:
    assert Policy(ALL) == Policy(ALL, "idc") != Policy(ALL, "dsa")


@pytest.mark.parametrize("flavour", ["dsa", "idc"])
def test_no_words_are_the_identity(flavour: str) -> None:
    policy, x = Policy("", flavour), images(3)
    assert policy.draw(1, SIZE, generator()) == ()
    assert torch.equal(policy(x, policy.draw(3, SIZE, generator())), x)


def test_the_op_of_a_dsa_call_is_the_same_for_every_image_and_its_parameters_are_not() -> None:
    ((word, params),) = Policy("rotate", "dsa").draw(6, SIZE, generator())
    assert word == "rotate"
    assert len(params["map"].unique(dim=0)) == 6


@pytest.mark.parametrize("flavour", ["dsa", "idc"])
@pytest.mark.parametrize("seed", range(8))
def test_one_draw_shared_by_two_batches_is_that_of_both_together(flavour: str, seed: int) -> None:
    policy, real, synthetic = Policy(ALL, flavour), images(5), images(3, 8)
    draw = policy.draw(1, SIZE, generator(seed))
    both = policy(torch.cat([real, synthetic]), draw)
    torch.testing.assert_close(both, torch.cat([policy(real, draw), policy(synthetic, draw)]), rtol=0, atol=0)


def test_one_draw_treats_equal_images_equally_and_many_do_not() -> None:
    policy, x = Policy(ALL), images(1).expand(6, -1, -1, -1)
    shared = policy(x, policy.draw(1, SIZE, generator()))
    assert len(shared.unique(dim=0)) == 1
    assert len(policy(x, policy.draw(6, SIZE, generator())).unique(dim=0)) == 6


def test_the_ops_are_applied_in_turn_at_the_magnitudes_of_the_policy() -> None:
    policy, x = Policy(ALL, scale=1.5, brightness=2.0, rotate=40.0, crop=0.5, cutout=0.25), images(4)
    ops = {"brightness": Brightness(2.0), "scale": Scale(1.5), "rotate": Rotate(40.0), "crop": Crop(0.5)}
    ops |= {"flip": Flip(), "saturation": Saturation(), "contrast": Contrast(), "cutout": Cutout(0.25)}
    for seed in range(6):
        draw, expected = policy.draw(4, SIZE, generator(seed)), x
        for word, params in draw:
            expected = ops[word].apply(expected, params)
        assert torch.equal(policy(x, draw), expected)


def test_the_magnitudes_of_the_papers_are_the_defaults() -> None:
    values = {word: getattr(Policy(), word) for word in OPS}
    published = {"brightness": 0.5, "saturation": 2.0, "contrast": 0.5, "crop": 0.125, "cutout": 0.5, "flip": 0.5}
    assert values == {**published, "scale": 1.2, "rotate": 15.0, "translate": 0.125}
    for word, op in OPS.items():
        assert op(values[word]) == op()  # type: ignore[call-arg]


def test_every_word_is_its_op() -> None:
    types = [Brightness, Saturation, Contrast, Flip, Crop, Scale, Rotate, Translate, Cutout]
    assert [type(Policy().op(word)) for word in OPS] == types
    assert set(WORDS) == {"color", *OPS}


@pytest.mark.parametrize("flavour", ["dsa", "idc"])
def test_draws_repeat_and_leave_the_global_generator_alone(flavour: str) -> None:
    policy, x, before = Policy(ALL, flavour), images(4), torch.get_rng_state()
    first, second = (policy(x, policy.draw(4, SIZE, generator(3))) for _ in range(2))
    assert torch.equal(first, second)
    assert any(not torch.equal(first, policy(x, policy.draw(4, SIZE, generator(s)))) for s in range(3))
    assert torch.equal(before, torch.get_rng_state())


def test_second_order_gradients_go_through_a_whole_policy() -> None:
    policy = Policy(ALL)
    x = images(2)[..., :5, :5].clone().requires_grad_()
    draw = policy.draw(2, (5, 5), generator(1))
    assert torch.autograd.gradgradcheck(lambda t: policy(t, draw).pow(3), (x,))


def test_a_policy_is_a_value() -> None:
    policy = Policy(ALL, "dsa", rotate=30.0)
    assert policy == Policy(**dataclasses.asdict(policy))
    assert hash(policy) == hash(dataclasses.replace(policy))
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy.rotate = 1.0  # type: ignore[misc]


KNOWN = "color, brightness, saturation, contrast, flip, crop, scale, rotate, translate, cutout"


def refusal(words: str, flavour: str = "idc", **magnitudes: float) -> str:
    with pytest.raises(ValueError) as error:
        Policy(words, flavour, **magnitudes)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_an_unknown_word_gets_the_nearest_one() -> None:
    assert refusal("color_rotat") == f"augment: unknown word 'rotat'; did you mean 'rotate'? known: {KNOWN}"
    assert refusal("color__crop") == f"augment: unknown word ''; known: {KNOWN}"
    assert refusal("zzz") == f"augment: unknown word 'zzz'; known: {KNOWN}"


def test_an_unknown_flavour_gets_the_nearest_one() -> None:
    assert refusal("crop", "dssa") == "augment: unknown flavour 'dssa'; did you mean 'dsa'? known: dsa, idc"


def test_repeated_words_and_magnitudes_out_of_range_are_refused() -> None:
    assert refusal("crop_flip_crop") == "augment: words must not repeat, got 'crop_flip_crop'"
    assert refusal("crop", scale=0.0) == "augment: scale must be at least 1 and finite, got 0.0"
    assert refusal("", cutout=1.5) == "augment: cutout must be from 0 to 1, got 1.5"


def test_no_rows_and_other_numbers_of_rows_are_refused() -> None:
    policy = Policy("crop")
    with pytest.raises(ValueError, match=r"^augment: count must be at least 1, got 0$"):
        policy.draw(0, SIZE, generator())
    with pytest.raises(ValueError, match=r"^augment: parameters must have 1 or 4 rows, got 3$"):
        policy(images(4), policy.draw(3, SIZE, generator()))
