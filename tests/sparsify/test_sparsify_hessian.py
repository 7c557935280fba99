"""Second moments of batches of any kind; the network that was watched is as it was."""

import weakref
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from yoco.data.source import Splits
from yoco.networks import build
from yoco.rng import Rng
from yoco.sparsify.hessian import moments, moments_after, squared
from yoco.sparsify.network import layers, run


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=Rng(seed).generator(), dtype=torch.float64)


def test_batches_of_any_size_give_the_same_sums(tiny: Splits) -> None:
    network = build("lenet", (1, 8, 8), 3, Rng(0)).double()
    x = tiny.train.batch(torch.arange(30)).images.double()
    whole = moments(network, [x])
    assert list(whole) == [f"stages.{k}.{0 if k != 2 else 1}.weight" for k in range(4)] + ["head.weight"]
    for size in (1, 7, 29):
        for name, found in moments(network, x.split(size)).items():
            assert (found.n, found.images) == (whole[name].n, 30)
            torch.testing.assert_close(found.dense, whole[name].dense, rtol=1e-12, atol=1e-12)


def test_large_products_are_mirrored_and_small_ones_as_they_were() -> None:
    for d in (511, 512, 700):
        rows = images(2, 40, d)
        found = squared(rows)
        torch.testing.assert_close(found, rows.mT @ rows, rtol=1e-13, atol=1e-13)
        assert d > 511 or torch.equal(found, rows.mT @ rows)


@pytest.mark.parametrize("images_at_once", [1, 2, 3])
def test_patches_are_made_of_some_images_at_a_time(images_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x, counts = nn.Conv2d(4, 4, 3, 2).double(), images(8, 4, 6, 5), list[int]()
    network = nn.Sequential(layer, nn.Flatten(), nn.Linear(16, 2).double())
    whole, after = moments(network, x.split(5)), moments_after(network, network, x.split(5), "0.weight")
    plain = import_module("yoco.sparsify.hessian").patches

    def noted(layer: Any, given: Tensor) -> Tensor:
        counts.append(len(given))
        return plain(layer, given)

    monkeypatch.setattr("yoco.sparsify.network.ROOM", 8 * 120 * 9 * images_at_once + 7)
    monkeypatch.setattr("yoco.sparsify.hessian.patches", noted)
    found, again = moments(network, x.split(5)), moments_after(network, network, x.split(5), "0.weight")
    assert max(counts) == 5
    assert counts.count(images_at_once) >= 4
    for one, other in ((whole["0.weight"], found["0.weight"]), (after, again)):
        torch.testing.assert_close(one.dense, other.dense, rtol=1e-13, atol=1e-13)
        assert (one.n, one.images) == (other.n, other.images)


def test_batches_are_streamed() -> None:
    alive: list[weakref.ref[Tensor]] = []

    def batches() -> Iterator[Tensor]:
        for number in range(4):
            assert all(batch() is None for batch in alive[:-1])
            batch = images(2, 4, seed=number)
            alive.append(weakref.ref(batch))
            yield batch
            del batch

    assert moments(nn.Linear(4, 2).double(), batches())["weight"].images == 8


def test_sums_are_begun_once(tiny: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    module, begun = import_module("yoco.sparsify.hessian"), []
    plain = module.empty
    monkeypatch.setattr(module, "empty", lambda layer, *how: (begun.append(layer), plain(layer, *how))[1])
    network = build("mlp:width=4", tiny.train.shape, len(tiny.train.classes), Rng(0))
    moments(network, tiny.train.batch(torch.arange(30)).images.split(10))
    assert len(begun) == len(layers(network))


def test_sums_of_float32_images_are_float64() -> None:
    layer, x = nn.Linear(3, 2), images(1000, 3).float() + 1e4
    found = moments(layer, x.split(10))["weight"].dense[0, :3, :3]
    torch.testing.assert_close(found, x.double().T @ x.double(), rtol=1e-13, atol=0)


class Odd(nn.Module):
    """A layer that runs twice, one that shares its weight, and one that never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.twin, self.never = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.twin.weight = self.twice.weight

    def forward(self, x: Tensor) -> Any:
        return self.twin(self.twice(self.twice(x).relu()))


def test_a_layer_that_runs_twice_has_twice_the_inputs() -> None:
    with Rng(0).as_global():
        network = Odd().double()
    x = images(6, 4)
    assert list(layers(network)) == ["twice.weight", "never.weight"]
    assert layers(network)["twice.weight"] is network.twice
    found = moments(network, x.split(4))
    assert list(found) == ["twice.weight"]
    rows = torch.cat([x, network.twice(x).relu()])
    rows = torch.cat([rows, torch.ones(12, 1)], 1)
    torch.testing.assert_close(found["twice.weight"].dense[0], rows.T @ rows, rtol=1e-12, atol=1e-12)
    assert (found["twice.weight"].n, found["twice.weight"].images, found["twice.weight"].positions) == (12, 6, 2)


class Named(nn.Module):
    """Calls its layer by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2, bias=False).double()

    def forward(self, x: Tensor) -> Any:
        return self.layer(input=x)


def test_a_layer_may_be_called_by_keyword() -> None:
    x = images(6, 4)
    torch.testing.assert_close(moments(Named(), [x])["layer.weight"].dense[0], x.T @ x)


class Adding(nn.Module):
    """Changes what has entered its layer, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4, bias=False).double()

    def forward(self, x: Tensor) -> Any:
        sum_ = x.clone()
        sum_ += self.layer(sum_)
        return sum_


def test_what_has_entered_a_layer_may_change_afterwards() -> None:
    x = images(6, 4)
    torch.testing.assert_close(moments(Adding(), [x])["layer.weight"].dense[0], x.T @ x)


def test_only_the_layers_that_are_named(tiny: Splits) -> None:
    network, x = build("mlp:width=8", (1, 8, 8), 3, Rng(0)), tiny.train.batch(torch.arange(9)).images
    assert list(moments(network, [x], ["head.weight"])) == ["head.weight"]


@pytest.mark.parametrize("batches", [[], [torch.zeros(0, 4)]])
def test_there_must_be_images(batches: list[Tensor]) -> None:
    with pytest.raises(ValueError, match=r"^hessian: needs images that reach the layers, got none$"):
        moments(nn.Linear(4, 2), batches)


def test_there_must_be_layers() -> None:
    with pytest.raises(ValueError, match=r"^prunable: the network must have Linear or Conv2d layers, got ReLU$"):
        layers(nn.ReLU())


def state(network: nn.Module) -> tuple[list[Tensor], list[bool], list[int]]:
    """Values, modes and numbers of hooks."""
    modules = list(network.modules())
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules]
    return [value.clone() for value in network.state_dict().values()], [m.training for m in modules], hooks


@pytest.mark.parametrize("size", [8, 9])
def test_the_network_is_as_it_was_also_after_an_error(size: int) -> None:
    network = build("convnet:width=4,depth=2,norm=batch", (1, 8, 8), 3, Rng(0)).train()
    network.stages[1].eval()
    values, modes, hooks = state(network)
    batches = [torch.rand(2, 1, 8, 8), torch.rand(2, 1, size + 8, size)][: 1 + (size == 9)]
    if size == 9:
        with pytest.raises(RuntimeError):
            moments(network, batches)
        with pytest.raises(RuntimeError):
            moments_after(network, network, [torch.rand(2, 2, 8, 8)], "head.weight")
    else:
        moments(network, batches)
        moments_after(network, network, batches, "stages.1.0.weight")
        run(network, batches[0])
    after = state(network)
    assert all(torch.equal(*pair) for pair in zip(values, after[0], strict=True))
    assert (modes, hooks) == after[1:]
    assert all(parameter.grad is None for parameter in network.parameters())


def test_the_inputs_are_those_of_evaluation_mode() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.9), nn.Linear(4, 2)).double().train()
    x = images(5, 4)
    rows = torch.cat([network[0](x), torch.ones(5, 1)], 1).detach()
    found = moments(network, [x])["2.weight"].dense[0]
    torch.testing.assert_close(found, rows.T @ rows, rtol=1e-13, atol=1e-13)


def test_networks_that_compute_in_bfloat16(tiny: Splits) -> None:
    network = build("convnet:width=4,depth=2,norm=batch", (1, 8, 8), 3, Rng(0))
    x = tiny.train.batch(torch.arange(10)).images
    plain, caught = moments(network, [x]), []
    network.autocast = torch.bfloat16
    handle = network.head.register_forward_pre_hook(lambda _, given: caught.append(given[0].detach()))
    found = moments(network, [x])
    handle.remove()
    assert caught[0].dtype == torch.bfloat16
    rows = torch.cat([caught[0].double(), torch.ones(10, 1)], 1)
    torch.testing.assert_close(found["head.weight"].dense[0], rows.T @ rows, rtol=1e-12, atol=1e-12)
    for name in plain:
        gap = (found[name].dense - plain[name].dense).norm() / plain[name].dense.norm()
        assert found[name].dense.dtype == torch.float64
        assert gap < 0.02
