"""Recording a training: it is the full recipe's beginning, and looking does not change it."""

import json
import sys
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from augment import Flip, InTurn, Policy
from yoco.condensed import CondensedSet
from yoco.data import Splits
from yoco.networks import Network, build
from yoco.prune import measure
from yoco.prune.dynamics import NAMES, Dynamics
from yoco.prune.material import material
from yoco.prune.observe import Evidence, observe, recipe_values, yoco_recipe
from yoco.prune.probes import grand
from yoco.prune.snapshot import Snapshot, look
from yoco.rng import Rng
from yoco.train import Recipe, fit, predict

NETWORK = "convnet:norm=batch,width=4,depth=1"
RECORDING = sys.modules["yoco.prune.observe"]
RECIPE = Recipe(epochs=6, batch=10, augment=Policy("color_crop"), cutmix=0.5)


def recorded(data: CondensedSet, epochs: int, recipe: Recipe = RECIPE, **options: object) -> Dynamics:
    return observe(data, epochs=epochs, recipe=recipe, rng=Rng(5), network=NETWORK, **options).dynamics


def trained(data: CondensedSet, epochs: int) -> tuple[Network, Tensor]:
    """The network after these epochs of the full recipe, that nobody looked at before, and its logits."""
    what = material(data, torch.device("cpu"))
    network = build(NETWORK, what.shape, what.classes, Rng(5).child("network"))
    fit(network, what.examples, RECIPE, what.normalise, Rng(5).child("train"), stop=epochs)
    return network, predict(network, what.examples, what.normalise)


def test_clean_looks_leave_training_as_it_is(tiny_set: CondensedSet) -> None:
    dynamics = recorded(tiny_set, 5)
    for epochs in (1, 3, 5):
        expected = measure(trained(tiny_set, epochs)[1], tiny_set.labels)
        assert all(torch.equal(getattr(dynamics, name)[epochs - 1], expected[name]) for name in ("error", "log_p"))


def test_weights_and_batch_statistics_are_those_without_recording(
    tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Network] = []

    def spy(*words: object) -> Network:
        kept.append(build(*words))  # type: ignore[arg-type]
        return kept[-1]

    monkeypatch.setattr(RECORDING, "build", spy)
    for passes in ("clean", "train"):
        recorded(tiny_set, 3, passes=passes)
    assert len(kept) == 2
    expected = trained(tiny_set, 3)[0].state_dict()
    assert any("running_mean" in name for name in expected)
    for network in kept:
        assert network.training
        assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())


def test_the_schedule_is_that_of_the_full_recipe_and_only_its_first_epochs_run(
    tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    step = torch.optim.SGD.step

    def spy(self: torch.optim.SGD, *words: object) -> object:
        rates.append(self.param_groups[0]["lr"])
        return step(self, *words)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.optim.SGD, "step", spy)
    epochs: list[int] = []
    recorded(tiny_set, 5, progress=epochs.append)
    batches = -(-len(tiny_set) // 10)
    assert epochs == [0, 1, 2, 3, 4]
    assert rates == pytest.approx([0.01] * 4 * batches + [0.002] * batches)
    rates.clear()
    recorded(tiny_set, 5, replace(RECIPE, epochs=1000))
    assert rates == [0.01] * 5 * batches


def test_train_passes_see_the_mixed_batches_with_their_own_labels(
    tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, Tensor, Tensor]] = []

    def spy(*words: object, observe, **options: object) -> None:  # type: ignore[no-untyped-def]
        def both(epoch: int, indices: Tensor, logits: Tensor) -> None:
            seen.append((epoch, indices, logits))
            observe(epoch, indices, logits)

        fit(*words, observe=both, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(RECORDING, "fit", spy)
    dynamics = recorded(tiny_set, 2, passes="train")
    assert dynamics.meta["passes"] == "train"
    assert {epoch for epoch, _, _ in seen} == {0, 1}
    for epoch, indices, logits in seen:
        expected = measure(logits, tiny_set.labels[indices])
        assert torch.equal(dynamics.error[epoch, indices], expected["error"])
    order = torch.cat([indices for epoch, indices, _ in seen if epoch == 0])
    assert order.tolist() != sorted(order.tolist())
    monkeypatch.undo()
    assert not torch.equal(dynamics.error, recorded(tiny_set, 2).error)


def test_it_is_determined_by_its_stream_and_knows_how_it_was_made(tiny_set: CondensedSet) -> None:
    torch.manual_seed(3)
    one = recorded(tiny_set, 2)
    torch.rand(5)
    other = recorded(tiny_set, 2)
    assert all(torch.equal(getattr(one, name), getattr(other, name)) for name in NAMES)
    again = observe(tiny_set, epochs=2, recipe=RECIPE, rng=Rng(6), network=NETWORK).dynamics
    assert not torch.equal(one.error, again.error)
    assert one.meta["recipe"]["epochs"] == 6
    assert one.meta["recipe"]["drops"] == ["2/3", "5/6"]
    assert {"passes", "network", "epochs", "seed", "recipe", "seen"} <= set(one.meta)


def test_sources_and_soft_labels_are_recorded_too(tiny: Splits, tiny_set: CondensedSet) -> None:
    dynamics = observe(tiny.train, epochs=1, recipe=RECIPE, rng=Rng(0), network="mlp:width=4").dynamics
    assert dynamics.error.shape == (1, len(tiny.train))
    sharp = torch.eye(3)[tiny_set.labels]
    soft = replace(tiny_set, soft_labels=0.7 * sharp + 0.1)
    expected = measure(trained(soft, 1)[1], soft.soft_labels)
    assert torch.equal(recorded(soft, 1).error[0], expected["error"])


def test_whitened_pixels_are_not_normalised_again(tiny_set: CondensedSet) -> None:
    images = tiny_set.decode()
    what = material(replace(tiny_set, space="zca"), torch.device("cpu"))
    assert torch.equal(what.normalise(images), images)
    assert not torch.equal(material(tiny_set, torch.device("cpu")).normalise(images), images)


def test_the_recipe_is_that_of_the_paper_and_mirrors_no_digits() -> None:
    recipe = yoco_recipe("cifar10")
    assert (recipe.epochs, recipe.batch, recipe.lr, recipe.momentum, recipe.weight_decay) == (1000, 64, 0.01, 0.9, 5e-4)
    assert (recipe.drops, recipe.gamma, recipe.cutmix) == ((Fraction(2, 3), Fraction(5, 6)), 0.2, 0.5)
    assert recipe.augment == Policy("color_crop_flip_scale_rotate", "idc")
    assert {yoco_recipe(data).augment for data in ("digits", "mnist", "svhn")} == {Policy("color_crop_scale_rotate")}


def test_bad_options_are_one_line(tiny_set: CondensedSet) -> None:
    for epochs in (0, 7):
        with pytest.raises(ValueError, match=rf"^dynamics: epochs must be in 1..6, got {epochs}$"):
            recorded(tiny_set, epochs)
    with pytest.raises(ValueError, match=r"^dynamics: passes must be clean or train, got 'dirty'$"):
        recorded(tiny_set, 1, passes="dirty")


def test_a_snapshot_is_the_clean_view_of_the_trained_network(tiny_set: CondensedSet) -> None:
    seen = observe(tiny_set, epochs=6, recipe=RECIPE, rng=Rng(5), network=NETWORK, snapshot=True, dynamics=False)
    network, logits = trained(tiny_set, 6)
    assert seen.dynamics is None
    assert seen.snapshot is not None
    assert torch.equal(seen.snapshot.logits, logits)
    assert torch.equal(seen.snapshot.targets, tiny_set.labels)
    images = material(tiny_set, torch.device("cpu")).normalise(tiny_set.decode())
    assert torch.equal(seen.snapshot.features, network.features(images)[-1].flatten(1))
    assert torch.equal(seen.snapshot.images, images)


def test_features_of_any_stage_and_the_inputs_of_the_head(tiny_set: CondensedSet) -> None:
    what = material(tiny_set, torch.device("cpu"))
    network = build("convnet:width=4,depth=2", what.shape, what.classes, Rng(0))
    first, last = look(network, what, stage=0, batch=7), look(network, what)
    outputs = network.features(what.normalise(tiny_set.decode()))
    assert torch.allclose(first.features, outputs[0].flatten(1), atol=1e-6)
    assert torch.allclose(first.inputs, outputs[1].flatten(1), atol=1e-6)
    assert torch.equal(look(network, what, stage=-2).features, look(network, what, stage=0).features)
    assert last.features is last.inputs
    assert torch.allclose(first.logits, last.logits, atol=1e-6)
    for stage in (2, -3):
        with pytest.raises(ValueError, match=rf"^features: stage must be in -2..1, got {stage}$"):
            look(network, what, stage=stage)


def test_a_look_leaves_the_network_as_it_is_and_does_not_follow_it(tiny_set: CondensedSet) -> None:
    what = material(tiny_set, torch.device("cpu"))
    network = build(NETWORK, what.shape, what.classes, Rng(0)).train()
    seen = look(network, what)
    assert all(module.training for module in network.modules())
    before = grand(seen, parameters="all")
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.5)
    assert torch.equal(grand(seen, parameters="all"), before)


def test_an_augmentation_of_ones_own_is_the_same_wherever_it_lies() -> None:
    class Own:
        def __init__(self, strength: Any) -> None:
            self.strength = strength

        def draw(self, count: int, size: tuple[int, int], generator: torch.Generator) -> dict[str, Tensor]:
            return {}

        def apply(self, images: Tensor, params: dict[str, Tensor]) -> Tensor:
            return images

    some: list[Any] = [Own(1), Own(1), Own(2), InTurn((Flip(), Own(1))), InTurn((Flip(), Own(1)))]
    first, again, other, turns, repeated = (recipe_values(replace(RECIPE, augment=each)) for each in some)
    assert first == again != other
    assert turns == repeated != first
    assert str(first["augment"]).endswith("Own(strength=1)")
    some = [
        Own(partial(int, base=8)),
        Own(partial(int, base=8)),
        Own(partial(int, base=9)),
        Own(trained),
        Own(recorded),
    ]
    words = [recipe_values(replace(RECIPE, augment=each))["augment"] for each in some]
    assert words[0] == words[1]
    assert len({*words}) == 4


def test_numbers_of_any_kind_in_a_recipe_are_said_in_json() -> None:
    odd = replace(RECIPE, batch=np.int64(8), gamma=np.float32(0.5), cutmix=Fraction(1, 4))
    values = recipe_values(odd)
    assert json.loads(json.dumps(values)) == values
    assert (values["batch"], values["gamma"], values["cutmix"], values["fresh"]) == (8, 0.5, 0.25, False)
    assert repr(values["batch"]) == "8"


def test_errors_are_the_gradient_in_the_logits_without_cancellation(tiny_set: CondensedSet) -> None:
    what = material(tiny_set, torch.device("cpu"))
    seen = look(build(NETWORK, what.shape, what.classes, Rng(0)), what)
    logits = seen.logits.clone().requires_grad_()
    torch.nn.functional.cross_entropy(logits, seen.targets, reduction="sum").backward()
    assert torch.allclose(seen.errors, logits.grad, atol=1e-6)
    sure = replace(seen, logits=40 * torch.eye(3)[seen.targets])
    rest = 2 * torch.exp(torch.tensor(-40.0, dtype=torch.float64))
    assert sure.errors.gather(1, seen.labels[:, None]).double().mean().item() == pytest.approx(-rest.item(), rel=1e-5)
    soft = 0.7 * torch.eye(3)[seen.targets] + 0.1
    assert torch.allclose(replace(seen, targets=soft).errors, seen.logits.softmax(1) - soft, atol=1e-6)


def test_evidence_is_kept_in_a_file(tiny_set: CondensedSet, tmp_path: Path) -> None:
    made = observe(tiny_set, epochs=2, recipe=RECIPE, rng=Rng(5), network=NETWORK, snapshot=True, shift=True)
    made.save(tmp_path / "e.safetensors")
    again = Evidence.load(tmp_path / "e.safetensors")
    assert again.checksum == made.checksum == tiny_set.checksum
    assert again.meta == made.meta
    for name in (*NAMES, "shift"):
        assert torch.equal(getattr(again.dynamics, name), getattr(made.dynamics, name))
    for name in ("logits", "targets", "features", "inputs"):
        assert torch.equal(getattr(again.snapshot, name), getattr(made.snapshot, name))
    tiny_set.save(tmp_path / "set.safetensors")
    with pytest.raises(ValueError, match="must be of the kind evidence, got condensed set"):
        Evidence.load(tmp_path / "set.safetensors")


def test_a_file_is_made_of_the_tensors_themselves(tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    made = observe(tiny_set, epochs=1, recipe=RECIPE, rng=Rng(5), network=NETWORK, snapshot=True, dynamics=False)
    given: dict[str, Tensor] = {}
    monkeypatch.setattr("yoco.artefact.write", lambda path, kind, version, tensors, header: given.update(tensors))
    made.save("e.safetensors")
    assert sorted(given) == ["features", "inputs", "logits", "targets"]
    assert all(part is getattr(made.snapshot, name) for name, part in given.items())


def test_references_are_kept_in_the_file(tiny: Splits, tiny_set: CondensedSet, tmp_path: Path) -> None:
    how: dict[str, Any] = {"network": NETWORK, "snapshot": True, "dynamics": False, "reference": tiny.train}
    made = observe(tiny_set, epochs=1, recipe=RECIPE, rng=Rng(5), **how)
    made.save(tmp_path / "e.safetensors")
    again = Evidence.load(tmp_path / "e.safetensors").snapshot.reference
    assert len(again[0]) == len(tiny.train)
    assert all(map(torch.equal, again, made.snapshot.reference))


def test_snapshots_refuse_what_does_not_fit() -> None:
    flat = torch.eye(3)
    good = {"logits": flat, "targets": torch.arange(3), "features": flat, "inputs": flat}
    with pytest.raises(ValueError, match=r"^snapshot: features must be \[3, size\], got \[2, 3\]$"):
        Snapshot(**{**good, "features": flat[:2]})
    with pytest.raises(ValueError, match=r"^snapshot: logits must be finite, got nan or infinity$"):
        Snapshot(**{**good, "logits": flat / 0})
