"""SRe2L: what a teacher's batch norms say of images, the three phases, and what may not happen."""

from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import yoco
from yoco.cells import upsample
from yoco.condense import condense, settings_of
from yoco.condense.method import Task
from yoco.condense.methods.sre2l import CosineAdam, SRe2L, statistics_distance
from yoco.data import Splits
from yoco.networks import build
from yoco.rng import Rng

TEACHER = "convnet:width=8,depth=2,norm=batch"
TOY: dict[str, Any] = {"episodes": 5, "squeeze": 2, "teacher": TEACHER}


@pytest.fixture
def task(tiny: Splits) -> Task:
    return Task(tiny.train, 2, "convnet:width=4,depth=1")


def made(tiny: Splits, **changes: Any) -> yoco.CondensedSet:
    options: dict[str, Any] = {"ipc": 2, "progress": False, **TOY, **changes}
    return condense(tiny, "sre2l", **options)


def test_statistics_distance_against_numpy() -> None:
    """For each batch norm two L2 norms, of mean and biased variance of what comes in; the first counts ten times."""
    network = build(TEACHER, (1, 8, 8), 3, Rng(0)).double()
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        network(torch.randn(20, 1, 8, 8, dtype=torch.float64, generator=generator))
    network.eval()
    images = torch.randn(5, 1, 8, 8, dtype=torch.float64, generator=generator)
    logits, ours = statistics_distance(network, images, 10.0)
    maps, expected = images, 0.0
    for weight, stage in zip((10, 1), network.stages, strict=True):
        conv, norm, *rest = stage
        maps = conv(maps)
        seen = maps.detach().numpy().transpose(1, 0, 2, 3).reshape(8, -1)
        held = norm.running_mean.numpy(), norm.running_var.numpy()
        apart = [np.sqrt(((new - old) ** 2).sum()) for new, old in zip((seen.mean(1), seen.var(1)), held, strict=True)]
        expected += weight * sum(apart)
        maps = norm(maps)
        for layer in rest:
            maps = layer(maps)
    assert float(ours.detach()) == pytest.approx(expected, rel=1e-10)
    torch.testing.assert_close(logits, network(images))
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_images_of_the_held_statistics_are_at_no_distance() -> None:
    network = build("convnet:width=4,depth=1,norm=batch", (1, 8, 8), 2, Rng(0)).double()
    images = torch.randn(50, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    conv, norm = network.stages[0][0], network.stages[0][1]
    channels = conv(images).detach().transpose(0, 1).flatten(1)
    norm.running_mean.copy_(channels.mean(1))
    norm.running_var.copy_(channels.var(1, unbiased=False))
    _, near = statistics_distance(network.eval(), images)
    _, far = statistics_distance(network, 2 * images)
    assert float(near.detach()) < 1e-9
    assert float(far.detach()) > 0.1


def test_the_statistics_of_the_teacher_are_not_those_of_the_synthetic_images(task: Task) -> None:
    """Recovering must leave the teacher as it is: in training mode its norms would follow what they shall judge."""
    method = SRe2L(**TOY)
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(1))
    for _ in range(2):
        assert list(method.episode(task, synthetic, memory, Rng(2))) == []
    before = {name: value.clone() for name, value in memory.network.state_dict().items()}
    (loss,) = list(method.episode(task, synthetic, memory, Rng(2)))
    synthetic.take_gradient(loss)
    assert all(torch.equal(value, before[name]) for name, value in memory.network.state_dict().items())
    assert not memory.network.training
    assert synthetic.cells.grad is not None
    assert synthetic.cells.grad.flatten(1).any(1).all()


def test_a_loss_is_cross_entropy_and_the_weighted_distance_in_batches_across_classes(task: Task) -> None:
    method = SRe2L(**{**TOY, "jitter": 0, "batch": 3})
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(1))
    memory.network.eval()
    losses = [float(loss.detach()) for loss in method.losses(task, synthetic, memory.network, Rng(2))]
    assert len(losses) == 2
    for loss, chosen in zip(losses, ([0, 2, 4], [1, 3, 5]), strict=True):
        images = task.normalise(synthetic.cells.detach()[chosen])
        logits, apart = statistics_distance(memory.network, images, 10.0)
        rows = logits.detach().double().numpy()
        entropy = np.mean([np.log(np.exp(row).sum()) - row[label] for label, row in enumerate(rows)])
        assert loss == pytest.approx(entropy + 0.01 * float(apart.detach()), rel=1e-5)


def test_batches_do_not_touch_each_other(task: Task) -> None:
    """So that all cells side by side come out as one batch after another does."""
    method = SRe2L(**{**TOY, "batch": 3})
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(1))
    memory.network.eval()
    synthetic.take_gradient(next(iter(method.losses(task, synthetic, memory.network, Rng(2)))))
    assert synthetic.cells.grad is not None
    assert synthetic.cells.grad.flatten(1).any(1).tolist() == [True, False] * 3


def test_views_are_rolled_together_and_cropped_one_by_one(task: Task) -> None:
    images = torch.arange(2 * 64, dtype=torch.float32).view(2, 1, 8, 8)
    offsets = set()
    for seed in range(60):
        seen = SRe2L(jitter=1).view(images, Rng(seed))
        down, right = divmod(int((seen[0, 0] == 0).nonzero()[0] @ torch.tensor([8, 1])), 8)
        assert torch.equal(seen, images.roll((down, right), dims=(2, 3)))
        offsets.add((down, right))
    assert offsets == {(down, right) for down in (7, 0, 1) for right in (7, 0, 1)}
    cropped = SRe2L(jitter=0, least=0.2).view(images.clone().requires_grad_(), Rng(0))
    assert cropped.shape == images.shape
    assert cropped.requires_grad
    assert not torch.equal(cropped.detach(), images)
    assert torch.equal(SRe2L(jitter=0).view(images, Rng(0)), images)


def test_adam_follows_half_a_cosine() -> None:
    leaf = torch.zeros(3, requires_grad=True)
    optimizer, rates = CosineAdam([leaf], 0.25, 4), []
    assert optimizer.param_groups[0]["betas"] == (0.5, 0.9)
    plain = torch.optim.Adam([torch.zeros(3, requires_grad=True)], lr=0.25, betas=(0.5, 0.9))
    for step in range(4):
        for each in (optimizer, plain):
            parameter = each.param_groups[0]["params"][0]
            parameter.grad = torch.tensor([1.0, -2.0, 0.5]) * (step + 1)
        plain.param_groups[0]["lr"] = 0.25 * (1 + np.cos(np.pi * step / 4)) / 2
        optimizer.step()
        plain.step()
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.25, 0.25 * (1 + np.sqrt(0.5)) / 2, 0.125, 0.25 * (1 - np.sqrt(0.5)) / 2])
    assert torch.equal(leaf, plain.param_groups[0]["params"][0])


def test_squeeze_then_recover_then_relabel(tiny: Splits, task: Task) -> None:
    cells, losses = [], []

    def note(progress: Any) -> None:
        cells.append(progress.synthetic.cells.detach().clone())
        losses.append(progress.loss)

    found = made(tiny, callbacks=(note,))
    assert torch.equal(cells[0], cells[1])
    assert all(not torch.equal(cells[k], cells[k + 1]) for k in range(1, 4))
    assert [isnan(loss) for loss in losses] == [True, True, False, False, False]
    assert found.soft_labels is not None
    assert made(tiny, episodes=4).soft_labels is not None


def test_labels_are_the_softmax_of_the_teacher_on_the_decoded_cells(task: Task) -> None:
    method = SRe2L(**{**TOY, "episodes": 2, "squeeze": 1, "factor": 2, "temperature": 2.0})
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(1))
    for _ in range(2):
        assert torch.equal(synthetic.beside["labels"].detach(), torch.eye(3)[synthetic.labels])
        list(method.episode(task, synthetic, memory, Rng(2)))
    logits = memory.logits(upsample(synthetic.cells.detach(), (8, 8))).double().numpy() / 2
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(synthetic.beside["labels"].detach().numpy(), expected, rtol=1e-5)


def test_a_stopped_run_has_hard_labels_and_hard_ones_stay_hard(tiny: Splits) -> None:
    early = made(tiny, minutes=1e-9)
    assert early.soft_labels is not None
    assert torch.equal(early.soft_labels, torch.eye(3)[early.labels])
    hard = made(tiny, labels="hard")
    assert hard.soft_labels is None
    assert torch.equal(hard.cells, made(tiny).cells)


def test_the_teacher_is_a_network_of_its_own_and_must_have_batch_norm(tiny: Splits, task: Task) -> None:
    memory = SRe2L(**TOY).memory(task, Rng(1))
    assert memory.task.network_name == TEACHER
    assert made(tiny).config["teacher"] == TEACHER
    with pytest.raises(
        ValueError, match=r"^sre2l: teacher must have batch norm, got 'convnet:width=8'; use norm=batch$"
    ):
        made(tiny, teacher="convnet:width=8")


def test_it_goes_on_to_the_same_bits_after_every_episode(tiny: Splits, tmp_path: Path) -> None:
    whole = made(tiny)
    for stop in range(1, 5):

        def leave(progress: Any, stop: int = stop) -> None:
            if progress.episode == stop:
                raise KeyboardInterrupt

        monkey = pytest.MonkeyPatch()
        monkey.setattr("yoco.condense.loop.CHECKPOINT_SECONDS", 0.0)
        with pytest.raises(KeyboardInterrupt):
            made(tiny, out=tmp_path / str(stop), callbacks=(leave,))
        monkey.undo()
        found = made(tiny, out=tmp_path / str(stop))
        assert torch.equal(found.cells, whole.cells)
        assert found.soft_labels is not None
        assert whole.soft_labels is not None
        assert torch.equal(found.soft_labels, whole.soft_labels)


@pytest.mark.parametrize(
    ("data", "shape", "expected"),
    [
        ("cifar10", (3, 32, 32), (1000, 4, 1.0)),
        ("cifar100", (3, 32, 32), (1000, 4, 1.0)),
        ("tiny-imagenet", (3, 64, 64), (1000, 4, 1.0)),
        ("mnist", (1, 28, 28), (1000, 4, 1.0)),
        ("imagenet-10", (3, 224, 224), (4000, 32, 0.08)),
        ("my-photos", None, (1000, 4, 1.0)),
    ],
)
def test_published_settings(data: str, shape: Any, expected: tuple[Any, ...]) -> None:
    m: Any = settings_of("sre2l", data, 10, shape)
    assert (m.episodes - m.squeeze, m.jitter, m.least) == expected
    assert (m.norm_weight, m.first_norm, m.teacher, m.labels, m.start) == (0.01, 10.0, "resnet18", "teacher", "noise")
    assert (m.squeeze, m.batch, m.lr_teacher, m.temperature) == (100, 100, 0.1, 1.0)


def test_the_step_size_is_the_published_one_in_pixels_of_0_to_1() -> None:
    small, large = (SRe2L.published("other", 1, (3, side, side)) for side in (32, 224))
    assert small.lr_image == pytest.approx(0.25 * 0.2)
    assert large.lr_image == pytest.approx(0.25 * 0.225, rel=0.01)


def test_digits_have_settings_of_our_own() -> None:
    m: Any = settings_of("sre2l", "digits", 10, (1, 8, 8))
    assert (m.episodes, m.squeeze, m.teacher, m.jitter) == (115, 15, "convnet:width=32,norm=batch", 1)


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ({"batch": 1}, "sre2l: batch must be at least 2, got 1"),
        ({"squeeze": -1}, "sre2l: squeeze must be at least 0, got -1"),
        ({"jitter": -1}, "sre2l: jitter must be at least 0, got -1"),
        ({"norm_weight": -0.5}, "sre2l: norm_weight must be at least 0, got -0.5"),
        ({"least": 0.0}, "sre2l: least must be above 0 and at most 1, got 0"),
        ({"labels": "learned"}, "sre2l: labels must be teacher or hard, got 'learned'"),
        ({"temperature": 0.0}, "sre2l: temperature must be above 0, got 0"),
        ({"lr_image": 0.0}, "sre2l: lr_image must be above 0, got 0"),
    ],
)
def test_impossible_settings(setting: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError, match=f"^{line}$"):
        settings_of("sre2l", "digits", 1, None, **setting)


@pytest.mark.parametrize("episodes", [1, 2])
def test_a_run_that_would_end_with_its_teacher_is_refused(tiny: Splits, episodes: int) -> None:
    message = rf"^sre2l: episodes must be above squeeze, 2, got {episodes}$"
    with pytest.raises(ValueError, match=message):
        made(tiny, episodes=episodes)
    method: Any = settings_of("sre2l", "digits", 1, None, **{**TOY, "episodes": episodes})
    with pytest.raises(ValueError, match=message):
        method.phases(Task(tiny.train, 1))
    assert made(tiny, episodes=0).soft_labels is not None


def test_the_teacher_learns_at_its_own_step_size(task: Task) -> None:
    assert SRe2L(**TOY, lr_teacher=0.5).memory(task, Rng(0)).recipe.lr == 0.5
