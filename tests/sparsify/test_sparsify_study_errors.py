"""What a study refuses ahead of any training, each mistake in one line."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from yoco.condensed import CondensedSet
from yoco.data import Splits, load
from yoco.networks import Network
from yoco.sparsify.solvers import SOLVERS
from yoco.sparsify.study import Study


@pytest.fixture
def study(tiny: Splits) -> Any:
    def study(**how: Any) -> Study:
        return Study(**{"data": tiny, "network": "mlp:width=12", "epochs": 3, "sparsity": 0.8, **how})

    return study


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ({"sparsity": 1.5}, "sparsity: must be at least 0 and below 1, got 1.5"),
        ({"sparsity": None}, "sparsify: needs sparsity, got None"),
        ({"epochs": 0}, "sparsify: epochs and rounds must be at least 1 and retrain at least 0, got 0, 1 and 0"),
        ({"retrain": -1.0}, "sparsify: epochs and rounds must be at least 1 and retrain at least 0, got 3, 1 and -1"),
        ({"rounds": 2}, "sparsify: rounds above 1 need sparsity and retrain, got 0.8 and 0"),
        (
            {"at_init": "snip", "rounds": 2},
            "sparsify: at_init is for a fresh network in one round, got weights, rounds or retrain",
        ),
        (
            {"at_init": "snip", "retrain": 1.0},
            "sparsify: at_init is for a fresh network in one round, got weights, rounds or retrain",
        ),
        ({"options": {"allocation": "hulls"}}, "allocation: unknown name 'hulls'; did you mean 'hull'?"),
        ({"options": {"swap": 1}}, "solver exact: has options memory, second, swaps, got 'swap'"),
        ({"images": 0}, "sparsify: images must be at least 1, got 0"),
        ({"options": {"ridge": 2}}, "sparsify: ridge must be in 0..1, got 2"),
        ({"options": {"weigh": "size"}}, "weigh: unknown name 'size'; known: bound, error, loss, relative"),
        (
            {"at_init": "snip", "options": {"solver": "lobs"}},
            "sparsify: solver is for trained networks, got it together with at_init",
        ),
        ({"at_init": "snap"}, "method: unknown name 'snap'; did you mean 'snip'?"),
        ({"options": {"solver": "exat"}}, "solver: unknown name 'exat'; did you mean 'exact'?"),
        (
            {"options": {"allocation": {"head.weight": 0.5}}},
            "sparsify: needs either sparsity or an allocation of zeros by layer, got 0.8 and 1 layers",
        ),
        (
            {"options": {"cost": "flops", "allocation": "global"}},
            "sparsify: cost flops needs sparsity and allocation hull or programme or tolerance, got allocation global",
        ),
        (
            {"options": {"pattern": "2:4"}, "sparsity": 0.5, "rounds": 2, "retrain": 1.0},
            "sparsify: rounds above 1 need a growing sparsity, got pattern 2:4",
        ),
        (
            {"options": {"pattern": "2:4"}, "sparsity": 0.9},
            "sparsify: pattern 2:4 fixes the number of zeros, got sparsity 0.9",
        ),
        (
            {"options": {"pattern": "2:x"}},
            "pattern: must be unstructured, row, N:M (N kept of M) or block:C, got '2:x'",
        ),
        (
            {"retrain": float("inf")},
            "sparsify: lr must be above 0, retrain at least 0, and both finite, got 0.02 and inf",
        ),
        (
            {"retrain": float("nan")},
            "sparsify: lr must be above 0, retrain at least 0, and both finite, got 0.02 and nan",
        ),
        ({"lr": 0.0}, "sparsify: lr must be above 0, retrain at least 0, and both finite, got 0 and 0"),
        ({"options": {"swaps": -1}}, "exact: swaps must be at least 0, got -1"),
        (
            {"options": {"swaps": 1, "pattern": "block:4"}},
            "swaps: can only exchange single weights, got pattern block:4",
        ),
        ({"options": {"solver": "column", "span": 0}}, "column: span must be at least 1, got 0"),
        (
            {"options": {"solver": "admm", "rho": 0.0}},
            "admm: rho must be above 0 and steps at least 1, got 0 and 300",
        ),
        (
            {"options": {"solver": "admm", "steps": 0}},
            "admm: rho must be above 0 and steps at least 1, got 0.1 and 0",
        ),
        ({"options": {"solver": "rounds", "count": 0}}, "rounds: count must be at least 1, got 0"),
        (
            {"options": {"solver": "lobs", "pattern": "block:4"}},
            "lobs: can only remove single weights, got pattern block:4",
        ),
        (
            {"at_init": "erk", "images": 9},
            "sparsify: images needs a method that looks at images (snip, iterative_snip, grasp), got at_init",
        ),
    ],
)
def test_mistakes_are_found_ahead_of_any_training(study: Any, how: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError) as caught:
        study(**how)
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize(
    "options",
    [
        {"swaps": 10**6},
        {"second": False, "memory": 1},
        {"solver": "column", "span": 10**6},
        {"solver": "admm", "rho": 1e9, "steps": 1},
        {"solver": "admm", "rho": 1e-9, "steps": 10**6},
        {"solver": "rounds", "count": 100},
        {"solver": "lobs", "inverse": torch.eye(64)},
    ],
)
def test_what_is_large_for_a_small_layer_is_not_refused(study: Any, options: dict[str, Any]) -> None:
    for pattern in (None, "row", "2:4"):
        study(options={**options, "pattern": pattern}, sparsity=None if pattern == "2:4" else 0.8)


@pytest.mark.parametrize("pattern", [None, "row", "1:4", "3:4", "block:1", "block:8"])
def test_no_solver_refuses_a_pattern_that_it_knows(study: Any, pattern: str | None) -> None:
    for solver in SOLVERS:
        if (solver, pattern) != ("lobs", "block:8"):
            study(options={"solver": solver, "pattern": pattern}, sparsity=None if ":4" in str(pattern) else 0.8)


@pytest.mark.parametrize(
    ("network", "options", "line"),
    [
        ("convnet:width=4,depth=2", {"pattern": "2:4"}, "pattern 2:4: inputs must be a multiple of 4, got 9 of stages"),
        ("convnet:width=4,depth=2", {"layers": ["nope"]}, "layer: unknown name 'nope'"),
        ("resnet10:width=4", {"weigh": "bound"}, "weigh bound: needs a chain of layers"),
        ("mlp:width=12", {"allocation": {"heads.weight": 0.5}}, "layer: unknown name 'heads.weight'; did you mean"),
        (
            "mlp:width=12",
            {"allocation": {"head.weight": 37}},
            "sparsify: zeros of head.weight must be in 0..36, got 37",
        ),
        (
            "mlp:width=12",
            {"allocation": {"head.weight": 40}, "prune_bias": True},
            "sparsify: zeros of head.weight must be in 0..39, got 40",
        ),
        ("mlp:width=12", {"allocation": {"head.weight": 1.5}}, "zeros: must be a count, or a share as a float in 0..1"),
        (
            "mlp:width=12",
            {"allocation": {"head.weight": 1}, "layers": ["head.weight", "stages.1.0.weight"]},
            "sparsify: allocation must name all layers that are pruned, got none for 'stages.1.0.weight'",
        ),
        ("convnet:width=4,depth=2", {"allocation": "uniform_plus"}, "uniform_plus: sparsity must be at most 0.79"),
        (
            "mlp:width=12",
            {"allocation": "erk", "layers": ["head.weight"]},
            "sparsify: allocation erk needs all layers, got only some",
        ),
    ],
)
def test_what_does_not_fit_the_network_is_found_ahead_of_its_training(
    study: Any, network: str, options: dict[str, Any], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yoco.sparsify.study.fit", None)
    told = "pattern" in options or isinstance(options.get("allocation"), dict)
    made = study(network=network, options=options, sparsity=None if told else 0.95)
    with pytest.raises(ValueError) as caught:
        made.run()
    assert str(caught.value).startswith(line)


def test_a_set_to_calibrate_on_is_for_methods_that_look_at_it(study: Any, tiny_set: CondensedSet) -> None:
    for method in ("uniform", "magnitude", "synflow"):
        with pytest.raises(ValueError, match=rf"^sparsify: calibrate needs .*, got at_init {method}$"):
            study(at_init=method, calibrate=tiny_set)
    assert study(at_init="snip", calibrate=tiny_set, images=9).calibrate is tiny_set


class Own(Network):
    """A layer that no image meets, and where asked one through which paths cannot be followed."""

    def __init__(self, channels: int, classes: int, size: tuple[int, int], soft: bool = False) -> None:
        super().__init__()
        first = nn.Linear(channels * size[0] * size[1], 4)
        self.stages = nn.ModuleList([nn.Sequential(nn.Flatten(), first, nn.Softmax(1) if soft else nn.ReLU())])
        self.idle, self.head = nn.Linear(3, 3), nn.Linear(4, classes)


OWN = f"{__name__}:Own"


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ({"options": {"layers": ["idle.weight"]}}, "sparsify: layers must be reached by images, got idle.weight"),
        ({"options": {"allocation": "erk"}}, "sparsify: allocation erk needs all layers, got idle.weight, which no"),
        ({"options": {"allocation": {"idle.weight": 1}}, "sparsity": None}, "layer: unknown name 'idle.weight'; "),
        (
            {"network": f"{OWN}:soft=true", "shrink": True},
            "shrink: paths: cannot follow softmax; it is not a layer, norm",
        ),
        (
            {"network": f"{OWN}:soft=true", "shrink": True, "at_init": "magnitude"},
            "shrink: paths: cannot follow softmax; it is not a layer, norm",
        ),
    ],
)
def test_what_an_image_does_not_meet_or_cannot_follow_is_found_ahead_of_any_training(
    study: Any, how: dict[str, Any], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yoco.sparsify.study.fit", None)
    made = study(**{"network": OWN, **how})
    with pytest.raises(ValueError) as caught:
        made.run()
    assert str(caught.value).startswith(line)


def test_a_layer_that_no_image_meets_need_not_fit_the_pattern(study: Any) -> None:
    made = study(network=OWN, options={"pattern": "2:4"}, sparsity=None)
    made.check(made.fresh())


def test_sets_of_other_classes_are_refused(study: Any, tiny: Splits, tiny_set: CondensedSet) -> None:
    named = Splits(*(replace(half, classes=("a", "b", "c")) for half in tiny))
    for data, classes, got in ((tiny, "345", "0 to 2, got 3 to 5"), (named, "xyz", "a to c, got x to z")):
        other = replace(tiny_set, classes=tuple(classes))
        for how in ({"calibrate": other}, {"retrain_on": other, "retrain": 1.0}):
            with pytest.raises(ValueError, match=rf"^sparsify: classes must be those of digits, {got}$"):
                study(data=data, **how)
    for classes in ("012", "xbz"):
        assert study(data=named, calibrate=replace(tiny_set, classes=tuple(classes))).calibrate is not None


def test_images_of_another_size_or_number_of_classes_are_refused(study: Any, tiny: Splits) -> None:
    large = replace(tiny.train, images=tiny.train.images.repeat(1, 1, 2, 2))
    for other, got in ((large, "[1, 16, 16] and 3 classes"), (load("digits").train, "[1, 8, 8] and 10 classes")):
        for how in ({"calibrate": other}, {"retrain_on": other, "retrain": 1.0}):
            with pytest.raises(ValueError) as caught:
                study(**how)
            rule = f"{next(iter(how))} must have images [1, 8, 8] and 3 classes as the data"
            assert str(caught.value) == f"sparsify: {rule}, got {got}"


def test_some_of_the_classes_will_do_where_no_label_is_read(study: Any, tiny: Splits) -> None:
    kept = tiny.train.take(torch.cat(tiny.train.by_class[1:]))
    two = replace(kept, labels=kept.labels - 1, classes=("1", "2"))
    for solver in ("lobs", "magnitude"):
        found = study(calibrate=two, epochs=1, images=60, options={"solver": solver}).run()
        assert found.pruned.masks.sparsity == pytest.approx(0.8, abs=0.01)
    rule = "must have images [1, 8, 8] and 3 classes as the data, got [1, 8, 8] and 2 classes"
    refused: list[tuple[dict[str, Any], str]] = [
        ({"retrain_on": two, "retrain": 1.0}, f"retrain_on {rule}"),
        ({"calibrate": two, "at_init": "snip"}, f"calibrate {rule}"),
        ({"calibrate": two, "options": {"weigh": "loss"}}, f"calibrate {rule}"),
        (
            {"calibrate": replace(two, images=two.images.repeat(1, 1, 2, 2))},
            "calibrate must have images [1, 8, 8] and 3 classes as the data, got [1, 16, 16] and 2 classes",
        ),
        ({"calibrate": replace(two, classes=("7", "8"))}, "classes must be those of digits, 0 to 2, got 7 to 8"),
    ]
    for how, line in refused:
        with pytest.raises(ValueError) as caught:
            study(**how)
        assert str(caught.value) == f"sparsify: {line}"


def test_a_training_that_diverges_is_said(study: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(network: nn.Module, *_: Any, **__: Any) -> None:
        torch.nn.init.constant_(next(network.parameters()), float("nan"))

    said = r"^sparsify: weights must be finite, got nan or infinity as the training diverged; lower lr$"
    monkeypatch.setattr("yoco.sparsify.study.sparsify", None)
    with pytest.raises(ValueError, match=said):
        study(lr=1e30).run()
    monkeypatch.setattr("yoco.sparsify.study.retrain", diverge)
    made = study(retrain=1.0)
    with pytest.raises(ValueError, match=said):
        made.mend(made.fresh())
