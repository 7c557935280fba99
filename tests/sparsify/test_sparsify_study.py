"""A study: dense, pruned and retrained networks, their files, and what is said of them."""

import json
from copy import deepcopy
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from yoco.condensed import CondensedSet
from yoco.data import Splits
from yoco.rng import Rng
from yoco.sparsify import reestimate, retrain
from yoco.sparsify.masks import budget
from yoco.sparsify.sparse import load, rebuild
from yoco.sparsify.study import BATCH, Study
from yoco.sparsify.weights import load_weights
from yoco.train import Normalise, accuracy

FLOAT = {torch.float32}


@pytest.fixture
def study(tiny: Splits) -> Any:
    def study(**how: Any) -> Study:
        usual = {"data": tiny, "network": "mlp:width=12", "epochs": 3, "lr": 0.05, "sparsity": 0.8, "device": "cpu"}
        return Study(**{**usual, **how})

    return study


def test_a_study_goes_from_data_to_files(study: Any, tiny: Splits, tmp_path: Path) -> None:
    made = study(retrain=2.0)
    found = made.run(tmp_path)
    assert list(found.accuracy) == list(found.seconds) == ["dense", "pruned", "retrained"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "dense.safetensors",
        "sparse.safetensors",
        "sparsify.json",
    ]
    network = rebuild(tmp_path / "sparse.safetensors")
    assert accuracy(network, tiny.test, made.normalise) == found.accuracy["retrained"]
    dense = made.fresh().cpu()
    load_weights(dense, tmp_path / "dense.safetensors")
    assert accuracy(dense, tiny.test, made.normalise) == found.accuracy["dense"]
    assert load(tmp_path / "sparse.safetensors").masks == found.pruned.masks
    assert found.pruned.masks.sparsity == pytest.approx(0.8, abs=0.001)
    assert found.size is not None
    assert found.size.file == (tmp_path / "sparse.safetensors").stat().st_size
    assert set(found.pruned.curves) == {"stages.0.1.weight", "stages.1.0.weight", "head.weight"}


def test_the_json_and_the_table_hold_every_layer(study: Any, tmp_path: Path) -> None:
    found = study().run(tmp_path)
    content = json.loads((tmp_path / "sparsify.json").read_text())
    assert [row["layer"] for row in content["layers"]] == [
        *("stages.0.1.weight", "stages.1.0.weight", "head.weight", "total")
    ]
    assert content["layers"][-1]["zeros"] == sum(row["zeros"] for row in content["layers"][:-1])
    assert content["settings"]["sparsity"] == 0.8
    assert content["outputs"]["moved"] <= content["outputs"]["bound"]["spectral"]
    words = found.markdown()
    assert words.startswith("test accuracy: dense ")
    assert all(row["layer"] in words for row in content["layers"])
    assert f"{content['effective']['nodes']} of" in words


def test_weights_that_are_given_are_not_trained(study: Any, tmp_path: Path) -> None:
    first = study().run(tmp_path)
    again = study(weights=tmp_path / "dense.safetensors").run()
    assert again.accuracy == first.accuracy
    assert again.pruned.masks == first.pruned.masks
    again = study(weights=tmp_path / "sparse.safetensors").run()
    assert again.accuracy["dense"] == first.accuracy["pruned"]
    torch.save(study().fresh().state_dict(), tmp_path / "other.pt")
    load_weights(study().fresh(), tmp_path / "other.pt")


def test_retraining_takes_as_many_steps_as_epochs_on_the_data_have(study: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []
    monkeypatch.setattr("yoco.sparsify.study.retrain", lambda *a, **k: (steps.append(k["steps"]), retrain(*a, **k)))
    study(retrain=3.0).run()
    study(retrain=0.5).run()
    assert steps == [3 * -(-120 // BATCH), 1]


def test_a_condensed_set_alone_calibrates_and_retrains(study: Any, tiny_set: CondensedSet) -> None:
    plain = study(epochs=40).run()
    found = study(epochs=40, retrain=5.0, calibrate=tiny_set, retrain_on=tiny_set).run()
    assert found.accuracy["dense"] == plain.accuracy["dense"]
    assert found.pruned.masks != plain.pruned.masks
    assert min(found.accuracy.values()) > 70


@pytest.mark.parametrize("method", ["erk", "snip"])
def test_masks_at_initialisation_are_trained_with(study: Any, method: str) -> None:
    found = study(at_init=method, epochs=4).run()
    assert list(found.accuracy) == ["trained"]
    assert found.certificate is None
    assert found.pruned.masks.sparsity == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(("epochs", "drops"), [(1, []), (2, [1, 1]), (3, [2, 2]), (6, [4, 5])])
def test_the_step_size_does_not_fall_ahead_of_the_first_epoch(
    study: Any, monkeypatch: pytest.MonkeyPatch, epochs: int, drops: list[int]
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("yoco.sparsify.study.fit", lambda *words: seen.append(words[2]))
    made = study(epochs=epochs)
    made.train(made.fresh())
    assert (seen[0].lr, seen[0].batch, seen[0].drop_epochs()) == (0.05, 128, drops)


def test_sets_of_classes_at_other_places_are_refused(study: Any, tiny_set: CondensedSet) -> None:
    turned = replace(tiny_set, classes=("1", "0", "2"))
    for how in ({"calibrate": turned}, {"retrain_on": turned, "retrain": 1.0}):
        with pytest.raises(ValueError, match=r"^sparsify: classes must be in the order of digits, got '1' at another"):
            study(**how)
    assert study(calibrate=replace(tiny_set, classes=("a", "b", "c"))).calibrate is not None


def test_devices_of_apple_leave_the_work_to_the_processor(study: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yoco.sparsify.study.pick", lambda word: torch.device("mps"))
    assert study(device="auto").place == torch.device("cpu")
    with pytest.raises(ValueError, match=r"^sparsify: device must be cpu or cuda, as second moments need float64"):
        study(device="mps").fresh()


def test_the_dense_file_is_dense_at_initialisation_too(study: Any, tmp_path: Path) -> None:
    made = study(at_init="random", epochs=1)
    made.run(tmp_path)
    kept, fresh = load_file(tmp_path / "dense.safetensors"), made.fresh().state_dict()
    assert all(torch.equal(kept[name], value) for name, value in fresh.items())


def test_rounds_prune_more_and_more(study: Any) -> None:
    found = study(rounds=3, retrain=1.0).run()
    assert found.pruned.masks.sparsity == pytest.approx(0.8, abs=0.001)
    assert found.certificate is None


def test_pruned_biases_stay_zero_through_retraining_and_the_file(study: Any, tmp_path: Path) -> None:
    options = {"prune_bias": True, "solver": "magnitude", "allocation": "global"}
    found = study(sparsity=0.9, options=options, retrain=2.0, network="lenet").run(tmp_path)
    sparse, masks = load(tmp_path / "sparse.safetensors"), found.pruned.masks
    assert sparse.masks == masks
    assert masks.kept == budget(masks.total, 0.9)
    biases = {name: mask for name, mask in masks.items() if name.endswith("bias")}
    gone, total = sum(int((~mask).sum()) for mask in biases.values()), sum(map(len, biases.values()))
    assert gone > 0
    assert not any(sparse.state[name][~mask].any() for name, mask in biases.items())
    assert f"biases, which the table does not count: {gone} of {total} are zero" in found.markdown()
    assert found.json()["biases"] == {"zeros": gone, "all": total}
    assert "biases" not in study().run().json()


def test_batch_norms_see_the_images_anew(study: Any) -> None:
    how = {"network": "convnet:width=6,depth=2,norm=batch", "sparsity": 0.6}
    made = study(**how)
    network = made.fresh()
    made.train(network)
    before = [norm.running_mean.clone() for norm in network.modules() if isinstance(norm, nn.BatchNorm2d)]
    made.prune(network)
    after = [norm.running_mean for norm in network.modules() if isinstance(norm, nn.BatchNorm2d)]
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_bound_holds_with_batch_norms_that_see_the_images_anew(study: Any) -> None:
    how = {"network": "convnet:width=6,depth=2,norm=batch", "epochs": 1}
    for sparsity in (0.0, 0.05, 0.6):
        certificate = study(**how, sparsity=sparsity).run().certificate
        assert certificate.moved <= certificate.bound("spectral") * (1 + 1e-6)
    assert certificate.moved > 0


def test_batch_norms_see_the_images_anew_after_the_last_round(study: Any) -> None:
    made = study(network="convnet:width=6,depth=2,norm=batch", rounds=2, retrain=1.0)
    network = made.fresh()
    made.prune(network)
    before = deepcopy(network.state_dict())
    reestimate(network, made.examples(None), made.normalise, made.rng.child("reestimate"))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_only_the_training_half_is_learned_from(
    study: Any, tiny: Splits, tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, seen = import_module("yoco.sparsify.study"), dict[str, Any]()

    def watch(name: str) -> None:
        plain = getattr(module, name)

        def noted(network: Any, examples: Any, *rest: Any, **how: Any) -> Any:
            seen[name] = examples
            return plain(network, examples, *rest, **how)

        monkeypatch.setattr(module, name, noted)

    for name in ("fit", "sparsify", "reestimate", "retrain", "calibration"):
        watch(name)
    study(epochs=1, retrain=1.0).run()
    assert [each.checksum for each in seen.values()] == [tiny.train.checksum] * 5
    study(epochs=1, retrain=1.0, calibrate=tiny_set, retrain_on=tiny_set).run()
    assert seen["sparsify"] is tiny_set
    assert all(torch.equal(seen[name].images, tiny_set.decode()) for name in ("reestimate", "retrain"))


def test_pruning_is_told_the_seed_the_images_and_how_the_data_are_normalised(
    study: Any, tiny: Splits, tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, told = import_module("yoco.sparsify.study"), dict[str, Any]()
    plain = module.sparsify

    def noted(*given: Any, **how: Any) -> Any:
        told.update(how)
        return plain(*given, **how)

    monkeypatch.setattr(module, "sparsify", noted)
    other = replace(tiny_set, mean=(0.9,), std=(3.0,))
    for at_init in (None, "snip"):
        study(seed=5, images=17, calibrate=other, epochs=1, at_init=at_init).run()
        wanted = {"seed": 5, "images": 17, "normalise": Normalise(tiny.train.mean, tiny.train.std)}
        assert told == {"sparsity": 0.8, "at_init": at_init, **wanted}
        told.clear()


def test_each_retraining_sees_other_images_first(study: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    streams: list[Rng] = []
    monkeypatch.setattr("yoco.sparsify.study.retrain", lambda *given, **how: streams.append(given[3]))
    study(rounds=4, retrain=0.25).run()
    study(retrain=0.25).run()
    assert len(streams) == 5
    assert len({stream.key() for stream in streams}) == 4
    assert streams[3].key() == streams[4].key()


def test_dead_channels_may_be_left_out_of_the_file(study: Any, tiny: Splits, tmp_path: Path) -> None:
    for how in ({"network": "convnet:width=6,depth=2"}, {"at_init": "snip"}, {"network": "resnet20:width=4"}):
        made = study(sparsity=0.95, shrink=True, **how)
        found = made.run(tmp_path)
        small = rebuild(tmp_path / "sparse.safetensors")
        stage = "trained" if "at_init" in how else "pruned"
        assert accuracy(small, tiny.test, made.normalise) == pytest.approx(found.accuracy[stage])
        assert found.shrunk.weights < found.measure.total.weights
        assert found.size.dense == sum(v.numel() * v.element_size() for v in made.fresh().state_dict().values())
        assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in made.fresh().parameters())
        assert f"without dead channels: {found.shrunk.weights:,} weights" in found.markdown()


def test_weights_of_another_network_are_refused(study: Any, tmp_path: Path) -> None:
    study().run(tmp_path)
    other = study(network="mlp:width=5", weights=tmp_path / "dense.safetensors")
    with pytest.raises(ValueError, match=r"dense.safetensors must hold weights of this network, got: size mismatch"):
        other.run()
    for name, content in (("text.pt", b"no weights"), ("empty.pt", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name} must hold weights of this network, got: \S"):
            study(weights=tmp_path / name).run()
    with pytest.raises(FileNotFoundError):
        study(weights=tmp_path / "none.pt").run()


def test_images_to_retrain_on_need_retraining(tiny_set: CondensedSet, study: Any) -> None:
    with pytest.raises(ValueError, match=r"^sparsify: retrain_on needs retrain above 0, got 0$"):
        study(retrain_on=tiny_set)


def test_bfloat16_trains_and_judges_but_does_not_prune(study: Any) -> None:
    seen: dict[str, list[torch.dtype]] = {}
    made = study(bf16=True, retrain=1.0)
    network = made.fresh()
    network.head.register_forward_hook(lambda module, given, output: seen.setdefault(stage[0], []).append(output.dtype))
    for stage in (["train"], ["prune"], ["mend"], ["accuracy"]):
        getattr(made, stage[0])(network)
    kinds = {name: set(dtypes) for name, dtypes in seen.items()}
    assert kinds == {"train": {torch.bfloat16}, "mend": {torch.bfloat16}, "accuracy": {torch.bfloat16}, "prune": FLOAT}


def test_bfloat16_learns_what_float32_does(study: Any, tiny: Splits) -> None:
    found = [study(bf16=bf16, epochs=60, retrain=5.0).run().accuracy for bf16 in (True, False)]
    for stage in ("dense", "pruned", "retrained"):
        assert found[0][stage] == pytest.approx(found[1][stage], abs=5), stage
    assert found[0]["dense"] > 70
