"""The supervised loop: schedules read off the running optimiser, the mixed loss, shuffling, normalisation, accuracy."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from augment import CutMix, Policy
from yoco.condensed import Examples
from yoco.data.source import Splits
from yoco.rng import Rng
from yoco.train import Normalise, Recipe, accuracy, fit, predict, shuffled, take_steps, train_step

NORMALISE = Normalise((0.25,), (0.5,))


class Linear(nn.Module):
    """One linear layer on the flattened image; it keeps every batch it was given, by mode."""

    def __init__(self, pixels: int = 16, classes: int = 3) -> None:
        super().__init__()
        self.layer = nn.Linear(pixels, classes)
        nn.init.normal_(self.layer.weight, generator=torch.Generator().manual_seed(1))
        nn.init.zeros_(self.layer.bias)
        self.trained: list[Tensor] = []
        self.tested: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        (self.trained if self.training else self.tested).append(images.detach())
        logits: Tensor = self.layer(images.flatten(1))
        return logits


def examples(count: int = 9, soft: bool = False, side: int = 4) -> Examples:
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.rand(count, 1, side, side, generator=generator), torch.arange(count) * 3 // count
    return Examples(images, labels, torch.rand(count, 3, generator=generator).softmax(1) if soft else None)


class Watch:
    """The optimiser of a running fit: its step size, and whether it has momentum, at the start of each epoch's end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[torch.optim.SGD] = []
        plain = Recipe.optimizer

        def optimizer(recipe: Recipe, network: nn.Module, lr: float | None = None) -> torch.optim.SGD:
            self.made.append(plain(recipe, network, lr))
            return self.made[-1]

        monkeypatch.setattr(Recipe, "optimizer", optimizer)

    def rates(self, recipe: Recipe) -> list[float]:
        found: list[float] = []
        fit(Linear(), examples(3), recipe, NORMALISE, Rng(0), after_epoch=lambda _: found.append(self._rate()))
        return found

    def _rate(self) -> float:
        return float(self.made[-1].param_groups[0]["lr"])


def steps(*pieces: tuple[int, float]) -> list[float]:
    return [rate for count, rate in pieces for _ in range(count)]


def test_two_drops_in_one_optimiser(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(monkeypatch)
    assert watch.rates(Recipe(epochs=12)) == pytest.approx(steps((8, 0.01), (2, 0.002), (2, 0.0004)))
    assert len(watch.made) == 1


@pytest.mark.parametrize("epochs", [1, 2, 5, 7, 12, 31])
def test_drops_agree_with_multisteplr(epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.01)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2 * epochs // 3, 5 * epochs // 6], gamma=0.2)
    expected = []
    for _ in range(epochs):
        expected.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    assert Watch(monkeypatch).rates(Recipe(epochs=epochs)) == pytest.approx(expected)


@pytest.mark.parametrize("epochs", [3, 10, 11])
def test_the_extra_epoch_and_the_late_drop_of_dc(epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rate, expected = 0.01, []
    for number in range(epochs + 1):
        expected.append(rate)
        if number == epochs // 2 + 1:
            rate *= 0.1
    watch = Watch(monkeypatch)
    recipe = Recipe(epochs=epochs, drops=(Fraction(1, 2),), gamma=0.1, extra=1, fresh=True)
    assert watch.rates(recipe) == pytest.approx(expected)
    assert len(watch.made) == 2


@pytest.mark.parametrize("fresh", [True, False])
def test_a_fresh_optimiser_loses_its_momentum(fresh: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    watch, network, data = Watch(monkeypatch), Linear(), examples(3)
    recipe = Recipe(epochs=2, drops=(Fraction(1, 2),), fresh=fresh, weight_decay=0.0)
    velocity: list[Tensor] = []
    weights: list[Tensor] = [network.layer.weight.detach().clone()]

    def after(_: int) -> None:
        velocity.append(watch.made[-1].state[network.layer.weight]["momentum_buffer"].clone())
        weights.append(network.layer.weight.detach().clone())

    fit(network, data, recipe, NORMALISE, Rng(0), after_epoch=after)
    at_drop = Linear()
    at_drop.layer.load_state_dict({"weight": weights[1], "bias": -0.01 * _bias_gradient(weights[0], 0.0, data)})
    images, labels = data.batch(torch.arange(3))
    torch.nn.functional.cross_entropy(at_drop(NORMALISE(images)), labels).backward()
    gradient = at_drop.layer.weight.grad
    assert gradient is not None
    expected = gradient if fresh else 0.9 * velocity[0] + gradient
    torch.testing.assert_close(velocity[1], expected, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(weights[2], weights[1] - 0.002 * expected, atol=1e-6, rtol=1e-4)


def _bias_gradient(weight: Tensor, bias: float, data: Examples) -> Tensor:
    images, labels = data.batch(torch.arange(3))
    logits = NORMALISE(images).flatten(1) @ weight.t() + bias
    return (logits.softmax(1) - torch.eye(3)[labels]).mean(0)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)  # type: ignore[no-any-return]


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("cutmix", [0.0, 1.0])
def test_a_step_descends_the_mixed_cross_entropy(cutmix: float, soft: bool) -> None:
    data, network, rng = examples(9, soft), Linear(), Rng(4)
    before = network.layer.weight.detach().double().numpy().copy()
    batch, recipe = data.batch(torch.arange(9)), Recipe(epochs=1, cutmix=cutmix, weight_decay=0.01)
    train_step(network, recipe.optimizer(network), batch, recipe, NORMALISE, rng)

    pixels = (data.images.double().numpy() - 0.25) / 0.5
    targets = data.targets.double().numpy() if soft else np.eye(3)[data.labels.numpy()]
    mixed, aim = pixels.copy(), targets.copy()
    mix = CutMix(cutmix).draw(9, (4, 4), rng.generator())
    assert (mix is not None) == (cutmix == 1.0)
    if mix is not None:
        top, bottom, left, right = mix.box
        assert (bottom - top) * (right - left) > 0
        for i, partner in enumerate(mix.partner.tolist()):
            mixed[i, :, top:bottom, left:right] = pixels[partner, :, top:bottom, left:right]
            given = (bottom - top) * (right - left) / 16
            aim[i] = (1 - given) * targets[i] + given * targets[partner]
    flat = mixed.reshape(9, -1)
    gradient = (softmax(flat @ before.T) - aim).T @ flat / 9 + 0.01 * before
    np.testing.assert_allclose(network.layer.weight.detach().numpy(), before - 0.01 * gradient, atol=1e-6)
    np.testing.assert_allclose(network.trained[0].numpy(), mixed, atol=1e-6)


def test_each_image_is_augmented_by_itself_ahead_of_the_mix() -> None:
    data, network, rng = examples(9), Linear(), Rng(4)
    recipe = Recipe(epochs=1, augment=Policy("crop", crop=0.5), cutmix=1.0)
    train_step(network, recipe.optimizer(network), data.batch(torch.arange(9)), recipe, NORMALISE, rng)
    generator = rng.generator()
    drawn = recipe.augment.draw(9, (4, 4), generator)
    mix = CutMix(1.0).draw(9, (4, 4), generator)
    assert mix is not None
    expected = recipe.augment(NORMALISE(data.images), drawn).clone()
    top, bottom, left, right = mix.box
    assert (bottom - top) * (right - left) > 0
    expected[..., top:bottom, left:right] = expected[mix.partner][..., top:bottom, left:right]
    assert torch.equal(network.trained[0], expected)


def test_cutmix_mixes_about_the_asked_share_of_batches() -> None:
    network, data = Linear(32 * 32), examples(8, side=32)
    fit(network, data, Recipe(epochs=150, cutmix=0.5), NORMALISE, Rng(0))
    plain = {row.numpy().tobytes() for row in NORMALISE(data.images)}
    mixed = [any(row.numpy().tobytes() not in plain for row in batch) for batch in network.trained]
    assert 0.4 < sum(mixed) / 150 < 0.6


def test_images_are_normalised_exactly_once_in_training_and_in_testing() -> None:
    network, data = Linear(), examples(6)
    seen: list[Tensor] = []
    recipe = Recipe(epochs=1, batch=4)
    fit(network, data, recipe, NORMALISE, Rng(0), observe=lambda _, indices, __: seen.append(indices))
    for batch, indices in zip(network.trained, seen, strict=True):
        np.testing.assert_allclose(batch.numpy(), (data.images[indices].numpy() - 0.25) / 0.5, atol=1e-6)
    predict(network, data, NORMALISE)
    np.testing.assert_allclose(network.tested[0].numpy(), (data.images.numpy() - 0.25) / 0.5, atol=1e-6)


def test_normalisation_is_per_channel() -> None:
    images = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = Normalise((0.1, 0.2, 0.3), (1.0, 2.0, 4.0))(images).numpy()
    for channel, (mean, std) in enumerate([(0.1, 1.0), (0.2, 2.0), (0.3, 4.0)]):
        np.testing.assert_allclose(found[:, channel], (images.numpy()[:, channel] - mean) / std)


def test_augmentation_sees_normalised_images() -> None:
    network, data = Linear(), examples(64)
    fit(network, data, Recipe(epochs=1, augment=Policy("crop", crop=0.5)), NORMALISE, Rng(0))
    zeros = (network.trained[0] == 0).float().mean()
    assert 0.2 < float(zeros) < 0.8


def test_sorted_classes_are_mixed_before_every_epoch() -> None:
    data, orders, batches = examples(60), [], []

    def observe(epoch: int, indices: Tensor, _: Tensor) -> None:
        orders.append((epoch, indices))
        batches.append(len(set(data.labels[indices].tolist())))

    fit(Linear(), data, Recipe(epochs=3, batch=20), NORMALISE, Rng(0), observe=observe)
    assert batches == [3] * 9
    epochs = [torch.cat([indices for number, indices in orders if number == epoch]) for epoch in range(3)]
    assert all(sorted(epoch.tolist()) == list(range(60)) for epoch in epochs)
    assert len({tuple(epoch.tolist()) for epoch in epochs}) == 3


def test_the_last_batch_may_be_smaller() -> None:
    assert [len(part) for part in shuffled(10, 4, Rng(0))] == [4, 4, 2]
    assert [len(part) for part in shuffled(10, np.int64(4), Rng(0))] == [4, 4, 2]  # type: ignore[arg-type]


def test_the_same_stream_trains_the_same_network_and_leaves_the_global_generator_alone() -> None:
    recipe = Recipe(epochs=2, augment=Policy("color_crop_flip_scale_rotate"), cutmix=0.5)
    networks = [Linear() for _ in range(3)]
    before = torch.random.get_rng_state()
    for network, seed in zip(networks, (0, 0, 1), strict=True):
        fit(network, examples(), recipe, NORMALISE, Rng(seed))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(networks[0].layer.weight, networks[1].layer.weight)
    assert not torch.equal(networks[0].layer.weight, networks[2].layer.weight)


def test_stopping_early_is_the_beginning_of_the_whole_run() -> None:
    recipe, half, whole = Recipe(epochs=6), Linear(), Linear()
    halfway: list[Tensor] = []
    fit(half, examples(), recipe, NORMALISE, Rng(0), stop=3)
    keep = lambda epoch: halfway.append(whole.layer.weight.detach().clone()) if epoch == 2 else None  # noqa: E731
    fit(whole, examples(), recipe, NORMALISE, Rng(0), after_epoch=keep)
    assert torch.equal(half.layer.weight, halfway[0])
    assert len(half.trained) == 3


def test_every_step_of_an_epoch_draws_anew() -> None:
    network, one = Linear(), examples(1)
    eight = Examples(one.images.expand(8, -1, -1, -1), torch.zeros(8, dtype=torch.long))
    fit(network, eight, Recipe(epochs=1, batch=1, augment=Policy("crop", crop=0.5)), NORMALISE, Rng(0))
    assert len(network.trained) == 8
    assert len(torch.cat(network.trained).unique(dim=0)) > 1


def test_take_steps_goes_through_a_small_source_again() -> None:
    network, recipe = Linear(), Recipe(epochs=1, batch=4)
    take_steps(network, recipe.optimizer(network), examples(6), 5, recipe, NORMALISE, Rng(0))
    assert [len(batch) for batch in network.trained] == [4, 2, 4, 2, 4]
    assert network.trained[0].unique(dim=0).shape[0] == 4
    first, second = (torch.cat(network.trained[at : at + 2]) for at in (0, 2))
    assert not torch.equal(first, second)
    assert torch.equal(first.flatten().sort().values, second.flatten().sort().values)


def test_predict_is_in_order_whatever_the_batch() -> None:
    network, data = Linear(), examples(7)
    one, many = (predict(network, data, NORMALISE, batch=size) for size in (7, 3))
    torch.testing.assert_close(one, many)
    assert not one.requires_grad
    assert not network.training


def test_accuracy_is_the_exact_percentage() -> None:
    network, data = Linear(), examples(7)
    right = predict(network, data, NORMALISE).argmax(1)
    for many in (5, 6):
        told = Examples(data.images, torch.where(torch.arange(7) < many, right, (right + 1) % 3))
        assert accuracy(network, told, NORMALISE) == accuracy(network, told, NORMALISE, batch=3) == 100 * many / 7


def test_a_real_source_can_be_learnt(tiny: Splits) -> None:
    network = Linear(64)
    normalise = Normalise(tiny.train.mean, tiny.train.std)
    start = accuracy(network, tiny.test, normalise)
    fit(network, tiny.train, Recipe(epochs=10, lr=0.05), normalise, Rng(0))
    assert start < 50 < 85 < accuracy(network, tiny.test, normalise)


def test_a_network_that_is_measured_between_epochs_is_trained_in_training_mode() -> None:
    network, data = Linear(), examples(6)

    def look(epoch: int) -> None:
        accuracy(network, data, NORMALISE)

    fit(network, data, Recipe(epochs=3, batch=6), NORMALISE, Rng(0), after_epoch=look)
    assert (len(network.trained), len(network.tested)) == (3, 3)
