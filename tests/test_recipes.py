"""Recipes beyond SGD and cross-entropy: steps against plain torch and NumPy, schedules, and what is not read."""

from math import cos, pi

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from augment import CutMix, Flip, InTurn
from yoco.condensed import Examples
from yoco.recipes import Distilled, Regression
from yoco.rng import Rng
from yoco.train import Normalise, Recipe, fit, train_step

NORMALISE = Normalise((0.0,), (1.0,))


def linear(seed: int) -> nn.Sequential:
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).double()
    for weight in network.parameters():
        nn.init.normal_(weight, generator=torch.Generator().manual_seed(seed))
    return network


def examples(count: int, soft: bool = False) -> Examples:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(count, 1, 4, 4, generator=generator, dtype=torch.float64)
    targets = torch.rand(count, 3, generator=generator, dtype=torch.float64).softmax(1) if soft else None
    return Examples(images, torch.arange(count) % 3, targets)


def softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


@pytest.mark.parametrize("soft", [False, True])
def test_regression_is_the_squared_error_to_centred_targets(soft: bool) -> None:
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    targets = examples(6, soft).batch(torch.arange(6)).labels
    expected = 0.0
    for n in range(6):
        for c in range(3):
            share = float(targets[n, c]) if soft else float(targets[n] == c)
            expected += (float(logits[n, c]) - (share - 1 / 3)) ** 2 / 18
    found = Regression(epochs=1).error(logits, targets)
    np.testing.assert_allclose(float(found), expected, rtol=1e-12)


def test_an_epoch_of_regression_is_one_step_of_adam_on_random_images() -> None:
    recipe = Regression(epochs=4, batch=5, lr=0.1)
    drawn = [next(recipe.batches(9, Rng(0).child("epoch", epoch))) for epoch in range(4)]
    assert [len(set(batch.tolist())) for batch in drawn] == [5] * 4
    assert len({tuple(batch.tolist()) for batch in drawn}) == 4
    assert len(next(recipe.batches(3, Rng(0)))) == 3
    assert (recipe.seen(9), recipe.seen(3), Recipe(epochs=1).seen(9)) == (5, 3, 9)
    long = Regression(epochs=2000, batch=500)
    assert [long.shared(cells, 2) for cells in (40, 500, 1000, 2000, 8000)] == [500, 500, 1000, 2000, 2000]
    assert [Recipe(epochs=2000).shared(cells, 2) for cells in (6, 8000)] == [500, 500]
    assert long.shared(30, 3) == Recipe(epochs=2000).shared(30, 3) == 222
    ours, theirs, data = linear(1), linear(1), examples(9)
    fit(ours, data, recipe, NORMALISE, Rng(0))
    optimizer = torch.optim.Adam(theirs.parameters(), lr=0.1)
    for batch in drawn:
        wanted = nn.functional.one_hot(data.batch(batch).labels, 3).double() - 1 / 3
        optimizer.zero_grad()
        (theirs(data.batch(batch).images) - wanted).pow(2).mean().backward()
        optimizer.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other)


def test_a_network_follows_its_teacher_on_the_mixed_images_and_reads_no_label() -> None:
    teacher, data = linear(2).eval(), examples(6)
    recipe = Distilled(epochs=1, batch=6, temperature=20.0, teacher=teacher, augment=InTurn((Flip(),)))
    batch, rng = data.batch(torch.arange(6)), Rng(3)
    generator = rng.generator()
    flip = Flip().draw(6, (4, 4), generator)
    images, partner, share = CutMix(1.0).apply(Flip().apply(batch.images, flip), CutMix(1.0).draw(6, (4, 4), generator))
    assert share < 1
    network = linear(1)
    said, own = (softmax(net(images).detach().numpy() / 20) for net in (teacher, network))
    expected = (said * (np.log(said) - np.log(own))).sum() / 6
    found = recipe.loss(network(images), images, batch.labels, partner, share)
    np.testing.assert_allclose(float(found.detach()), expected, rtol=1e-9)

    other, shuffled = linear(1), batch._replace(labels=batch.labels.flip(0))
    for net, given in ((network, batch), (other, shuffled)):
        train_step(net, recipe.optimizer(net), given, recipe, NORMALISE, Rng(3))
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))
    theirs = linear(1)
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=1e-3, weight_decay=0.01)
    recipe.loss(theirs(images), images, batch.labels, partner, share).backward()
    optimizer.step()
    for mine, plain in zip(network.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, plain)
    assert all(weight.grad is None for weight in teacher.parameters())


class Said(nn.Module):
    """Says the same of all images."""

    def __init__(self, answers: Tensor) -> None:
        super().__init__()
        self.answers = answers

    def forward(self, _: Tensor) -> Tensor:
        return self.answers


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_answers_of_a_teacher_in_sixteen_bits_become_shares_in_float32(kind: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(4)
    logits, answers = torch.randn(2, 6, 3, generator=generator, dtype=torch.float32)
    given, labels = examples(6).batch(torch.arange(6)), torch.zeros(6, dtype=torch.long)
    found, expected = (
        Distilled(epochs=1, teacher=Said(said)).loss(logits, given.images, labels, labels, 1.0)
        for said in (9 * answers.to(kind), (9 * answers.to(kind)).float())
    )
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_without_a_teacher_there_is_nothing_to_follow() -> None:
    with pytest.raises(ValueError, match="train: this recipe needs a teacher, got none"):
        fit(linear(1), examples(3), Distilled(epochs=1), NORMALISE, Rng(0))


def test_the_step_size_falls_along_half_a_cosine(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, rates = Distilled(epochs=8, lr=0.5, teacher=linear(2)), []
    plain = Distilled.retuned

    def noted(
        self: Distilled, network: nn.Module, optimizer: torch.optim.Optimizer, epoch: int
    ) -> torch.optim.Optimizer:
        made = plain(self, network, optimizer, epoch)
        rates.append(made.param_groups[0]["lr"])
        return made

    monkeypatch.setattr(Distilled, "retuned", noted)
    fit(linear(1), examples(3), recipe, NORMALISE, Rng(0))
    np.testing.assert_allclose(rates, [0.5 * (1 + cos(pi * epoch / 8)) / 2 for epoch in range(8)])
    assert rates[0] == 0.5


def test_labels_that_are_mixed_are_mixed_for_regression_too() -> None:
    recipe, logits = Regression(epochs=1), torch.zeros(2, 2, dtype=torch.float64)
    labels, swapped = torch.tensor([0, 1]), torch.tensor([1, 0])
    images: Tensor = torch.zeros(2, 1, 4, 4)
    logits[0, 0] = 0.5
    expected = 0.75 * recipe.error(logits, labels) + 0.25 * recipe.error(logits, labels[swapped])
    assert torch.equal(recipe.loss(logits, images, labels, swapped, 0.75), expected)
