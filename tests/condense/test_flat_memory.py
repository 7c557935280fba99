"""What a step saves for its way back does not grow with the number of classes."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from yoco.condense import METHODS, settings_of
from yoco.condense.loop import Journey, descend
from yoco.condense.method import Task
from yoco.condense.synthetic import Synthetic, in_parts
from yoco.data import load
from yoco.data.source import Source
from yoco.rng import Rng

WIDTH = 6
EXPERTS: dict[str, Any] = {"count": 1, "expert_epochs": 3, "expert_batch": 8, "max_start": 2}
STUDENT: dict[str, Any] = {**EXPERTS, "student_steps": 2, "student_batch": 8}
SMALL: dict[str, dict[str, Any]] = {
    "idc": {"network_images": 8, "network_batch": 8, "real_batch": 8, "pretrain": 0},
    "mdc": {"network_images": 8, "network_batch": 8, "real_batch": 8, "pretrain": 0},
    "pdd": {"base": "dm:real_batch=8", "episodes": 4},
    "dc": {"outer": 2, "inner": 1, "real_batch": 8, "network_batch": 8},
    "dsa": {"outer": 2, "inner": 1, "real_batch": 8, "network_batch": 8},
    "dm": {"real_batch": 8},
    "mtt": STUDENT,
    "datm": {**STUDENT, "grow_from": 0, "threshold": 9.0},
    "frepo": {"pool": 1, "real_batch": 8, "network_batch": 8},
    "readout": {"pool": 1, "real_batch": 8, "network_batch": 8, "graph_batch": 8, "head_steps": 3},
    "idm": {"real_batch": 8, "network_batch": 8, "pool_start": 2, "pool_limit": 3},
    "accdd": {"early": 1, "early_epochs": 1, "network_images": 8, "network_batch": 8, "real_batch": 8},
    "dream": {"network_images": 8, "network_batch": 8, "real_batch": 8, "pretrain": 0},
    "datadam": {"real_batch": 8},
    "m3d": {"updates": 2, "real_batch": 8},
    "sre2l": {"squeeze": 0, "teacher": f"convnet:width={WIDTH},depth=2,norm=batch", "batch": 8},
    "cafe": {"real_batch": 8, "inner": 2, "query": 8, "network_batch": 8},
}


class Saved:
    """Counts bytes of the network's maps while they are kept for the way back: those there now, and the most."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def pack(self, tensor: Tensor) -> "Kept":
        size = tensor.nbytes if tensor.ndim == 4 and tensor.shape[1] == WIDTH else 0
        self.now += size
        self.most = max(self.most, self.now)
        return Kept(self, tensor, size)


class Kept:
    """A tensor that is kept."""

    def __init__(self, saved: Saved, tensor: Tensor, size: int) -> None:
        self.saved, self.tensor, self.size = saved, tensor, size

    def __del__(self) -> None:
        self.saved.now -= self.size


def classes(count: int) -> Source:
    """Twelve images of each of the first digits."""
    train = load("digits").train
    kept = train.take(torch.cat([members[:12] for members in train.by_class[:count]]))
    return replace(kept, classes=kept.classes[:count])


def most(name: str, count: int, **changes: Any) -> int:
    """Bytes of maps that an episode keeps at most, in so many classes."""
    method: Any = settings_of(name, "digits", 2, None, **{**SMALL[name], **changes})
    task = Task(classes(count), 2, f"convnet:width={WIDTH},depth=2")
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(1))
    journey, saved = Journey(synthetic, method.optimizer(synthetic), memory), Saved()
    with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda kept: kept.tensor):
        descend(task, method, journey, Rng(2))
    assert saved.now == 0
    return saved.most


@pytest.mark.parametrize("name", sorted(SMALL))
def test_maps_are_kept_for_no_more_than_a_batch(name: str) -> None:
    few, many = most(name, 4), most(name, 8)
    assert few == many > 0


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_joint_loss_in_parts_has_the_value_and_the_gradients_of_the_whole(count: int) -> None:
    """Of what the parts are made of, and of what enters the loss beside them."""
    cells = torch.rand(count, 1, 2, 3, generator=Rng(0).generator(), dtype=torch.float64)
    synthetic = Synthetic(cells, count, 1, (2, 3), {"share": torch.tensor(0.3, dtype=torch.float64)})
    made: list[int] = []
    back: list[Tensor] = []

    def part(k: int) -> Tensor:
        made.append(k)
        return synthetic.of(k).images.pow(3).flatten()

    def joint(parts: list[Tensor]) -> Tensor:
        total = torch.stack(parts).sum(0)
        total.register_hook(back.append)
        return (synthetic.beside["share"] * total).prod().square()

    whole = joint([part(k) for k in range(count)])
    expected = torch.autograd.grad(whole, synthetic.parameters())
    made.clear()
    back.clear()
    losses = in_parts([partial(part, k) for k in range(count)], joint, [synthetic.beside["share"]])
    synthetic.take_gradient(found := synthetic.together(losses))
    torch.testing.assert_close(found.detach(), whole.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close([leaf.grad for leaf in synthetic.parameters()], list(expected), rtol=1e-12, atol=0)
    assert made == ([*range(count), *range(count)] if count > 1 else [0])
    assert len(back) == 1


@pytest.mark.parametrize(("name", "batch"), [("mtt", "student_batch"), ("frepo", "network_batch")])
def test_the_check_itself_sees_growth(name: str, batch: str) -> None:
    assert most(name, 8, **{batch: 16}) > 1.4 * most(name, 4, **{batch: 16})


def test_every_method_that_learns_pixels_is_looked_at() -> None:
    assert set(METHODS) - set(SMALL) == {"rded", "best-crops", "k-means", "herding", "random"}
