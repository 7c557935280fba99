"""M3D: its settings, the discrepancy against NumPy, and the order of its updates."""

from math import exp
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import yoco
from augment import Policy
from yoco.condense import condense, settings_of
from yoco.condense.matching import mean_distance
from yoco.condense.method import Task
from yoco.condense.methods.m3d import KERNELS, M3D, discrepancy
from yoco.condense.siamese import siamese
from yoco.condense.synthetic import start
from yoco.data import Splits
from yoco.rng import Rng

NETWORK = "convnet:width=8,depth=2"


@pytest.fixture
def task(tiny: Splits) -> Task:
    return Task(tiny.train, 2, NETWORK)


def two(n: int = 5, m: int = 3, shape: tuple[int, ...] = (2, 2)) -> tuple[Tensor, Tensor]:
    """Features of real and of synthetic images."""
    generator = torch.Generator().manual_seed(0)
    real, synthetic = (torch.randn(k, *shape, dtype=torch.float64, generator=generator) for k in (n, m))
    return real, synthetic + 0.5


def plain(real: Any, synthetic: Any, kernel: str) -> float:
    """The estimate by loops over all pairs."""
    rows = [row.ravel() for row in (*real, *synthetic)]
    pairs = [(x, y) for i, x in enumerate(rows) for j, y in enumerate(rows) if i != j]
    mean = sum(((x - y) ** 2).sum() for x, y in pairs) / len(pairs)

    def k(x: Any, y: Any) -> float:
        if kernel == "gaussian":
            return sum(exp(-((x - y) ** 2).sum() / (mean * width)) for width in (1 / 4, 1 / 2, 1, 2, 4))
        return float(x @ y) if kernel == "linear" else float(x @ y + 1) ** 2

    def among(left: Any, right: Any) -> float:
        return float(np.mean([k(x.ravel(), y.ravel()) for x in left for y in right]))

    return among(real, real) - 2 * among(real, synthetic) + among(synthetic, synthetic)


@pytest.mark.parametrize("kernel", sorted(KERNELS))
def test_discrepancy_against_numpy(kernel: str) -> None:
    real, synthetic = two()
    expected = plain(real.numpy(), synthetic.numpy(), kernel)
    assert discrepancy(real, synthetic, kernel).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("kernel", sorted(KERNELS))
def test_gradient_against_differences_at_fixed_widths(kernel: str) -> None:
    """The widths take no gradient: they are numbers of the batches at hand."""
    real, synthetic = two(4, 2, (3,))
    synthetic.requires_grad_()
    (found,) = torch.autograd.grad(discrepancy(real, synthetic, kernel), synthetic)
    rows = torch.cat([real, synthetic.detach()])
    mean = (rows[:, None] - rows).square().sum(2).sum() / (6 * 5)

    def value(cells: Tensor) -> Tensor:
        both = torch.cat([real, cells])
        if kernel == "gaussian":
            squares = (both[:, None] - both).square().sum(2)
            values = torch.stack([(-squares / (mean * 2.0**power)).exp() for power in range(-2, 3)]).sum(0)
        else:
            values = both @ both.T if kernel == "linear" else (both @ both.T + 1) ** 2
        return values[:4, :4].mean() - 2 * values[:4, 4:].mean() + values[4:, 4:].mean()

    for i, j in np.ndindex(2, 3):
        step = torch.zeros(2, 3, dtype=torch.float64)
        step[i, j] = 1e-6
        slope = (value(synthetic.detach() + step) - value(synthetic.detach() - step)) / 2e-6
        assert found[i, j].item() == pytest.approx(slope.item(), rel=1e-5, abs=1e-9)


def test_a_linear_kernel_is_distribution_matching() -> None:
    real, synthetic = two()
    assert discrepancy(real, synthetic, "linear").item() == pytest.approx(mean_distance(real, synthetic).item())


def test_what_the_mean_does_not_tell_apart() -> None:
    """Two points at -1 and 1, twice as far out: one mean, and other second moments."""
    near = torch.tensor([[-1.0], [1.0]])
    assert discrepancy(near, 2 * near, "linear").item() == pytest.approx(0, abs=1e-6)
    for kernel in ("gaussian", "polynomial"):
        assert discrepancy(near, 2 * near, kernel).item() > 0.05
        assert discrepancy(near, near, kernel).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("n", "m"), [(3, 2), (8, 1), (1, 1)])
def test_equal_features_give_zeros_and_no_nan(n: int, m: int) -> None:
    real, synthetic = torch.ones(n, 4), torch.ones(m, 4, requires_grad=True)
    loss = discrepancy(real, synthetic, "gaussian")
    (gradient,) = torch.autograd.grad(loss, synthetic)
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert not gradient.any()


@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
def test_features_far_from_zero_keep_their_distances(kernel: str) -> None:
    """In float32 |x|^2 + |y|^2 - 2 x'y of large common parts would be noise."""
    real, synthetic = two(shape=(64,))
    far = discrepancy((real + 1000).float(), (synthetic + 1000).float(), kernel)
    assert far.item() == pytest.approx(discrepancy(real, synthetic, kernel).item(), rel=1e-3)


@pytest.mark.parametrize("data", ["mnist", "cifar10"])
def test_settings_are_those_of_later_work(data: str) -> None:
    settings = M3D.published(data, 10)
    assert (settings.lr_image, settings.momentum_image, settings.real_batch) == (1.0, 0.5, 256)
    assert (settings.episodes * settings.updates, settings.updates) == (10_000, 5)
    assert (settings.factor, settings.start, settings.kernel) == (2, "mix", "gaussian")
    assert (settings.augment, settings.synthetic_batch) == ("color_crop_cutout", 200)


@pytest.mark.parametrize(("per_class", "factor", "lr"), [(1, 2, 1.0), (2, 1, 2.0), (2, 2, 2.0)])
def test_steps_grow_with_the_images_of_a_class(tiny: Splits, per_class: int, factor: int, lr: float) -> None:
    """The loss is a mean over cells: each has a gradient that falls with their number."""
    method = M3D(factor=factor)
    cells = method.synthetic(Task(tiny.train, per_class, NETWORK), Rng(0))
    assert method.optimizer(cells).param_groups[0]["lr"] == lr


def test_whole_images_start_as_real_ones(task: Task) -> None:
    found = M3D(factor=1).synthetic(task, Rng(0)).cells
    assert torch.equal(found, start("real", task.real, 2, 1, Rng(0)).cells)


@pytest.mark.parametrize(
    ("kernel", "augment"), [("gaussian", "color_crop_cutout"), ("linear", "crop"), ("polynomial", "")]
)
def test_every_update_is_of_one_class_and_a_network_serves_several(task: Task, kernel: str, augment: str) -> None:
    method = M3D(updates=2, real_batch=8, synthetic_batch=3, kernel=kernel, augment=augment)
    synthetic, rng = method.synthetic(task, Rng(0)), Rng(2)
    network = task.network(rng.child("network"))
    for k, loss in enumerate(method.episode(task, synthetic, None, rng)):
        update, label = divmod(k, len(task.classes))
        stream = rng.child("update", update)
        cells = synthetic.of(label, 3, stream.child("cells", label))
        real = task.draw(label, 8, stream.child("real", label))
        pair = siamese(task, Policy(augment, "idc"), real, cells, stream.child("augment", label))
        features = [network.seen(side.images) for side in pair]
        assert loss.item() == pytest.approx(discrepancy(features[0], features[1], kernel).item(), rel=1e-5)
        synthetic.take_gradient(loss)
        assert synthetic.cells.grad is not None
        touched = synthetic.cells.grad.flatten(1).any(1).unflatten(0, (synthetic.classes, -1)).sum(1)
        assert touched.tolist() == [3 * (c == label) for c in task.classes]
    assert k + 1 == 2 * len(task.classes)


def test_pixels_are_clamped_before_every_update(task: Task) -> None:
    method = M3D(updates=2, real_batch=8)
    synthetic, seen = method.synthetic(task, Rng(0)), []
    with torch.no_grad():
        synthetic.cells[0], synthetic.cells[1] = 2, -2
    for _ in method.episode(task, synthetic, None, Rng(2)):
        seen.append((synthetic.cells[0].max().item(), synthetic.cells[1].min().item()))
        with torch.no_grad():
            synthetic.cells[0] += 0.125
            synthetic.cells[1] -= 0.125
    updates = np.reshape(seen, (2, -1, 2))
    assert updates[:, 0].tolist() == [[1, 0], [1, 0]]
    assert (updates[:, 1:] != (1, 0)).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"updates": 0}, "m3d: updates must be at least 1, got 0"),
        ({"real_batch": 0}, "m3d: real_batch must be at least 1, got 0"),
        ({"synthetic_batch": -1}, "m3d: synthetic_batch must be at least 1, got -1"),
        ({"kernel": "laplace"}, "m3d: kernel must be one of gaussian, polynomial, linear, got 'laplace'"),
        ({"augment": "blur"}, "augment: unknown word 'blur'"),
    ],
)
def test_what_it_cannot_do_is_said_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        settings_of("m3d", "cifar10", 10, None, **changes)
    assert "\n" not in str(caught.value)


def test_an_unknown_kernel_of_a_discrepancy() -> None:
    with pytest.raises(ValueError, match="discrepancy: kernel must be one of gaussian, polynomial, linear, got 'rbf'"):
        discrepancy(*two(), "rbf")


@pytest.mark.slow
@pytest.mark.parametrize("ipc", [1, 10])
def test_it_is_better_than_its_start(ipc: int) -> None:
    def worth(**changes: Any) -> float:
        kept = condense("digits", "m3d", ipc=ipc, progress=False, **changes)
        return yoco.evaluate(kept, epochs=300, seeds=3, progress=False).to_dict()["results"][0]["last_mean"]

    assert worth() > worth(episodes=0) + 1
