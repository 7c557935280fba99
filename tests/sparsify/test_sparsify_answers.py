"""Networks that answer with something else than a number for each class: one line where answers are read."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from yoco.data.source import Batch
from yoco.rng import Rng
from yoco.sparsify.calibration import Calibration
from yoco.sparsify.certificate import certify
from yoco.sparsify.curves import loss
from yoco.sparsify.methods.grasp import grasp
from yoco.sparsify.methods.snip import snip
from yoco.sparsify.pruner import Pruner

Answer = Callable[[Tensor], Any]


class Own(nn.Module):
    """Answers what is made of three logits."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        with Rng(0).as_global():
            self.layer = nn.Linear(64, 3).double()
        self.answer = answer

    def forward(self, images: Tensor) -> Any:
        return self.answer(self.layer(images.flatten(1)))


def pair(logits: Tensor) -> tuple[Tensor, Tensor]:
    return logits, logits


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (pair, "one tensor, got tuple"),
        (lambda logits: {"logits": logits}, "one tensor, got dict"),
        (lambda logits: logits[:, :2], "[60, 3 or more] to match the labels, got [60, 2]"),
        (lambda logits: logits[:, None], "[60, 3 or more] to match the labels, got [60, 1, 3]"),
        (lambda logits: logits[:20], "[60, 3 or more] to match the labels, got [20, 3]"),
        (lambda logits: logits.sum(), "[60, 3 or more] to match the labels, got []"),
    ],
)
def test_answers_must_fit_labels(answer: Answer, line: str, data: Calibration) -> None:
    network, how = Own(answer), {"sparsity": 0.5, "rng": Rng(0), "data": data.batch}
    roads: dict[str, Callable[[], Any]] = {
        "weigh loss": lambda: loss(network, data),
        "snip": lambda: snip(network, **how),
        "grasp": lambda: grasp(network, parts=1, **how),
    }
    for where, road in roads.items():
        with pytest.raises(ValueError, match=rf"^{re.escape(f'{where}: the network must return {line}')}$"):
            road()


def test_answers_must_be_one_tensor_to_be_compared_or_weighed(data: Calibration) -> None:
    rule = "the network must return one tensor, got tuple"
    with pytest.raises(ValueError, match=rf"^certify: {rule}$"):
        certify(Own(pair), Own(pair), data)
    with pytest.raises(ValueError, match=rf"^weigh loss: {rule}$"):
        Pruner(weigh="loss")(Own(pair), data, sparsity=0.5, rng=Rng(0))


def test_maps_can_be_compared_and_more_classes_weighed(data: Calibration) -> None:
    maps, more = Own(lambda logits: logits[:, :, None, None]), Own(lambda logits: torch.cat([logits, logits], 1))
    assert certify(maps, maps, data).moved == 0
    assert loss(more, data) > loss(Own(lambda logits: logits), data)


@pytest.mark.parametrize("classes", [3, 4])
def test_soft_labels_must_have_the_classes_of_the_answer(classes: int, data: Calibration) -> None:
    soft = Batch(data.batch.images, one_hot(data.batch.labels, classes).double())
    network = Own(lambda logits: logits)
    if classes == 3:
        hard = snip(network, sparsity=0.5, rng=Rng(0), data=data.batch)
        assert snip(network, sparsity=0.5, rng=Rng(0), data=soft) == hard
        return
    line = re.escape("snip: the network must return [60, 4] to match the labels, got [60, 3]")
    with pytest.raises(ValueError, match=rf"^{line}$"):
        snip(network, sparsity=0.5, rng=Rng(0), data=soft)
