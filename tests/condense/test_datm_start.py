"""DATM's start: which images an expert is shown together, and the cells and labels that come of what it says."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from yoco.cells import upsample
from yoco.condense import settings_of
from yoco.condense.method import Task
from yoco.condense.methods import datm
from yoco.condense.methods.datm import DATM, right, seen_at_once
from yoco.data import Splits
from yoco.rng import Rng

NETWORK = "convnet:width=4,depth=2"
TOY: dict[str, Any] = {
    "count": 1,
    "expert_epochs": 6,
    "expert_batch": 40,
    "lr_expert": 0.02,
    "max_start": 3,
    "student_steps": 2,
    "augment": "",
}


def expert(task: Task, method: DATM) -> nn.Module:
    """The first expert after its last epoch, in training as when it is asked."""
    network = task.network(Rng(5)).train()
    nn.utils.vector_to_parameters(method.memory(task, Rng(0)).trajectory(0)[-1].clone(), network.parameters())
    return network


def shown(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images the expert will be shown together, time by time."""
    counts: list[int] = []
    plain = datm.functional_call

    def call(network: nn.Module, weights: dict[str, Tensor], given: tuple[Tensor]) -> Tensor:
        counts.append(len(given[0]))
        return plain(network, weights, given)

    monkeypatch.setattr(datm, "functional_call", call)
    return counts


@pytest.mark.parametrize(("norm", "counts"), [("batch", [120, 6]), ("instance", [40, 40, 40, 6])])
def test_batch_norms_look_at_all_classes_together(
    tiny: Splits, monkeypatch: pytest.MonkeyPatch, norm: str, counts: list[int]
) -> None:
    task, method, seen = Task(tiny.train, 2, f"{NETWORK},norm={norm}"), DATM(**TOY), shown(monkeypatch)
    synthetic, network = method.synthetic(task, Rng(0)), expert(task, method)
    assert seen == counts
    cells = synthetic.cells.detach()
    told = network(task.normalise(task.real.batch(torch.cat([*task.real.by_class])).images)).detach()
    for c, logits in enumerate(told.split(40)):
        first = right(task, logits, c, Rng(0))[:2]
        assert torch.equal(cells[2 * c : 2 * c + 2], task.real.batch(first).images)
    torch.testing.assert_close(synthetic.beside["logits"].detach(), network(task.normalise(cells)).detach())


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_answers_stand_in_the_order_of_the_images(tiny: Splits, monkeypatch: pytest.MonkeyPatch, norm: str) -> None:
    """Where data are not sorted by class, nor shown all together."""
    monkeypatch.setattr("yoco.train.ROOM", 7 * 64)
    mixed = tiny.train.take(Rng(4).choice(120, 120))
    task, method = Task(mixed, 2, f"{NETWORK},norm={norm}"), DATM(**TOY)
    network, told = expert(task, method), torch.empty(120, 3)
    for part in seen_at_once(network, mixed.by_class, 7):
        told[part] = network(task.normalise(mixed.batch(part).images)).detach()
    found = method.judge(task, Rng(0))(lambda part: mixed.batch(part).images, mixed.by_class)
    torch.testing.assert_close(found, told)
    cells = method.synthetic(task, Rng(0)).cells.detach()
    for c, members in enumerate(mixed.by_class):
        first = right(task, told[members], c, Rng(0))[:2]
        assert torch.equal(cells[2 * c : 2 * c + 2], mixed.batch(first).images)


@pytest.mark.parametrize(
    ("network", "counts", "of_the_first"),
    [(nn.BatchNorm2d(3), [401, 400, 400], [300, 300, 300]), (nn.GroupNorm(3, 3), [500, 400, 301], [500, 400, 0])],
)
def test_every_part_has_its_share_of_every_class(
    network: nn.Module, counts: list[int], of_the_first: list[int]
) -> None:
    parts = seen_at_once(network, (torch.arange(900), torch.arange(900, 1201)))
    assert [len(part) for part in parts] == counts
    assert [int((part < 900).sum()) for part in parts] == of_the_first
    assert torch.cat(parts).sort().values.tolist() == list(range(1201))


def test_each_cell_holds_one_image_that_the_expert_was_asked_about(tiny: Splits) -> None:
    task = Task(tiny.train, 2, NETWORK)
    method: Any = settings_of("datm", "digits", 2, None, factor=2, **TOY)
    synthetic, network = method.synthetic(task, Rng(0)), expert(task, method)
    cells = synthetic.cells.detach()
    for c, members in enumerate(task.real.by_class):
        logits = network(task.normalise(task.real.batch(members).images)).detach()
        chosen = task.real.batch(right(task, logits, c, Rng(0))[:8]).images
        assert torch.equal(cells[8 * c : 8 * c + 8], chosen[..., ::2, ::2])  # nearest takes the first of two pixels
    seen = network(task.normalise(upsample(cells, (8, 8)))).detach()
    torch.testing.assert_close(synthetic.beside["logits"].detach(), seen)
