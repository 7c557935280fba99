"""After pruning: the literal loop bit for bit, and averages of batch norms."""

from collections.abc import Callable
from copy import deepcopy
from inspect import signature
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from augment import Policy
from yoco.condensed import CondensedSet
from yoco.data.arrays import from_arrays
from yoco.data.source import Source, Splits
from yoco.networks import build
from yoco.rng import Rng
from yoco.sparsify.hold import held, install
from yoco.sparsify.masks import Masks, weights
from yoco.sparsify.retrain import reestimate, retrain
from yoco.train import Normalise, shuffled


def sparse(name: str = "convnet:width=4,depth=2,norm=batch") -> nn.Module:
    network = build(name, (1, 8, 8), 3, Rng(0))
    masks = {n: torch.rand(w.shape, generator=Rng(1).child(n).generator()) < 0.4 for n, w in weights(network).items()}
    return install(network, Masks(masks))


def state(network: nn.Module) -> list[Tensor]:
    return [value.clone() for value in network.state_dict().values()]


def normalised(data: Source | CondensedSet) -> Normalise:
    return Normalise(data.mean, data.std)


def test_a_batch_is_128_images_by_default() -> None:
    assert [signature(function).parameters["batch"].default for function in (retrain, reestimate)] == [128, 128]


def literal(
    network: nn.Module, source: Source, rng: Rng, steps: int, batch: int, augment: str = "", **how: Any
) -> None:
    """Passes over the examples in random order, Adam, a step size that falls by the same amount each time."""
    masks, lr, done = held(network), how.pop("lr", 1e-3), 0
    optimizer = torch.optim.Adam(network.parameters(), lr=lr, **how)
    network.train()
    while done < steps:
        for indices in shuffled(len(source), batch, rng.child("pass", done)):
            if done == steps:
                break
            for group in optimizer.param_groups:
                group["lr"] = lr * (1 - done / steps)
            images, labels = source.batch(indices)
            images, policy = normalised(source)(images), Policy(augment)
            generator = rng.child("step", done).generator()
            images = policy(images, policy.draw(len(images), (8, 8), generator))
            optimizer.zero_grad()
            cross_entropy(network(images), labels).backward()
            for name, mask in masks.items():
                assert not network.get_parameter(name).grad[~mask].any()
            optimizer.step()
            done += 1


@pytest.mark.parametrize(
    ("steps", "batch", "how"),
    [(1, 128, {}), (7, 50, {}), (5, 40, {"lr": 0.02, "weight_decay": 0.1}), (4, 50, {"augment": "color_crop"})],
)
def test_it_is_the_literal_loop_bit_for_bit(steps: int, batch: int, how: dict[str, Any], tiny: Splits) -> None:
    one, two = sparse(), sparse()
    retrain(one, tiny.train, normalised(tiny.train), Rng(3), steps=steps, batch=batch, **how)
    literal(two, tiny.train, Rng(3), steps, batch, **how)
    assert all(torch.equal(*pair) for pair in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    assert not any(torch.equal(*pair) for pair in zip(one.parameters(), sparse().parameters(), strict=True))


@pytest.mark.parametrize("steps", [0, 1, 5, 11])
def test_steps_are_exact_and_their_size_falls_to_nothing(
    steps: int, tiny: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[float] = []
    plain = torch.optim.Adam.step

    def step(self: torch.optim.Adam, closure: Callable[[], float] | None = None) -> Any:
        sizes.append(self.param_groups[0]["lr"])
        return plain(self, closure)

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    network = sparse()
    before = state(network)
    retrain(network, tiny.train, normalised(tiny.train), Rng(0), steps=steps, lr=0.01, batch=50)
    assert sizes == pytest.approx([0.01 * (1 - k / steps) for k in range(steps)])
    if not steps:
        assert all(torch.equal(*pair) for pair in zip(before, state(network), strict=True))


@pytest.mark.parametrize("name", ["mlp:width=8", "convnet:width=4,depth=2,norm=batch"])
def test_zeros_are_kept(name: str, tiny: Splits) -> None:
    network = sparse(name)
    masks = held(network)
    retrain(network, tiny.train, normalised(tiny.train), Rng(0), steps=6, lr=0.05, batch=40, weight_decay=0.1)
    assert Masks.of(network) == masks == held(network)


def test_a_condensed_set_will_do(tiny_set: CondensedSet) -> None:
    network, examples = sparse(), tiny_set.as_dataset()
    masks, losses = held(network), []
    for steps in (0, 60):
        retrain(network, examples, normalised(tiny_set), Rng(0), steps=steps, lr=0.01, batch=36)
        network.eval()
        losses.append(float(cross_entropy(network(normalised(tiny_set)(examples.images)), examples.labels).detach()))
    assert losses[1] < 0.75 * losses[0]
    assert Masks.of(network) == masks


def test_the_stream_decides(tiny: Splits) -> None:
    found = []
    for seed in (0, 0, 1):
        network = sparse("mlp:width=8")
        retrain(network, tiny.train, normalised(tiny.train), Rng(seed), steps=3, batch=20)
        found.append(network.head.weight.detach())
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_retraining_needs_zeros_and_steps(tiny: Splits) -> None:
    given = (tiny.train, normalised(tiny.train), Rng(0))
    with pytest.raises(ValueError, match=r"^retrain: the network must have masks, got none; install them first$"):
        retrain(build("mlp:width=8", (1, 8, 8), 3, Rng(0)), *given, steps=1)
    with pytest.raises(ValueError, match=r"^retrain: steps must be at least 0, got -1$"):
        retrain(sparse(), *given, steps=-1)


class Normed(nn.Module):
    """Two batch norms, one after the other, and what must not move."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.conv = nn.BatchNorm2d(1, momentum=0.3), nn.Conv2d(1, 2, 3)
        self.second, self.drop = nn.BatchNorm2d(2, momentum=None), nn.Dropout(0.5)
        self.still = nn.BatchNorm2d(2, track_running_stats=False)

    def forward(self, images: Tensor) -> Any:
        return self.still(self.drop(self.second(self.conv(self.first(images)))))


@pytest.mark.parametrize("batch", [120, 50, 17, 7])
def test_running_statistics_are_averages_over_batches(batch: int, tiny: Splits) -> None:
    with Rng(0).as_global():
        network = Normed()
    network.train()
    network.first.eval()
    network.first.running_mean.fill_(7)
    modes = [module.training for module in network.modules()]
    fixed = {name: value.clone() for name, value in network.named_parameters()}
    means: list[list[np.ndarray]] = [[], []]
    variances: list[list[np.ndarray]] = [[], []]
    for indices in shuffled(120, batch, Rng(5)):
        if len(indices) == 1:
            continue
        x = normalised(tiny.train)(tiny.train.batch(indices).images).double()
        for at, norm in enumerate((network.first, network.second)):
            if at:
                x = deepcopy(network.conv).double()(x).detach()
            pixels = x.transpose(0, 1).flatten(1).numpy()
            means[at].append(pixels.mean(1))
            variances[at].append(pixels.var(1, ddof=1))
            scale = np.sqrt(pixels.var(1) + norm.eps)
            x = (x - torch.from_numpy(means[at][-1])[:, None, None]) / torch.from_numpy(scale)[:, None, None]
    reestimate(network, tiny.train, normalised(tiny.train), Rng(5), batch=batch)
    for at, norm in enumerate((network.first, network.second)):
        np.testing.assert_allclose(norm.running_mean.numpy(), np.mean(means[at], 0), atol=2e-6)
        np.testing.assert_allclose(norm.running_var.numpy(), np.mean(variances[at], 0), rtol=2e-5)
        assert norm.num_batches_tracked == len(means[at])
    assert (network.first.momentum, network.second.momentum) == (0.3, None)
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(value, fixed[name]) for name, value in network.named_parameters())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_last_batch_of_one_image_does_not_count(tiny: Splits) -> None:
    one, two = sparse(), sparse()
    given, (first, last) = tiny.train.take(torch.arange(41)), shuffled(41, 40, Rng(2))
    assert len(last) == 1
    reestimate(one, given, normalised(tiny.train), Rng(2), batch=40)
    reestimate(two, given.take(first), normalised(tiny.train), Rng(2), batch=40)
    for name, value in one.state_dict().items():
        torch.testing.assert_close(value, two.state_dict()[name])


def test_batch_norms_need_two_images_at_a_time(tiny: Splits) -> None:
    network = sparse()
    before = state(network)
    for given, batch in ((tiny.train, 1), (tiny.train.take(torch.arange(1)), 8)):
        with pytest.raises(ValueError, match=r"^reestimate: needs at least 2 images a batch, got batch \d of \d+ "):
            reestimate(network, given, normalised(tiny.train), Rng(2), batch=batch)
    assert all(torch.equal(*pair) for pair in zip(before, state(network), strict=True))


def test_images_that_are_sorted_by_class_have_the_variance_of_all() -> None:
    """Classes of different brightness: what varies in one of them is little."""
    labels = torch.arange(3).repeat_interleave(40)
    noise = 0.02 * torch.rand(120, 1, 8, 8, generator=Rng(1).generator())
    given = from_arrays(0.3 * labels[:, None, None, None] + noise, labels, name="sorted")
    mixed, plain = given.take(torch.randperm(120, generator=Rng(3).generator())), Normalise((0.0,), (1.0,))
    found = []
    for examples in (given, mixed):
        norm = nn.Sequential(nn.BatchNorm2d(1))
        reestimate(norm, examples, plain, Rng(0), batch=40)
        found.append(float(norm[0].running_var))
    images = given.batch(torch.arange(120)).images
    alone = max(float(part.var()) for part in images.split(40))
    assert found[0] == pytest.approx(found[1], rel=0.1)
    assert found[0] == pytest.approx(float(images.var()), rel=0.1)
    assert alone < found[0] / 100


def test_the_stream_decides_on_the_batches(tiny: Splits) -> None:
    found = []
    for seed in (0, 0, 1):
        network = sparse()
        reestimate(network, tiny.train, normalised(tiny.train), Rng(seed), batch=40)
        found.append(network.state_dict())
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())
    assert not all(torch.equal(value, found[2][name]) for name, value in found[0].items())


@pytest.mark.parametrize("name", ["mlp:width=8", "convnet:width=4,depth=2"])
def test_without_batch_norms_nothing_changes(name: str, tiny: Splits) -> None:
    network = sparse(name).train()
    before = state(network)
    calls: list[int] = []
    network.head.register_forward_pre_hook(lambda *_: calls.append(1))
    reestimate(network, tiny.train, normalised(tiny.train), Rng(0))
    assert not calls
    assert network.training
    assert all(torch.equal(*pair) for pair in zip(before, state(network), strict=True))


def test_modes_momenta_and_statistics_are_put_back_after_an_error(tiny: Splits) -> None:
    network = build("convnet:width=4,depth=2,norm=batch", (1, 8, 8), 3, Rng(0)).train()
    network(torch.rand(9, 1, 8, 8, generator=Rng(1).generator()))
    before, calls = state(network), list[int]()

    def fail(*_: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError

    network.head.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError):
        reestimate(network, tiny.train, normalised(tiny.train), Rng(0), batch=40)
    assert all(module.training for module in network.modules())
    assert {module.momentum for module in network.modules() if isinstance(module, nn.BatchNorm2d)} == {0.1}
    assert all(torch.equal(*pair) for pair in zip(before, state(network), strict=True))


def test_norms_that_no_image_reaches_keep_their_statistics(tiny: Splits) -> None:
    with Rng(0).as_global():
        network = Normed()
    network.unused = nn.BatchNorm2d(2)
    network.unused.running_mean.fill_(7)
    network.unused.running_var.fill_(3)
    network.unused.num_batches_tracked.fill_(5)
    reestimate(network, tiny.train, normalised(tiny.train), Rng(0))
    unused = network.unused
    assert (unused.running_mean.tolist(), unused.running_var.tolist()) == ([7, 7], [3, 3])
    assert (int(unused.num_batches_tracked), int(network.first.num_batches_tracked)) == (5, 1)


def test_the_zeros_are_those_of_the_masks_while_batch_norms_look(tiny: Splits) -> None:
    network = sparse()
    masks = held(network)
    reestimate(network, tiny.train, normalised(tiny.train), Rng(0))
    assert held(network) == masks == Masks.of(network)
