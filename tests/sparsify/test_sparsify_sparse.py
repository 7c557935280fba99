"""Sparse files: back in every bit, small, damaged, of another kind; and networks made anew from them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from yoco.networks import build
from yoco.rng import Rng
from yoco.sparsify.hold import install
from yoco.sparsify.masks import Masks
from yoco.sparsify.methods.random import random
from yoco.sparsify.shrink import shrink
from yoco.sparsify.sparse import BITS, load, rebuild, save

SHAPE = (1, 8, 8)
NAMES = ("mlp:width=16", "convnet:width=8,norm=batch", "resnet20:width=4", "densenet:blocks=2-2,growth=4")


def made(name: str, sparsity: float = 0.9) -> tuple[nn.Module, Masks]:
    network = build(name, SHAPE, 10, Rng(0))
    masks = random(network, sparsity=sparsity, rng=Rng(1))
    return install(network, masks), masks


def about(name: str) -> dict[str, Any]:
    return {"network": name, "shape": list(SHAPE), "classes": 10}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_network_comes_back_in_every_bit(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    network, masks = made(name)
    network.to(dtype)
    save(network, tmp_path / "s.safetensors", masks=masks)
    found, state = load(tmp_path / "s.safetensors"), network.state_dict()
    assert set(found.state) == set(state)
    assert found.masks == masks
    for key, value in state.items():
        assert found.state[key].dtype == value.dtype
        assert torch.equal(found.state[key], value)
    network.load_state_dict(found.state)


def test_weights_that_are_kept_may_be_zero_or_anything(tmp_path: Path) -> None:
    network = nn.Linear(3, 2)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[0.0, -0.0, 1e-40], [torch.inf, torch.nan, 0.0]]))
    mask = torch.tensor([[True, True, True], [True, True, False]])
    save(network, tmp_path / "s", masks=Masks({"weight": mask}))
    found = load(tmp_path / "s")
    assert torch.equal(found.masks["weight"], mask)
    assert torch.equal(found.state["weight"].view(torch.int32), network.weight.detach().view(torch.int32))
    save(network, tmp_path / "s")
    assert load(tmp_path / "s").masks["weight"].tolist() == [[False, False, True], [True, True, False]]


def test_masks_of_biases_come_back(tmp_path: Path) -> None:
    network, masks = made("mlp:width=16")
    masks = Masks({**masks, "head.bias": torch.arange(10) % 3 > 0})
    with pytest.raises(ValueError, match=r"^save: weights outside of the mask must be 0, got others in head\.bias$"):
        save(network, tmp_path / "s", masks=masks)
    install(network, masks)
    save(network, tmp_path / "s", masks=masks, about=about("mlp:width=16"))
    assert load(tmp_path / "s").masks == masks
    assert all(torch.equal(value, load(tmp_path / "s").state[key]) for key, value in network.state_dict().items())
    assert torch.equal(rebuild(tmp_path / "s").head.bias, network.head.bias)


def test_the_file_is_small_and_says_how_small(tmp_path: Path) -> None:
    network, masks = made("mlp:width=256", 0.95)
    size = save(network, tmp_path / "s", masks=masks)
    assert size.dense == sum(p.numel() * 4 for p in network.parameters())
    assert size.file == (tmp_path / "s").stat().st_size
    assert size.file < size.dense * (0.05 + 1 / 32) + 10_000


def test_weights_outside_of_the_masks_are_refused(tmp_path: Path) -> None:
    network, masks = build("mlp:width=16", SHAPE, 10, Rng(0)), made("mlp:width=16")[1]
    with pytest.raises(ValueError, match=r"^save: weights outside of the mask must be 0, got others in stages\.0\.1"):
        save(network, tmp_path / "s", masks=masks)
    with pytest.raises(ValueError, match=r"^masks: names must be of parameters of the network, got 'x'$"):
        save(network, tmp_path / "s", masks=Masks({"x": torch.ones(1).bool()}))
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("name", NAMES)
def test_a_network_is_made_anew(name: str, tmp_path: Path) -> None:
    network, masks = made(name)
    images = torch.randn(3, *SHAPE, generator=Rng(2).generator())
    save(network, tmp_path / "s", masks=masks, about=about(name))
    again = rebuild(tmp_path / "s")
    assert not again.training
    assert torch.equal(again(images), network.eval()(images))
    small = shrink(network, SHAPE)
    save(small, tmp_path / "t", about={**about(name), "shrunk": True})
    assert torch.equal(rebuild(tmp_path / "t")(images), small(images))


def broken(state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Ways to lose a part of the file."""
    bits = "head.weight" + BITS
    return {
        "no bits": {key: value for key, value in state.items() if key != bits},
        "no values": {key: value for key, value in state.items() if key != "head.weight"},
        "bits": {**state, bits: state[bits][:-1].clone()},
        "values": {**state, "head.weight": state["head.weight"][:-1].clone()},
    }


@pytest.mark.parametrize("way", ["no bits", "no values", "bits", "values"])
def test_damage_is_one_line(way: str, tmp_path: Path) -> None:
    from safetensors import safe_open

    network, masks = made("mlp:width=16")
    save(network, tmp_path / "s", masks=masks)
    with safe_open(tmp_path / "s", "pt") as file:
        header = file.metadata()
    save_file(broken(load_file(tmp_path / "s"))[way], tmp_path / "d", metadata=header)
    with pytest.raises(ValueError, match=r"^load: .* is damaged, [^\n]*head\.weight[^\n]*$"):
        load(tmp_path / "d")


def test_what_is_no_sparse_file_is_one_line(tmp_path: Path) -> None:
    network, masks = made("mlp:width=16")
    masks.save(tmp_path / "masks")
    (tmp_path / "text").write_text("no tensors")
    for path in ("masks", "text"):
        with pytest.raises(ValueError, match=r"^[^\n]*$"):
            load(tmp_path / path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nothing")
    save(network, tmp_path / "s", masks=masks)
    with pytest.raises(ValueError, match=r"^rebuild: .* must say network, shape and classes, got no network$"):
        rebuild(tmp_path / "s")
    save(network, tmp_path / "s", masks=masks, about=about("mlp:width=8"))
    with pytest.raises(ValueError, match=r"^rebuild: .* must fit its network, got: size mismatch [^\n]*$"):
        rebuild(tmp_path / "s")
