"""Training on images that are not square: augmentations and mixes are drawn for their height and width."""

import pytest
import torch
from torch import Tensor, nn

from augment import CutMix, Policy
from yoco.condensed import Examples
from yoco.rng import Rng
from yoco.train import Normalise, Recipe, train_step

NORMALISE = Normalise((0.25,), (0.5,))


@pytest.mark.parametrize("word", ["rotate", "crop", "cutout"])
def test_a_step_is_taken_on_images_changed_as_images_of_their_sides(word: str) -> None:
    images, rng = torch.rand(9, 1, 4, 6, generator=Rng(0).generator()), Rng(4)
    network, seen = nn.Sequential(nn.Flatten(), nn.Linear(24, 3)), list[Tensor]()
    network.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    recipe = Recipe(epochs=1, augment=Policy(word, crop=0.5), cutmix=1.0)
    batch = Examples(images, torch.arange(9) % 3).batch(torch.arange(9))
    train_step(network, recipe.optimizer(network), batch, recipe, NORMALISE, rng)
    generator = rng.generator()
    changed = recipe.augment(NORMALISE(images), recipe.augment.draw(9, (4, 6), generator))
    mixed, _, _ = CutMix(1.0).apply(changed, CutMix(1.0).draw(9, (4, 6), generator))
    assert torch.equal(seen[0], mixed)
    assert not torch.equal(seen[0], NORMALISE(images))
