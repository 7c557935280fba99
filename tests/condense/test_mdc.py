"""MDC: the algorithm against a plain version, freezing, and the order of the saved set."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate

import yoco
from yoco.cells import cut, upsample
from yoco.condense import Interrupted, Progress, condense
from yoco.condense.method import Task
from yoco.condense.methods.mdc import MDC, Sizes
from yoco.condense.synthetic import Synthetic
from yoco.data import Splits
from yoco.rng import Rng

NETWORK = "convnet:width=4,depth=2"
TOY: dict[str, Any] = {"inner": 2, "interval": 1, "factor": 2, "network_images": 64, "real_batch": 8}


@pytest.fixture
def task(tiny: Splits) -> Task:
    return Task(tiny.train, 3, NETWORK)


@pytest.fixture
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def steps(task: Task, method: MDC, episodes: int) -> Iterator[tuple[Synthetic, Sizes, Any]]:
    """What the loop does, step of the pixels by step."""
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(1))
    optimizer = method.optimizer(synthetic)
    for k in range(episodes):
        for loss in method.episode(task, synthetic, memory, Rng(2).child(k)):
            synthetic.take_gradient(loss)
            optimizer.step()
            yield synthetic, memory, optimizer


def gradients(network: Any, images: Tensor, label: int, graph: bool) -> list[Tensor]:
    """Those of the convolutions' weights."""
    loss = cross_entropy(network(images), torch.full((len(images),), label))
    return list(torch.autograd.grad(loss, [p for p in network.parameters() if p.ndim == 4], create_graph=graph))


class Literal:
    """MDC without augmentation, on whole classes, by hand: whole batches train the network, a list holds each class."""

    def __init__(self, task: Task, method: MDC) -> None:
        self.task, self.method, self.size, self.frozen = task, method, 1, 0
        self.done: list[int] = []
        self.noted: list[list[float]] = []
        self.before: list[float] = []
        mean, std = task.real.mean[0], task.real.std[0]
        self.real = [(task.real.batch(members).images - mean) / std for members in task.real.by_class]
        self.cells = [part.clone() for part in method.synthetic(task, Rng(0)).cells.detach().split(12)]
        self.moved = [torch.zeros_like(part) for part in self.cells]
        self.lr = method.lr_image * 3 / 10 * (8 / method.reference_side) ** 2

    def decoded(self, cells: Tensor) -> Tensor:
        large = interpolate(cells, size=(8, 8), mode="bilinear", align_corners=False)
        return (large - self.task.real.mean[0]) / self.task.real.std[0]

    def begin(self, k: int, rng: Rng) -> None:
        self.cells = [part.clamp(0, 1) for part in self.cells]
        if self.noted:
            means = [round(sum(column) / len(self.noted), 2) for column in zip(*self.noted, strict=True)]
            if self.before:
                self.done.append(self.size)
                changes = [abs(new - old) for new, old in zip(means, self.before, strict=True)]
                self.size = max((1, 2), key=lambda n: (round(changes[n - 1], 2), -n))
            self.before, self.noted = means, []
        smaller = [n for n in self.done if n < self.size]
        self.frozen = max(smaller) if smaller else 0
        self.measured = k // self.method.inner % self.method.interval == 0
        self.network = self.task.network(rng.child("network"))
        self.speed = [torch.zeros_like(p) for p in self.network.parameters()]

    def episode(self, k: int, rng: Rng) -> None:
        if k % self.method.inner == 0:
            self.begin(k, rng)
        for c in range(3):
            if self.measured:
                self.noted.append(self.distances(c))
            self.step(c)
        self.learn()

    def distances(self, c: int) -> list[float]:
        with torch.no_grad():
            real = self.network.features(self.real[c])[-1].mean(0)
            own = self.network.features(self.decoded(self.cells[c]))[-1]
        return [float(((own[: 4 * n].mean(0) - real) ** 2).sum()) for n in (1, 2)]

    def step(self, c: int) -> None:
        cells, loss = self.cells[c].clone().requires_grad_(), torch.tensor(0.0)
        still, part = 4 * self.frozen, 4 * self.size
        joined = torch.cat([cells[:still].detach(), cells[still:]])
        for images in (self.decoded(joined), self.decoded(joined[:part])):
            pairs = zip(
                gradients(self.network, self.real[c], c, False), gradients(self.network, images, c, True), strict=True
            )
            loss = loss + sum(((a - b) ** 2).sum() for a, b in pairs)
        (gradient,) = torch.autograd.grad(loss, cells)
        assert bool((gradient[:still] == 0).all())
        for other in range(3):
            new = gradient if other == c else torch.zeros_like(gradient)
            self.moved[other] = self.method.momentum_image * self.moved[other] + new
            self.cells[other] = self.cells[other].clone()
            self.cells[other][still:] -= self.lr * self.moved[other][still:]

    def learn(self) -> None:
        images, labels = torch.cat(self.real), torch.arange(3).repeat_interleave(40)
        weights = list(self.network.parameters())
        found = torch.autograd.grad(cross_entropy(self.network(images), labels), weights)
        with torch.no_grad():
            for at, (weight, gradient) in enumerate(zip(weights, found, strict=True)):
                self.speed[at] = 0.9 * self.speed[at] + gradient + 5e-4 * weight
                weight -= 0.05 * self.speed[at]


@pytest.mark.usefixtures("float64")
def test_the_algorithm_is_that_of_a_plain_version(task: Task) -> None:
    plain: dict[str, Any] = {"augment": "", "network_augment": "", "cutmix": 0.0, "real_batch": 40}
    learning = {"network_images": 120, "network_batch": 120, "lr_network": 0.05}
    method = MDC(inner=2, interval=2, lr_image=1.0, reference_side=8, **plain, **learning)
    literal, found = Literal(task, method), steps(task, method, 14)
    seen = []
    for k in range(14):
        literal.episode(k, Rng(2).child(k))
        for _ in range(3):
            synthetic, memory, _ = next(found)
        seen.append((literal.size, literal.frozen))
        assert (memory.size, memory.frozen) == seen[-1]
    assert next(found, None) is None
    torch.testing.assert_close(synthetic.cells.detach(), torch.cat(literal.cells), rtol=1e-9, atol=1e-12)
    assert {(2, 1), (1, 0)} <= set(seen)
    assert float((synthetic.cells.detach() - method.synthetic(task, Rng(0)).cells.detach()).abs().max()) > 0.01


def test_the_first_and_every_interval_th_network_is_measured(task: Task) -> None:
    method = MDC(**{**TOY, "interval": 3})
    noted = [(memory.networks, memory.noted) for _, memory, _ in steps(task, method, 16)]
    measured = {network for network, count in noted if count}
    assert measured == {1, 4, 7}
    assert max(count for _, count in noted) == 2 * 3  # inner steps times classes
    assert max(network for network, _ in noted) == 8


def test_frozen_cells_stand_still_though_their_momentum_goes_on(task: Task) -> None:
    """The first two networks move all cells; then size 2 is trained with size 1 frozen; then size 1 again."""
    method = MDC(**TOY, lr_image=1.0)
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(1))
    optimizer = method.optimizer(synthetic)
    seen = []
    for k in range(8):
        if k == 4:
            memory.size, memory.done, memory.noted = 2, [1], 0
            synthetic.clamp()
        if k == 6:
            memory.size, memory.noted = 1, 0
        before = synthetic.firsts(4).clone()
        for loss in method.episode(task, synthetic, memory, Rng(2).child(k)):
            synthetic.take_gradient(loss)
            optimizer.step()
            seen.append((k, zero(synthetic.cells.grad, 4), zero(synthetic.cells.grad, 12)))
        assert torch.equal(synthetic.firsts(4), before) == (k in (4, 5))
        momentum = optimizer.state[synthetic.cells]["momentum_buffer"]
        assert not zero(momentum, 4)
    assert all(none == (k in (4, 5)) and not whole for k, none, whole in seen)


def zero(values: Tensor | None, count: int) -> bool:
    """Whether nothing is there in the first cells of any class."""
    assert values is not None
    return bool((values.unflatten(0, (3, 12))[:, :count] == 0).all())


def test_a_small_batch_never_breaks_the_order(task: Task) -> None:
    """Of 12 cells 3 are drawn at a time: those of the smaller size are always among its first ones."""
    method = MDC(**TOY, synthetic_batch=3)
    synthetic = method.synthetic(task, Rng(0))
    decoded = upsample(synthetic.cells.detach(), (8, 8))[12:24]
    places = set()
    for k in range(20):
        whole, first = method.parts(synthetic, 2, 1, Rng(k))
        assert len(whole.images) == len(first.images) == 3
        for image in first.images.detach():
            (place,) = [at for at in range(12) if torch.equal(decoded[at], image)]
            places.add(place)
    assert places == set(range(8))


def test_a_prefix_of_the_saved_set_is_what_was_trained(tiny: Splits, tmp_path: Path) -> None:
    """Tile-major: the first four cells of three images are tile 0 of all three and tile 1 of the first."""
    made = condense(tiny, "mdc", ipc=3, network=NETWORK, progress=False, episodes=0, start="real", out=tmp_path, **TOY)
    task = Task(tiny.train, 3, NETWORK)
    method = MDC(**TOY, start="real")
    synthetic = method.synthetic(task, Rng(0).child("start"))
    canvases = cut_back(made.cells[:12])
    for n in (1, 2, 3):
        small = yoco.load(tmp_path / "condensed.safetensors", ipc=n)
        for c in range(3):
            _, trained = method.parts(synthetic, n, c, Rng(0))
            assert torch.equal(small.decode()[small.labels == c], trained.images.detach())
        assert torch.equal(small.cells[: 4 * n], cut(canvases, 2)[: 4 * n])
    assert made.order == small.order == "mdc"


def cut_back(cells: Tensor) -> Tensor:
    """Twelve tile-major 4x4 cells as three 8x8 canvases."""
    return cells.view(2, 2, 3, 1, 4, 4).permute(2, 3, 0, 4, 1, 5).reshape(3, 1, 8, 8)


def test_one_image_per_class_is_idc_to_the_bit(tiny: Splits) -> None:
    how: dict[str, Any] = {"ipc": 1, "network": NETWORK, "progress": False, "episodes": 5, "factor": 2, "inner": 2}
    how |= {"network_images": 64, "real_batch": 8, "pretrain": 1}
    assert torch.equal(condense(tiny, "mdc", **how).cells, condense(tiny, "idc", **how).cells)
    more = {**how, "ipc": 2}
    assert not torch.equal(condense(tiny, "mdc", **more).cells, condense(tiny, "idc", **more).cells)


def test_goes_on_in_the_middle_of_a_measurement_to_the_same_bits(tiny: Splits, tmp_path: Path) -> None:
    how: dict[str, Any] = {"ipc": 4, "network": NETWORK, "progress": False, "episodes": 6, **TOY, "lr_image": 1.0}
    whole = condense(tiny, "mdc", **how)
    stops = [1, 2, 5]  # while noting, before a choice, and with one made

    def interrupt(progress: Progress) -> None:
        if progress.episode == stops[0]:
            del stops[0]
            os.kill(os.getpid(), signal.SIGINT)

    while stops:
        with pytest.raises(Interrupted):
            condense(tiny, "mdc", out=tmp_path, callbacks=(interrupt,), **how)
    assert torch.equal(condense(tiny, "mdc", out=tmp_path, **how).cells, whole.cells)
