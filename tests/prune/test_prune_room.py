"""What a network on a GPU sees of many samples does not fill its memory."""

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from yoco.condensed import CondensedSet
from yoco.data import Splits
from yoco.networks import build
from yoco.prune import Evidence, Recorder, Snapshot, look, observe
from yoco.prune.asked import ask
from yoco.prune.material import material
from yoco.prune.training import Training
from yoco.rng import Rng
from yoco.train import Recipe


def test_a_look_brings_each_batch_of_images_to_the_cpu(tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    what = material(tiny_set, torch.device("cpu"))
    network = build("mlp:width=4", what.shape, what.classes, Rng(0))
    moved: list[int] = []
    cpu = Tensor.cpu

    def spy(self: Tensor) -> Tensor:
        moved.extend([len(self)] if self.shape[1:] == what.shape else [])
        return cpu(self)

    monkeypatch.setattr(Tensor, "cpu", spy)
    look(network, what, batch=14, images=False)
    assert moved == []
    images = look(network, what, batch=14).images
    assert moved == [14, 14, 8]
    assert torch.equal(images, what.normalise(tiny_set.decode()))


def test_scores_of_ones_own_find_the_images_where_the_network_is(
    tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    places: list[str] = []

    def own(snapshot: Snapshot) -> Tensor:
        assert snapshot.images is not None
        places.append(snapshot.images.device.type)
        return snapshot.logits[:, 0]

    mine: Any = ModuleType("mine")
    mine.own = own
    monkeypatch.setitem(sys.modules, "mine", mine)
    asked = ask("mine:own", tiny_set, Training(network="mlp:width=4"), {})
    flat = torch.eye(3)
    shown: dict[str, Any] = {"logits": flat, "targets": torch.arange(3), "features": flat, "inputs": flat}
    far = Snapshot(**shown, network=nn.Linear(3, 3, device="meta"), images=torch.zeros(3, 1, 1, 3))
    assert asked.values(Evidence(snapshot=far, checksum="")).tolist() == [1, 0, 0]
    assert places == ["cpu", "meta"]


def test_a_clean_pass_is_measured_in_parts(tiny: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yoco.train.AT_ONCE", 8)
    how: dict[str, Any] = {"epochs": 2, "recipe": Recipe(epochs=2), "network": "mlp:width=4", "shift": True}
    whole = observe(tiny.train, rng=Rng(5), **how).dynamics
    sizes: list[int] = []
    log = Recorder.log

    def spy(self: Recorder, epoch: int, indices: Tensor, logits: Tensor, targets: Tensor) -> None:
        assert len(indices) == len(logits) == len(targets)
        sizes.append(len(indices))
        log(self, epoch, indices, logits, targets)

    monkeypatch.setattr(Recorder, "log", spy)
    monkeypatch.setattr(sys.modules["yoco.prune.observe"], "NOTED", 8)
    parts = observe(tiny.train, rng=Rng(5), **how).dynamics
    assert sizes == [64, 56] * 2
    assert whole is not None
    assert parts is not None
    assert parts.parts.keys() == whole.parts.keys()
    for name, part in parts.parts.items():
        torch.testing.assert_close(part, whole.parts[name], msg=name)


def test_a_look_at_the_last_stage_joins_its_output_once(
    tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    what = material(tiny_set, torch.device("cpu"))
    network = build("convnet:width=4,depth=2", what.shape, what.classes, Rng(0))
    wanted = look(network, what, batch=14)
    joined: list[int] = []
    cat = torch.cat
    monkeypatch.setattr(torch, "cat", lambda *given, **how: (joined.append(1), cat(*given, **how))[1])
    counts = []
    for stage in (0, 1, -1):
        joined.clear()
        seen = look(network, what, stage=stage, batch=14)
        counts.append(len(joined))
        assert torch.equal(seen.inputs, wanted.inputs)
        assert torch.equal(seen.logits, wanted.logits)
    assert counts == [counts[1] + 1, counts[1], counts[1]]


def test_a_snapshot_is_checked_in_parts_and_what_is_there_twice_once(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[int] = []
    isfinite = torch.isfinite
    monkeypatch.setattr(torch, "isfinite", lambda part: (checked.append(part.numel()), isfinite(part))[1])
    rows, own = torch.zeros(3000, 400), {"logits": torch.zeros(3000, 2), "targets": torch.zeros(3000).long()}
    Snapshot(**own, features=rows, inputs=rows)
    assert checked == [6000, 2621 * 400, 379 * 400]
    checked.clear()
    Snapshot(**own, features=rows, inputs=torch.zeros(3000, 5))
    assert checked == [6000, 2621 * 400, 379 * 400, 15000]
    rows[-1, -1] = torch.nan
    with pytest.raises(ValueError, match=r"^snapshot: features must be finite, got nan or infinity$"):
        Snapshot(**own, features=rows, inputs=rows)
