"""How many images a network that learns nothing looks at together: everywhere few large ones."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from yoco.cells import upsample
from yoco.condense import labels, settings_of
from yoco.condense import teacher as module
from yoco.condense.method import Task
from yoco.condense.methods.dream import penultimate
from yoco.condense.methods.rded import RDED
from yoco.condense.synthetic import Synthetic
from yoco.condense.teacher import Teacher, hard_labels, usual
from yoco.condensed import CondensedSet
from yoco.data.source import Source, Splits
from yoco.networks import Network, build
from yoco.prune.material import material
from yoco.prune.snapshot import look
from yoco.rng import Rng
from yoco.train import Normalise, accuracy, at_once, predict

NETWORK = "convnet:width=4,depth=2"


@pytest.mark.parametrize(
    ("shape", "most"),
    [((1, 8, 8), 500), ((3, 64, 64), 500), ((3, 65, 64), 492), ((3, 224, 224), 40), ((3, 2000, 2000), 1)],
)
def test_fewer_large_images_are_looked_at_together(shape: tuple[int, int, int], most: int) -> None:
    assert at_once(shape) == most


@pytest.fixture
def seven(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is room for seven of the tiny images."""
    monkeypatch.setattr("yoco.train.ROOM", 7 * 64)


@pytest.fixture
def some(tiny: Splits) -> Source:
    return tiny.train.take(torch.arange(0, 120, 6))


def watched(network: nn.Module) -> list[int]:
    """The sizes of the batches that the first layer is given from now on."""
    sizes: list[int] = []
    first = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
    first.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    return sizes


def network() -> Network:
    return build(NETWORK, (1, 8, 8), 3, Rng(0))


@pytest.mark.usefixtures("seven")
@pytest.mark.parametrize("measure", [predict, accuracy])
def test_predictions(some: Source, measure: Any) -> None:
    judge = network()
    sizes = watched(judge)
    measure(judge, some, Normalise(some.mean, some.std))
    assert sizes == [7, 7, 6]


@pytest.mark.usefixtures("seven")
def test_predictions_of_some(some: Source) -> None:
    judge = network()
    normalise = Normalise(some.mean, some.std)
    whole, sizes = predict(judge, some, normalise), watched(judge)
    found = predict(judge, some, normalise, among=torch.arange(7, 19))
    assert sizes == [7, 5]
    torch.testing.assert_close(found, whole[7:19])


@pytest.mark.usefixtures("seven")
def test_snapshots(some: Source) -> None:
    model = network()
    sizes = watched(model)
    look(model, material(some, torch.device("cpu")), images=False, reference=some.take(torch.arange(10)))
    assert sizes == [7, 3, 7, 7, 6]


@pytest.mark.usefixtures("seven")
def test_representatives(some: Source) -> None:
    judge = network()
    sizes = watched(judge)
    penultimate(Task(some, 1, NETWORK), judge, torch.arange(20))
    assert sizes == [7, 7, 6]


@pytest.mark.usefixtures("seven")
def test_experts_that_are_asked_for_labels(tiny: Splits) -> None:
    short = {"count": 1, "expert_epochs": 6, "max_start": 3, "student_steps": 2, "augment": ""}
    method: Any = settings_of("datm", "digits", 2, None, factor=2, expert_batch=40, lr_expert=0.02, **short)
    task, sizes = Task(tiny.train, 2, NETWORK), []

    def images(part: Tensor) -> Tensor:
        sizes.append(len(part))
        return task.real.batch(part).images

    assert len(method.judge(task, Rng(0))(images, [torch.arange(20)])) == 20
    assert sizes == [7, 7, 6]


@pytest.mark.usefixtures("seven")
def test_modules_that_label_a_set(tiny_set: CondensedSet) -> None:
    judge = network()
    sizes = watched(judge)
    labels._logits(tiny_set, judge, tiny_set.classes)
    assert sizes == [7] * 5 + [1]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many cells teachers decode together."""
    sizes: list[int] = []

    def counted(cells: Tensor, size: tuple[int, int]) -> Tensor:
        sizes.append(len(cells))
        return upsample(cells, size)

    monkeypatch.setattr(module, "upsample", counted)
    return sizes


@pytest.mark.usefixtures("seven")
def test_teachers_decode_no_more_than_they_look_at(some: Source, decoded: list[int]) -> None:
    task = Task(some, 1, NETWORK)
    learner = Teacher(task, usual(task, 1), Rng(0))
    cells = torch.rand(18, 1, 4, 4, generator=Rng(1).generator())
    plain = Synthetic(cells, 3, 2, (8, 8))
    synthetic = Synthetic.extended(plain, {"labels": hard_labels(plain)})
    sizes = watched(learner.network)
    learner.label(synthetic, 2.0)
    assert decoded == sizes == [7, 7, 4]
    expected = learner.logits(upsample(cells, (8, 8))) / 2
    assert torch.equal(synthetic.beside["labels"], expected.softmax(1))


@pytest.mark.usefixtures("seven")
def test_crops_are_decoded_no_more_at_once_than_are_looked_at(some: Source, decoded: list[int]) -> None:
    task, method = Task(some, 1, NETWORK), RDED(episodes=1, factor=2, pool=5, crops=2)
    method.easiest(task, Teacher(task, replace(usual(task, 1), lr=0.1), Rng(0)), 1, Rng(0))
    assert decoded == [7, 3]
