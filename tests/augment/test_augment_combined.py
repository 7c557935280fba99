"""Ops put together: each image has its own op, or all of them in turn."""

import torch

from augment import Crop, Flip, InTurn, OnePerImage, Policy, ResizedCrop, Rotate, Scale

SIZE = (28, 28)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_one_per_image_gives_each_image_its_own_op() -> None:
    ops = (Crop(4 / 28), Scale(1.2), Rotate(45.0))
    augment, images = OnePerImage(ops), torch.rand(40, 1, *SIZE, generator=generator(0))
    choice, params = augment.draw(40, SIZE, generator(1))
    assert min(torch.bincount(choice, minlength=3).tolist()) > 4
    found = augment(images, (choice, params))
    for row, op in enumerate(choice.tolist()):
        own = {name: values[row : row + 1] for name, values in params[op].items()}
        torch.testing.assert_close(found[row : row + 1], ops[op].apply(images[row : row + 1], own))
    shifts = params[0]["down"]
    assert (int(shifts.min()), int(shifts.max())) == (-4, 4)


def test_in_turn_gives_all_images_all_ops_in_their_order() -> None:
    resize, flip = ResizedCrop(0.2), Flip()
    augment, images = InTurn((resize, flip)), torch.rand(40, 1, *SIZE, generator=generator(0))
    first, second = augment.draw(40, SIZE, generator(1))
    assert (len(first["map"]), len(second["flip"])) == (40, 40)
    assert torch.equal(augment(images, (first, second)), flip.apply(resize.apply(images, first), second))
    assert torch.equal(InTurn(())(images, ()), images)


def test_numbers_that_are_drawn_together_are_independent() -> None:
    stream = generator(0)
    drawn = Policy("color_crop_cutout_flip").draw(4000, SIZE, stream)
    part, flip, scale, turn = InTurn((ResizedCrop(), Flip(), Scale(), Rotate())).draw(4000, SIZE, stream)
    choice, (other, mirror) = OnePerImage((Rotate(), Flip())).draw(4000, SIZE, stream)
    wide, high = part["map"][:, 0, 0], part["map"][:, 1, 1]
    columns = [values for _, params in drawn for values in params.values()]
    columns += [wide * high, (wide / high).log(), part["map"][:, 0, 2], part["map"][:, 1, 2], flip["flip"]]
    columns += [scale["map"][:, 0, 0], scale["map"][:, 1, 1], turn["map"][:, 1, 0]]
    columns += [choice, other["map"][:, 1, 0], mirror["flip"]]
    found = torch.corrcoef(torch.stack([column.double() for column in columns]))
    assert (found - torch.eye(len(columns))).abs().max() < 0.08
