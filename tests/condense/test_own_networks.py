"""Networks of one's own: layers that draw, such as dropout, attention, and weights that do not learn."""

import os
import signal
import sys
import types
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from yoco.condense import Interrupted, Progress, condense
from yoco.condense.experts import flat, unflat
from yoco.condense.matching import matched_weights
from yoco.condense.methods.acc_dd import perturb
from yoco.condense.synthetic import in_parts
from yoco.data import Splits
from yoco.networks import Network, build
from yoco.rng import Rng
from yoco.train import Normalise, Recipe, fit

OWN = "own_networks:Own"
SMALL: dict[str, dict[str, Any]] = {
    "idc": {"inner": 2, "network_images": 64, "real_batch": 8},
    "dsa": {"outer": 2, "inner": 2, "real_batch": 8},
    "dm": {"real_batch": 8},
    "datm": {"count": 2, "expert_epochs": 3, "max_start": 2, "student_steps": 2, "threshold": 100.0},
    "mtt": {"count": 2, "expert_epochs": 3, "max_start": 2, "student_steps": 2},
    "cafe": {"real_batch": 8, "window": 2, "still": 1.0, "inner": 3, "query": 16},
    "readout": {"pool": 2, "life": 2, "real_batch": 20, "network_batch": 8, "network_steps": 2},
}


class Looking(nn.Module):
    """Rows of an image look at one another; where a row stands is not learned."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.randn(rows, 8), requires_grad=False)
        self.inward, self.outward, self.drop = nn.Linear(width, 8), nn.Linear(8, 8), nn.Dropout(0.3)

    def forward(self, images: Tensor) -> Tensor:
        rows = self.inward(images.transpose(1, 2).flatten(2)) + self.place
        heads = rows.unflatten(2, (2, 4)).transpose(1, 2)
        seen = scaled_dot_product_attention(heads, heads, heads).transpose(1, 2).flatten(2)
        out: Tensor = self.drop(self.outward(rows + seen).relu())
        return out


class Own(Network):
    def __init__(self, channels: int, classes: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.stages = nn.ModuleList([Looking(size[0], channels * size[1])])
        self.head = nn.Linear(8 * size[0], classes)


class Held(Own):
    """What it draws does not move, and is held where the weights of another network do not bring it."""

    def __init__(self, channels: int, classes: int, size: tuple[int, int], drawn: bool = True) -> None:
        super().__init__(channels, classes, size)
        self.norm = nn.BatchNorm1d(4, affine=False)
        self.register_buffer("places", torch.randn(3) if drawn else torch.ones(3))


@pytest.fixture(autouse=True)
def mine(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = types.ModuleType("own_networks")
    module.Own, module.Held = Own, Held
    monkeypatch.setitem(sys.modules, "own_networks", module)


@pytest.mark.parametrize("method", sorted(SMALL))
def test_a_run_repeats_and_goes_on_to_the_same_bits(tiny: Splits, tmp_path: Path, method: str) -> None:
    how: dict[str, Any] = {"ipc": 1, "network": OWN, "episodes": 4, "progress": False, **SMALL[method]}
    before = torch.get_rng_state()
    whole = condense(tiny, method, **how)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)

    def stop(progress: Progress) -> None:
        if progress.episode == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        condense(tiny, method, out=tmp_path, callbacks=(stop,), **how)
    torch.rand(4)
    assert torch.equal(condense(tiny, method, out=tmp_path, **how).cells, whole.cells)


def test_training_repeats_and_leaves_the_global_generator_alone(tiny: Splits) -> None:
    rows = []
    for _ in range(2):
        torch.rand(3)
        network, before = build(OWN, tiny.train.shape, 3, Rng(0)), torch.get_rng_state()
        fit(network, tiny.train, Recipe(epochs=2), Normalise(tiny.train.mean, tiny.train.std), Rng(1))
        assert torch.equal(torch.get_rng_state(), before)
        rows.append(flat(network))
    assert torch.equal(*rows)


def test_each_part_draws_the_same_both_times() -> None:
    leaf, drop, made = torch.ones(3, 64, requires_grad=True), nn.Dropout(0.5), list[Tensor]()

    def part(k: int) -> Tensor:
        made.append(drop(leaf[k]))
        return made[-1]

    parts = [partial(part, k) for k in range(3)]
    assert len(list(in_parts(parts, lambda values: torch.stack(values).square().sum(), ()))) == 3
    assert all(torch.equal(made[k], made[3 + k]) for k in range(3))
    assert not torch.equal(made[0], made[1])


def test_both_forms_of_mtt_see_the_same_dropout(tiny: Splits) -> None:
    losses: list[float] = []

    def note(progress: Progress) -> None:
        losses.append(progress.loss)

    how: dict[str, Any] = {"ipc": 1, "network": OWN, "episodes": 1, "progress": False, **SMALL["mtt"]}
    for constant in (False, True):
        condense(tiny, "mtt", constant_memory=constant, callbacks=(note,), **how)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_weights_that_do_not_learn_are_neither_matched_nor_moved(tiny: Splits) -> None:
    network = build(OWN, tiny.train.shape, 3, Rng(0))
    assert [tuple(weight.shape) for weight in matched_weights(network)] == [(8, 8), (8, 8)]
    row = flat(network).requires_grad_()
    torch.stack([part.sum() for part in unflat(network, row).values()]).sum().backward()
    assert row.grad is not None
    moved = [bool(part.any()) for part in row.grad.split([weight.numel() for weight in network.parameters()])]
    assert moved == [weight.requires_grad for weight in network.parameters()]
    before = flat(network)
    perturb(network, [0.5], Rng(0))
    parts = zip(before.split([weight.numel() for weight in network.parameters()]), network.parameters(), strict=True)
    changed = [not torch.equal(old, weight.flatten()) for old, weight in parts]
    assert changed == [weight.requires_grad and weight.ndim > 1 for weight in network.parameters()]


@pytest.mark.parametrize("method", ["mtt", "datm"])
def test_experts_of_networks_that_draw_buffers_are_refused(
    tiny: Splits, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    how: dict[str, Any] = {"ipc": 1, "episodes": 1, "progress": False, **SMALL[method]}
    assert condense(tiny, method, network="own_networks:Held:drawn=false", **how).config["episodes_done"] == 1
    monkeypatch.setattr("yoco.condense.experts.fit", None)
    rule = "what a network draws at random must be a parameter (with requires_grad=False if it is not trained)"
    with pytest.raises(ValueError) as caught:
        condense(tiny, method, network="own_networks:Held", **how)
    assert str(caught.value) == f"experts: {rule}, got the buffer places"
