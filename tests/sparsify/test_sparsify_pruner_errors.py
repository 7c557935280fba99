"""What a Pruner refuses, each mistake in one line."""

import re
from typing import Any

import pytest
from torch import Tensor, nn

from yoco.rng import Rng
from yoco.sparsify.calibration import Calibration
from yoco.sparsify.pruner import Pruner
from yoco.sparsify.solvers import SOLVERS

FIRST, SECOND, LAST = "0.weight", "2.weight", "5.weight"


class Idle(nn.Module):
    """A layer that never runs beside one that does."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.idle = nn.Linear(64, 3).double(), nn.Linear(3, 2).double()

    def forward(self, images: Tensor) -> Any:
        return self.used(images.flatten(1))


class Attending(nn.Module):
    """The last layer of its attention is read without being called."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(64, 3)
        self.double()

    def forward(self, images: Tensor) -> Any:
        found, _ = self.attention(images[:, 0], images[:, 0], images[:, 0])
        return self.head(found.flatten(1))


def test_a_layer_that_no_image_meets_is_named(data: Calibration) -> None:
    message = r"^sparsify: no image reaches 1 of 2 layers, such as {}; they stay dense, and sparsity ignores them$"
    for how, sparsity in ((Pruner(), 0.5), (Pruner(pattern="2:4"), None)):
        with pytest.warns(UserWarning, match=message.format(r"idle\.weight")) as caught:
            assert set(how(Idle(), data, sparsity=sparsity, rng=Rng(0)).masks) == {"used.weight"}
        assert len(caught) == 1
    with Rng(0).as_global():
        network = Attending()
    with pytest.warns(UserWarning, match=message.format(r"attention\.out_proj\.weight")):
        found = Pruner(solver="magnitude", allocation="global")(network, data, sparsity=0.5, rng=Rng(0))
    assert found.masks.by_layer() == {"head.weight": (96, 192)}
    for layout in ("uniform", "erk"):
        rule = rf"^sparsify: allocation {layout} needs all layers, got idle.weight, which no image reaches$"
        with pytest.raises(ValueError, match=rule):
            Pruner(allocation=layout)(Idle(), data, sparsity=0.5, rng=Rng(0))
    only = Pruner(layers=["used.weight"])(Idle(), data, sparsity=0.5, rng=Rng(0))
    assert set(only.masks) == {"used.weight"}
    with pytest.raises(ValueError, match=r"^sparsify: layers must be reached by images, got idle.weight$"):
        Pruner(layers=["used.weight", "idle.weight"])(Idle(), data, sparsity=0.5, rng=Rng(0))


class Tied(nn.Module):
    """Two layers with one weight, or one layer that runs twice."""

    def __init__(self, twice: bool) -> None:
        super().__init__()
        with Rng(0).as_global():
            self.first, self.second = nn.Linear(64, 64).double(), nn.Linear(64, 64).double()
        self.second.weight = self.first.weight
        if twice:
            self.second = self.first

    def forward(self, images: Tensor) -> Any:
        return self.second(self.first(images.flatten(1)).relu())


def test_a_weight_of_two_layers_is_told(data: Calibration) -> None:
    how = Pruner(solver="magnitude", allocation="global")
    line = r"^sparsify: first\.weight is the weight of 2 layers; it is solved for the inputs of the first one only$"
    with pytest.warns(UserWarning, match=line) as caught:
        assert set(how(Tied(twice=False), data, sparsity=0.5, rng=Rng(0)).masks) == {"first.weight"}
    assert len(caught) == 1
    assert set(how(Tied(twice=True), data, sparsity=0.5, rng=Rng(0)).masks) == {"first.weight"}


def test_a_sparsity_beside_a_pattern_may_be_rounded(data: Calibration) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 30, bias=False), nn.Linear(30, 900, bias=False)).double()
    only = Pruner(pattern="1:3", layers=["2.weight"], solver="magnitude")
    found = only(network, data, sparsity=0.667, rng=Rng(0))
    assert found.masks.kept == 30 * 900 // 3


@pytest.mark.parametrize(
    ("how", "line"),
    [
        (
            {"layers": ["6.weight"]},
            "layer: unknown name '6.weight'; did you mean '5.weight'? known: 0.weight, 2.weight, 5.weight",
        ),
        (
            {"solver": "exakt"},
            "solver: unknown name 'exakt'; did you mean 'exact'? known: " + ", ".join(sorted(SOLVERS)),
        ),
        ({"options": {"swap": 3}}, "solver exact: has options memory, second, swaps, got 'swap'"),
        ({"pattern": "3:4:5"}, "pattern: must be unstructured, row, N:M (N kept of M) or block:C, got '3:4:5'"),
        ({"pattern": "2:4"}, "pattern 2:4: inputs must be a multiple of 4, got 9 of 0.weight"),
        ({"ridge": -1.0}, "sparsify: ridge must be in 0..1, got -1"),
        ({"layers": []}, "sparsify: layers must name at least one, got none"),
        (
            {"allocation": "hul"},
            "allocation: unknown name 'hul'; did you mean 'hull'? "
            "known: erk, global, hull, programme, tolerance, uniform, uniform_plus",
        ),
        (
            {"allocation": 3},
            "allocation: unknown name '3'; known: erk, global, hull, programme, tolerance, uniform, uniform_plus",
        ),
        ({"weigh": 3}, "weigh: unknown name '3'; known: bound, error, loss, relative"),
        ({"cost": None}, "cost: unknown name 'None'; known: flops, weights"),
        ({"allocation": "erk", "layers": ["0.weight"]}, "sparsify: allocation erk needs all layers, got only some"),
        ({"allocation": "global", "pattern": "row"}, "allocation global: prunes only single weights, got pattern row"),
        (
            {"allocation": "global", "pattern": "block:2"},
            "allocation global: prunes only single weights, got pattern block:2",
        ),
        (
            {"prune_bias": True, "pattern": "block:4"},
            "sparsify: prune_bias cannot be used with patterns N:M and block:C, got block:4",
        ),
        ({"sparsity": None}, "sparsify: needs sparsity, got None"),
        (
            {"pattern": "2:4", "allocation": "tolerance", "tolerance": 0.0},
            "sparsify: pattern 2:4 fixes the number of zeros, got a tolerance as well",
        ),
        (
            {"pattern": "2:4", "allocation": {"nonsense": 3}},
            "sparsify: pattern 2:4 fixes the number of zeros, got zeros of each layer as well",
        ),
        (
            {"allocation": "global", "weigh": "loss"},
            "sparsify: weigh must be relative or error with allocation global, got loss",
        ),
        (
            {"cost": "flops", "prune_bias": True},
            "sparsify: cost flops does not count biases, got prune_bias",
        ),
        ({"pattern": "2:4", "sparsity": 0.9}, "sparsify: pattern 2:4 fixes the number of zeros, got sparsity 0.9"),
        (
            {"allocation": "erk", "prune_bias": True},
            "sparsify: prune_bias needs an allocation that counts biases, got erk",
        ),
        (
            {"pattern": "2:4", "allocation": "erk"},
            "sparsify: pattern 2:4 fixes the number of zeros, got allocation erk as well",
        ),
        (
            {"pattern": "2:4", "weigh": "error"},
            "sparsify: weigh error needs allocation hull or programme or tolerance or global, got pattern 2:4",
        ),
        (
            {"allocation": "erk", "weigh": "loss"},
            "sparsify: weigh loss needs allocation hull or programme or tolerance or global, got allocation erk",
        ),
        (
            {"allocation": {"0.weight": 3}, "weigh": "bound"},
            "sparsify: weigh bound needs allocation hull or programme or tolerance or global, got zeros of each layer",
        ),
    ],
)
def test_what_cannot_be_is_one_line(how: dict[str, Any], line: str, network: nn.Module, data: Calibration) -> None:
    asked = dict(how)
    sparsity = asked.pop("sparsity", 0.5)

    def pruned() -> None:
        Pruner(**asked)(network, data, sparsity=sparsity, rng=Rng(0))

    with pytest.raises(ValueError, match=rf"^{re.escape(line)}$"):
        pruned()


@pytest.mark.parametrize(
    ("how", "line"),
    [
        (
            {"pattern": "block:4", "options": {"swaps": 20}},
            "swaps: can only exchange single weights, got pattern block:4",
        ),
        ({"options": {"swaps": -1}}, "exact: swaps must be at least 0, got -1"),
        ({"solver": "none:at_all"}, "solver: 'none:at_all' cannot be imported (No module named 'none')"),
    ],
)
def test_what_a_solver_refuses_is_found_ahead_of_any_work(
    how: dict[str, Any], line: str, network: nn.Module, data: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    for work in ("moments", "curves"):
        monkeypatch.setattr(f"yoco.sparsify.pruner.{work}", None)
    with pytest.raises(ValueError, match=rf"^{re.escape(line)}$"):
        Pruner(**how)(network, data, sparsity=0.5, rng=Rng(0))


@pytest.mark.parametrize(
    ("wanted", "line"),
    [
        ({FIRST: 1, SECOND: 2}, "sparsify: allocation must name all layers that are pruned, got none for '5.weight'"),
        ({FIRST: 1}, "sparsify: allocation must name all layers that are pruned, got none for '2.weight'"),
        (
            {FIRST: 1, SECOND: 2, "5.weigth": 3},
            "layer: unknown name '5.weigth'; did you mean '5.weight'? known: 0.weight, 2.weight, 5.weight",
        ),
        ({FIRST: 37, SECOND: 2, LAST: 3}, "sparsify: zeros of 0.weight must be in 0..36, got 37"),
        ({FIRST: 1, SECOND: 49, LAST: 3}, "sparsify: zeros of 2.weight must be in 0..48, got 49"),
        ({FIRST: 1, SECOND: 2, LAST: -1}, "sparsify: zeros of 5.weight must be in 0..72, got -1"),
        ({FIRST: 1, SECOND: 2, LAST: 1.5}, "zeros: must be a count, or a share as a float in 0..1, got 1.5"),
    ],
)
def test_what_is_given_must_be_of_the_layers(
    wanted: dict[str, Any], line: str, network: nn.Module, data: Calibration
) -> None:
    with pytest.raises(ValueError, match=rf"^{re.escape(line)}$"):
        Pruner(allocation=wanted)(network, data, sparsity=None, rng=Rng(0))


def test_what_no_image_meets_is_known_by_the_names_of_the_others() -> None:
    met = ["used.weight"]
    Pruner(allocation={"used.weight": 9}).check_network(Idle(), None, met)
    Pruner(layers=met).check_network(Idle(), 0.5, met)
    for how, line in (
        ({"layers": ["idle.weight"]}, "sparsify: layers must be reached by images, got idle.weight"),
        ({"allocation": "erk"}, "sparsify: allocation erk needs all layers, got idle.weight, which no image reaches"),
        (
            {"allocation": {"used.weight": 1, "idle.weight": 1}},
            "layer: unknown name 'idle.weight'; did you mean 'used.weight'? known: used.weight",
        ),
    ):
        Pruner(**how).check_network(Idle(), 0.5, [*met, "idle.weight"])
        with pytest.raises(ValueError) as caught:
            Pruner(**how).check_network(Idle(), 0.5, met)
        assert str(caught.value) == line


def test_a_mapping_may_leave_out_what_no_image_meets(data: Calibration) -> None:
    found = Pruner(allocation={"used.weight": 9}, solver="obd")(Idle(), data, sparsity=None, rng=Rng(0)).masks
    assert found.total - found.kept == 9
    with pytest.raises(ValueError, match=r"^layer: unknown name 'idle.weight'; did you mean"):
        Pruner(allocation={"used.weight": 9, "idle.weight": 1})(Idle(), data, sparsity=None, rng=Rng(0))
