"""FRePo: the regression, its labels, the pool of networks, and LAMB, each against a literal version."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import mse_loss

import yoco
from augment import Policy
from yoco.condense import condense, settings_of
from yoco.condense.lamb import Lamb
from yoco.condense.method import Task
from yoco.condense.methods.frepo import FRePo, Pool, centred, margin, regression
from yoco.data import Splits
from yoco.rng import Rng

NAME = "yoco.condense.methods.frepo:FRePo"
NETWORK = "convnet:width=8,depth=2"
TOY: dict[str, Any] = {"episodes": 4, "pool": 2, "life": 2, "real_batch": 20, "network_batch": 4}


@pytest.fixture
def task(tiny: Splits) -> Task:
    return Task(tiny.train, 2, NETWORK)


def made(tiny: Splits, **changes: Any) -> yoco.CondensedSet:
    options = {"ipc": 2, "seed": 0, "network": NETWORK, "progress": False, **TOY, **changes}
    return condense(tiny, NAME, **options)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=Rng(seed).generator(), dtype=torch.float64)


def test_the_prediction_is_kernel_ridge_regression() -> None:
    support, query, targets = noise(6, 9).numpy(), noise(4, 9, seed=1).numpy(), noise(6, 3, seed=2).numpy()
    kernel = support @ support.T
    damped = kernel + 1e-3 * np.trace(kernel) / 6 * np.eye(6)
    expected = query @ support.T @ np.linalg.inv(damped) @ targets
    found = regression(*map(torch.from_numpy, (support, targets, query)), 1e-3)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)


def test_a_saved_pool_goes_on_in_the_same_bits(
    task: Task, through_disk: Callable[[Any], Any], bits: Callable[[Any], Any]
) -> None:
    pool, other = Pool(task, 2, 6, 1e-3, Rng(0)), Pool(task, 2, 6, 1e-3, Rng(9))
    synthetic = FRePo().synthetic(task, Rng(1))
    pool.learn(0, synthetic, Policy(""), 4, Rng(2))
    other.load_state_dict(through_disk(pool.state_dict()))
    for each in (pool, other):
        each.learn(0, synthetic, Policy(""), 4, Rng(3))
    assert bits(other.state_dict()) == bits(pool.state_dict())


def test_the_margin_counts_up_to_one_over_the_classes() -> None:
    targets = torch.tensor([[0.9, 0.1, 0.0, 0.0], [0.3, 0.2, 0.0, -1.0]])
    assert float(margin(targets)) == pytest.approx(-(0.25 + 0.1) / 2)


def test_targets_are_centred_and_saved_as_shares(task: Task) -> None:
    synthetic = FRePo().synthetic(task, Rng(0))
    torch.testing.assert_close(synthetic.targets()[0].detach(), torch.tensor([2 / 3, -1 / 3, -1 / 3]))
    assert float(synthetic.targets().detach().sum(1).abs().max()) < 1e-6
    shares = synthetic.soft_labels()
    assert shares is not None
    torch.testing.assert_close(shares.detach(), torch.eye(3)[synthetic.labels], atol=1e-6, rtol=0)
    assert FRePo(labels="hard").synthetic(task, Rng(0)).soft_labels() is None


@pytest.mark.parametrize("flip", [True, False])
def test_one_step_is_the_algorithm(task: Task, flip: bool) -> None:
    method, rng = FRePo(**{**TOY, "flip": flip, "real_batch": 500}), Rng(0)
    synthetic, memory = method.synthetic(task, rng), method.memory(task, rng)
    k = int(rng.child("network").choice(2, 1))
    network = memory.networks[k]
    loss = next(method.episode(task, synthetic, memory, rng))
    real = task.real.batch(torch.arange(len(task.real)))
    images, y = synthetic.cells.detach(), synthetic.targets().detach()
    if flip:
        images, y = torch.cat([images, images.flip(-1)]), torch.cat([y, y])
    f, g = (network.seen(task.normalise(part)).detach().double().numpy() for part in (images, real.images))
    kernel = f @ f.T
    predicted = (
        g @ f.T @ np.linalg.solve(kernel + 1e-6 * np.trace(kernel) / len(f) * np.eye(len(f)), y.double().numpy())
    )
    expected = np.mean((predicted - (np.eye(3)[real.labels.numpy()] - 1 / 3)) ** 2) - 1 / 3
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-4)
    synthetic.take_gradient(loss)
    assert all(bool(leaf.grad.abs().sum() > 0) for leaf in synthetic.parameters())


@pytest.mark.parametrize("flip", [True, False])
def test_a_step_in_parts_is_the_same_step(task: Task, flip: bool) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        found = {}
        for batch in (6, 4, 1):
            method, rng = FRePo(**{**TOY, "flip": flip, "network_batch": batch, "ridge": 1e-2}), Rng(0)
            synthetic, memory = method.synthetic(task, rng), method.memory(task, rng)
            synthetic.take_gradient(loss := next(method.episode(task, synthetic, memory, rng)))
            found[batch] = [loss.detach(), *(leaf.grad for leaf in synthetic.parameters())]
    finally:
        torch.set_default_dtype(torch.float32)
    for batch in (4, 1):
        torch.testing.assert_close(found[batch], found[6], rtol=1e-8, atol=1e-12)
    assert [indices.tolist() for indices in method.batches(3)] == [[0], [1], [2]]
    assert [indices.tolist() for indices in FRePo(network_batch=4).batches(6)] == [[0, 2, 4], [1, 3, 5]]


def test_the_network_that_gave_the_features_is_trained_after_the_step(task: Task) -> None:
    method, rng = FRePo(**TOY), Rng(0)
    synthetic, memory = method.synthetic(task, rng), method.memory(task, rng)
    before = [[weight.clone() for weight in network.parameters()] for network in memory.networks]
    k = int(rng.child("network").choice(2, 1))
    episode = method.episode(task, synthetic, memory, rng)
    next(episode)
    assert all(torch.equal(a, b) for a, b in zip(before[k], memory.networks[k].parameters(), strict=True))
    assert next(episode, None) is None
    assert not all(torch.equal(a, b) for a, b in zip(before[k], memory.networks[k].parameters(), strict=True))
    other = 1 - k
    assert all(torch.equal(a, b) for a, b in zip(before[other], memory.networks[other].parameters(), strict=True))


def test_a_network_learns_the_centred_labels_of_augmented_images_by_adam(task: Task) -> None:
    """Two steps of Adam, each on its own random images and draw, to the same bits."""
    pool, synthetic = Pool(task, 1, 8, 3e-4, Rng(0)), FRePo().synthetic(task, Rng(1))
    policy, network = Policy("color_crop_flip", "dsa"), task.network(Rng(0).child(0))
    adam = torch.optim.Adam(network.parameters(), lr=3e-4)
    with torch.no_grad():
        synthetic.beside["targets"].add_(noise(6, 3).float())
    for rng in (Rng(7), Rng(8)):
        pool.learn(0, synthetic, policy, 4, rng)
        chosen = rng.child("batch").choice(6, 4)
        draw = policy.draw(4, (8, 8), rng.child("augment").generator())
        images = policy(task.normalise(synthetic.cells.detach()[chosen]), draw)
        adam.zero_grad()
        mse_loss(network(images), synthetic.beside["targets"].detach()[chosen]).backward()
        adam.step()
    assert all(map(torch.equal, pool.networks[0].parameters(), network.parameters()))


def test_an_episode_trains_by_its_settings(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr(Pool, "learn", lambda *them: given.append(them[3:]))
    method, rng = FRePo(**TOY, augment="color_crop", lr_network=2e-3), Rng(0)
    synthetic, memory = method.synthetic(task, rng), method.memory(task, rng)
    list(method.episode(task, synthetic, memory, rng))
    assert given == [(Policy("color_crop", "dsa"), 4, rng.child("train"))]
    assert [optimizer.param_groups[0]["lr"] for optimizer in memory.optimizers] == [2e-3] * 2


def test_networks_are_replaced_at_the_end_of_their_lives(task: Task) -> None:
    pool, synthetic = Pool(task, 4, 8, 1e-3, Rng(0)), FRePo().synthetic(task, Rng(0))
    assert pool.ages == [0, 2, 4, 6]
    policy = Policy("")
    old = pool.networks[3]
    for step in range(2):
        pool.learn(3, synthetic, policy, 6, Rng(step))
    assert pool.ages[3] == 8
    assert pool.networks[3] is old
    pool.learn(3, synthetic, policy, 6, Rng(9))
    assert pool.networks[3] is not old
    assert pool.ages[3] == 1
    assert pool.optimizers[3].param_groups[0]["params"][0] is next(pool.networks[3].parameters())
    assert pool.optimizers[3].param_groups[0]["lr"] == 1e-3


def test_lamb_is_its_formula() -> None:
    x, gradients = noise(5), [noise(5, seed=seed) for seed in (1, 2, 3)]
    leaf = x.clone().requires_grad_()
    optimizer = Lamb([leaf], lr=0.1, steps=3, final=0.1)
    w, m, v = x.numpy().copy(), np.zeros(5), np.zeros(5)
    for t, gradient in enumerate(gradients, 1):
        leaf.grad = gradient
        optimizer.step()
        g = gradient.numpy()
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        u = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-6)
        lr = 0.1 * (0.1 + 0.9 * (1 + np.cos(np.pi * (t - 1) / 3)) / 2)
        w = w - lr * np.linalg.norm(w) / np.linalg.norm(u) * u
        np.testing.assert_allclose(leaf.detach().numpy(), w, rtol=1e-9)


def test_lamb_moves_what_is_zero_and_leaves_what_has_no_gradient() -> None:
    zero, other = torch.zeros(3, requires_grad=True), torch.ones(3, requires_grad=True)
    zero.grad = torch.ones(3)
    Lamb([zero, other], lr=0.5, steps=1).step()
    torch.testing.assert_close(zero.detach(), torch.full((3,), -0.5), atol=1e-5, rtol=0)
    assert torch.equal(other, torch.ones(3))


@pytest.mark.parametrize(
    ("data", "ipc", "flip"),
    [
        *(("cifar10", 50, True), ("mnist", 1, False), ("fashion-mnist", 10, False), ("cifar100", 1, True)),
        *(("cifar100", 10, False), ("tiny-imagenet", 1, True), ("tiny-imagenet", 10, False)),
    ],
)
def test_published_settings(data: str, ipc: int, flip: bool) -> None:
    found: Any = settings_of(NAME, data, ipc, None)
    assert (found.flip, found.lr, found.lr_network, found.pool, found.life) == (flip, 3e-4, 3e-4, 10, 100)
    assert (found.real_batch, found.episodes, found.ridge, found.labels) == (1024, 500_000, 1e-6, "learned")


def test_learned_shares_are_cut_at_zero(task: Task) -> None:
    synthetic = FRePo().synthetic(task, Rng(0))
    with torch.no_grad():
        synthetic.beside["targets"][0] = torch.tensor([0.5, -0.9, 0.1])
    wanted = torch.tensor([5 / 6, 0.0, 13 / 30]) / (5 / 6 + 13 / 30)
    torch.testing.assert_close(synthetic.soft_labels()[0].detach(), wanted, atol=1e-6, rtol=0)


def test_it_runs_in_float64_and_on_packed_cells(tiny: Splits) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        made(tiny)
    finally:
        torch.set_default_dtype(torch.float32)
    found = made(tiny, factor=2, start="mix", labels="hard")
    assert len(found) == 24
    assert found.soft_labels is None


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ({"pool": 0}, "frepo: pool must be at least 1, got 0"),
        ({"labels": "soft"}, "frepo: labels must be learned or hard, got 'soft'"),
        ({"ridge": 0.0}, "frepo: ridge must be above 0, got 0"),
    ],
)
def test_impossible_settings(setting: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError, match=f"^{line}$"):
        FRePo(**setting)


def test_targets_are_as_many_as_classes() -> None:
    assert centred(torch.tensor([1]), 4).tolist() == [[-0.25, 0.75, -0.25, -0.25]]


@pytest.mark.slow
@pytest.mark.parametrize("ipc", [1, 10])
def test_it_is_better_than_its_start(ipc: int) -> None:
    def worth(**changes: Any) -> float:
        kept = condense("digits", NAME, ipc=ipc, progress=False, **changes)
        return sum(yoco.evaluate(kept, epochs=200, seeds=3, progress=False).results[0].last)

    assert worth() > worth(episodes=0, labels="hard")
