"""References: networks are shown them as they are shown the set, and what does not fit is refused ahead of training."""

import sys
from dataclasses import replace
from typing import Any

import pytest
import torch

from yoco.condensed import CondensedSet
from yoco.data import Splits, Whitening
from yoco.networks import build
from yoco.prune import observe, score, select
from yoco.prune.material import material
from yoco.prune.snapshot import look
from yoco.rng import Rng
from yoco.train import Recipe

HOW: dict[str, Any] = {"epochs": 1, "recipe": Recipe(epochs=1), "network": "mlp:width=4", "snapshot": True}


def test_references_that_do_not_fit_are_refused_before_any_training(
    tiny: Splits, tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["yoco.prune.observe"], "fit", None)
    real = tiny.train
    cases: list[tuple[Any, str]] = [
        (tiny, "reference: must be a Source, see yoco.data.from_arrays, got Splits"),
        (replace(real, classes=("2", "1", "0")), "reference: must have the classes 0, 1, 2, got 2, 1, 0"),
        (
            replace(real, images=real.images.repeat(1, 3, 1, 1), mean=(), std=()),
            "reference: must have images [1, 8, 8] as the set, got [3, 8, 8]",
        ),
        (
            Whitening.fit(real)(real),
            "data digits: images must not be whitened, got whitened ones; give plain ones (condense: with space=zca)",
        ),
    ]
    for reference, line in cases:
        with pytest.raises(ValueError) as caught:
            observe(tiny_set, rng=Rng(0), reference=reference, **HOW)
        assert str(caught.value) == line


def test_references_of_evidence_are_named_where_they_are_read(tiny: Splits, tiny_set: CondensedSet) -> None:
    named = replace(tiny.train, classes=("b", "c", "a"))
    seen = observe(tiny_set, rng=Rng(0), reference=named, **HOW)
    wanted = {"name": "digits", "checksum": tiny.train.checksum}
    assert seen.meta["reference"] == wanted
    assert select(tiny_set, rule="kernel", ipc=1, evidence=[seen]).entry["views"]["reference"] == wanted
    assert seen.snapshot is not None
    alone = replace(seen, snapshot=replace(seen.snapshot, reference=None))
    for rule, evidence in (("herding", [seen]), ("kernel", [alone]), ("kernel", [seen, alone])):
        assert "reference" not in select(tiny_set, rule=rule, ipc=1, evidence=evidence).entry["views"]
    assert "reference" not in score(tiny_set, score="entropy", evidence=[seen]).meta
    assert "reference" not in observe(tiny_set, rng=Rng(0), reference=named, **{**HOW, "snapshot": False}).meta


def test_references_whose_classes_are_the_same_numbers_fit(tiny: Splits, tiny_set: CondensedSet) -> None:
    padded = replace(tiny.train, classes=("00", "01", "02"))
    seen = observe(tiny_set, rng=Rng(0), reference=padded, **HOW)
    assert seen.meta["reference"] == {"name": "digits", "checksum": padded.checksum}
    turned = replace(padded, classes=("01", "00", "02"))
    with pytest.raises(ValueError, match=r"^reference: must have the classes 0, 1, 2, got 01, 00, 02$"):
        observe(tiny_set, rng=Rng(0), reference=turned, **HOW)


@pytest.mark.parametrize("stage", [0, 1, -1])
def test_references_are_seen_as_the_samples_are_and_leave_the_network_as_it_is(
    stage: int, tiny_set: CondensedSet
) -> None:
    what = material(tiny_set, torch.device("cpu"))
    network = build("convnet:width=4,depth=2,norm=batch", what.shape, what.classes, Rng(0)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    seen = look(network, what, stage=stage, reference=what.examples)
    assert seen.reference is not None
    assert torch.equal(seen.reference[0], seen.features)
    assert torch.equal(seen.reference[1], tiny_set.labels)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
