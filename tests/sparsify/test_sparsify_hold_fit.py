"""What zeros are held in: networks with hooks and shared weights of their own, and masks that do not fit them."""

import re
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from yoco.networks import build
from yoco.rng import Rng
from yoco.sparsify.certificate import certify
from yoco.sparsify.hold import held, install, remove
from yoco.sparsify.masks import Masks, prunable, weights
from yoco.sparsify.measure import measure
from yoco.sparsify.sparse import load, save
from yoco.sparsify.trial import twin


def network() -> nn.Module:
    return build("mlp:width=8", (1, 8, 8), 3, Rng(0))


def test_other_hooks_are_left_alone() -> None:
    sparse, calls = network(), []
    sparse.head.register_forward_pre_hook(lambda *_: calls.append(1))
    install(sparse, Masks({"head.weight": torch.eye(3, 8).bool()}))
    sparse(torch.ones(1, 1, 8, 8))
    remove(sparse)
    sparse(torch.ones(1, 1, 8, 8))
    assert calls == [1, 1]


def test_a_weight_that_two_layers_share_is_held_in_both() -> None:
    given = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 4, bias=False))
    given[2].weight = given[0].weight
    assert list(weights(given)) == ["0.weight"]
    mask = torch.eye(4).bool()
    install(given, Masks({"0.weight": mask}))
    given(torch.randn(3, 4)).sum().backward()
    assert not given[0].weight.grad[~mask].any()


class Reads(nn.Module):
    """Reads the weight of a layer without calling it, as attention does."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.linear(images, self.layer.weight, self.layer.bias)


def test_zeros_of_a_weight_that_is_read_without_its_layer_stay(tmp_path: Path) -> None:
    mask = torch.tensor([[1, 0, 1, 0]] * 3).bool()
    given = install(Reads(), Masks({"layer.weight": mask}))
    optimizer = torch.optim.SGD(given.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        given(torch.ones(2, 4)).square().sum().backward()
        optimizer.step()
    assert torch.equal(given.layer.weight != 0, mask)
    torch.save(given, tmp_path / "whole.pt")  # without a warning of hooks that are not written


class Masked(nn.Linear):
    """Has masks of its own, which its forward reads."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.register_buffer("weight_mask", (torch.arange(outputs * inputs) % 3 > 0).float().view(outputs, inputs))
        self.register_buffer("bias_mask", torch.tensor([1.0] * (outputs - 1) + [0.0]))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight * self.weight_mask, self.bias * self.bias_mask)


def test_masks_that_a_layer_has_of_its_own_are_left_alone(tmp_path: Path) -> None:
    given, images = nn.Sequential(nn.Flatten(), Masked(64, 3)), torch.ones(2, 1, 8, 8)
    masks = Masks({"1.weight": torch.arange(192).view(3, 64) % 2 > 0})
    own = [given[1].weight_mask, given[1].bias_mask]
    assert held(given) is None
    sparse = install(deepcopy(given), masks)
    assert held(sparse) == masks
    assert list(sparse.state_dict()) == list(given.state_dict())
    assert certify(given, sparse, [images]).moved > 0
    assert measure(sparse, (1, 8, 8)).total.kept == masks.kept
    assert torch.equal(twin(sparse)(images.double()), deepcopy(sparse).double()(images.double()))
    save(sparse, tmp_path / "sparse.safetensors", masks=masks)
    for layer in (sparse[1], remove(sparse)[1]):
        assert all(torch.equal(*pair) for pair in zip(own, [layer.weight_mask, layer.bias_mask], strict=True))
    assert torch.equal(load(tmp_path / "sparse.safetensors").state["1.weight_mask"], own[0])
    assert held(sparse) is None


def state(given: nn.Module) -> list[Tensor]:
    return [value.clone() for value in given.state_dict().values()]


@pytest.mark.parametrize(
    ("masks", "weight", "line"),
    [
        ({"x": (3, 8)}, {}, "masks: names must be of parameters of the network, got 'x'"),
        ({"head.weight": (3, 7)}, {}, "masks: head.weight must be [3, 8] as in the network, got [3, 7]"),
        ({"norm.weight": (3,)}, {}, "install: masks must be of Linear or Conv2d layers, got 'norm.weight'"),
        ({"head.weight": (3, 8)}, {"x": (3,)}, "install: weights must fit the network, got x [3]"),
        ({"head.weight": (3, 8)}, {"head.bias": (4,)}, "install: weights must fit the network, got head.bias [4]"),
    ],
)
def test_masks_and_weights_must_fit(
    masks: dict[str, tuple[int, ...]], weight: dict[str, tuple[int, ...]], line: str
) -> None:
    """A network that something does not fit is as it was."""
    given = network()
    given.norm = nn.LayerNorm(3)
    before = state(given)
    wrong = Masks(
        {"stages.0.1.weight": torch.zeros(8, 64).bool()} | {n: torch.ones(s).bool() for n, s in masks.items()}
    )
    values = {"stages.0.1.bias": torch.ones(8)} | {name: torch.zeros(shape) for name, shape in weight.items()}
    with pytest.raises(ValueError, match=rf"^{re.escape(line)}$"):
        install(given, wrong, values)
    assert held(given) is None
    assert all(torch.equal(*pair) for pair in zip(before, state(given), strict=True))


def test_held_zeros_are_the_networks_zeros() -> None:
    masks = {
        name: torch.arange(weight.numel()).view(weight.shape) % 3 > 0 for name, weight in weights(network()).items()
    }
    sparse = install(network(), Masks(masks))
    assert Masks.of(sparse) == held(sparse)
    assert tuple(held(sparse)) == prunable(sparse)
