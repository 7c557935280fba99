"""Effective paths through a forward of one's own: what can be followed, and what cannot is said in one line."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yoco.sparsify.masks import Masks
from yoco.sparsify.paths import effective

SHAPE = (2, 4, 4)


def test_biases_names_and_training_mode_do_not_count() -> None:
    named = nn.Sequential()
    named.add_module("shortcut", nn.Conv2d(2, 2, 1))
    named.add_module("bn", nn.Conv2d(2, 2, 1))
    named.add_module("norm", nn.BatchNorm2d(2))
    named.add_module("drop", nn.Dropout())
    with torch.no_grad():
        named.bn.bias.fill_(7)
        named.norm.running_mean.fill_(9)
    found = effective(named.train(), SHAPE)
    assert found.log_paths == pytest.approx(math.log(2 * 16 * 2 * 2))
    assert found.nodes == 2 + 2 + 2
    assert named.training


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.idle = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.used(images.flatten(1))


def test_a_layer_that_does_not_run_has_no_effective_weights() -> None:
    found = effective(Unused(), (2, 1, 1))
    assert (found.weights, found.kept, found.total) == (4, 8, 8)
    assert not found.masks["idle.weight"].any()


class Custom(nn.Module):
    """A forward of our own around one convolution."""

    def __init__(self, forward: Callable[[nn.Module, Tensor], Any]) -> None:
        super().__init__()
        self.conv, self.rule = nn.Conv2d(2, 2, 1), forward

    def forward(self, maps: Tensor) -> Any:
        return self.rule(self.conv, maps)


@pytest.mark.parametrize(
    ("rule", "paths", "nodes"),
    [
        (lambda conv, x: conv(x)[:, :, ::2, ::2], 4 * 2 * 2, 4),
        (lambda conv, x: conv(x)[..., 1:, :], 12 * 2 * 2, 4),
        (lambda conv, x: conv(x)[:, :1], 16 * 2, 3),
        (lambda conv, x: conv(F.pad(x, (1, 1, 1, 1))), 16 * 2 * 2, 4),
        (lambda conv, x: F.pad(conv(x)[:, :, ::2, ::2], (0, 0, 0, 0, 1, 2)) * 3, 4 * 2 * 2, 4),
        (lambda conv, x: 2 + conv(x) + 0.5, 16 * 2 * 2, 4),
        (lambda conv, x: conv(conv(x)), 16 * 2 * 2 * 2, 6),
        (lambda conv, x: conv(x).mean((2, 3), keepdim=True).squeeze(3).squeeze(2), 16 * 2 * 2, 4),
        (lambda conv, x: x + conv(x), 16 * 2 + 16 * 2 * 2, 4),
        (lambda conv, x: x - conv(x), 16 * 2 + 16 * 2 * 2, 4),
        (lambda conv, x: conv((x - 0.5) / 0.2), 16 * 2 * 2, 4),
        (lambda conv, x: conv((x - torch.rand(2, 1, 1)) / torch.ones(2, 1, 1)), 16 * 2 * 2, 4),
        (lambda conv, x: conv(torch.rand(2, 1, 1) - x), 16 * 2 * 2, 4),
        (lambda conv, x: conv(1 - x), 16 * 2 * 2, 4),
        (lambda conv, x: conv(x.sub_(0.5).div_(0.2).mul_(3)), 16 * 2 * 2, 4),
        (lambda conv, x: conv(x).sub_(x), 16 * 2 + 16 * 2 * 2, 4),
        (lambda conv, x: x.clone().add_(conv(x)) + conv(x), 16 * 2 + 2 * 16 * 2 * 2, 4),
        (lambda conv, x: F.avg_pool2d(conv(x), 3, 2, ceil_mode=True), 2 * 2 * 25, 4),
        (lambda conv, x: conv(x).reshape(len(x), -1), 16 * 2 * 2, 34),
        (lambda conv, x: torch.reshape(conv(x), (1, -1)), 16 * 2 * 2, 34),
        (lambda conv, x: conv(x.reshape(shape=(1, 2, 4, 4))).view(1, 2, 16).unsqueeze(dim=2), 16 * 2 * 2, 4),
        (lambda conv, x: torch.flatten(conv(x), start_dim=1), 16 * 2 * 2, 34),
    ],
)
def test_what_a_forward_may_do(rule: Any, paths: int, nodes: int) -> None:
    found = effective(Custom(rule), SHAPE)
    assert found.log_paths == pytest.approx(math.log(paths), abs=1e-12)
    assert found.nodes == nodes


def reused(conv: nn.Module, maps: Tensor) -> Tensor:
    changed = conv(maps)
    changed.add_(maps)
    return changed


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        (lambda conv, x: conv(x) * conv(x), "cannot follow a product of two maps"),
        (lambda conv, x: conv(x) + torch.ones(4).add_(x), "cannot follow a constant that is changed in place"),
        (lambda conv, x: conv(x) + torch.ones(1, 2, 4, 4).mul_(x), "cannot follow a constant that is changed in place"),
        (
            lambda conv, x: conv(x).softmax(1),
            "cannot follow softmax; it is not a layer, norm, activation, pool, sum or cat",
        ),
        (lambda conv, x: conv(x).transpose(1, 2), "cannot follow transpose"),
        (lambda conv, x: conv(x) + conv(x).mT, "cannot follow mT; it is not a layer, norm"),
        (
            lambda conv, x: conv(x).flatten(1) + x.flatten(1).T.reshape(1, 32),
            "cannot follow T; it is not a layer, norm",
        ),
        (lambda conv, x: conv(x) + conv(x).data, "cannot follow data; it is not a layer, norm"),
        (lambda conv, x: torch.cat([conv(x), x], 2), "can follow cat of maps along dimension 1 only"),
        (lambda conv, x: conv(x).mean(1), "can follow means over positions only"),
        (lambda conv, x: conv(x)[:, 0], "can follow slices of channels and positions only"),
        (lambda conv, x: conv(x) + x[:, :1], r"cannot add maps of \[1, 2, 4, 4\] and \[1, 1, 4, 4\]"),
        (lambda conv, x: conv(x).view(1, 4, 8), r"cannot follow view of \[1, 2, 4, 4\] to \[1, 4, 8\]"),
        (lambda conv, x: F.linear(x, conv.weight[:, 0, 0]), "a linear layer must get .* got 4 dimensions"),
        (lambda conv, x: F.conv2d(x, conv.weight * 2), "a layer whose weight is not a parameter of the network"),
        (
            lambda conv, x: F.max_pool2d(conv(x), 2, dilation=2),
            "cannot follow max_pool2d with a dilation or with indices",
        ),
        (lambda conv, x: (conv(x), x), "the network must return one tensor, got tuple"),
        (reused, "cannot follow a tensor that was added to in place and is used again"),
    ],
)
def test_what_cannot_be_followed_is_said_in_one_line(rule: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=rf"^paths: .*{complaint}[^\n]*$"):
        effective(Custom(rule), SHAPE)


class Shared(nn.Module):
    """A grouped convolution beside a plain one."""

    def __init__(self) -> None:
        super().__init__()
        self.grouped, self.plain = nn.Conv2d(2, 2, 1, groups=2), nn.Conv2d(2, 1, 1)

    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat([self.grouped(maps), self.plain(maps)], 1)


def test_a_channel_that_two_layers_use_is_one_node() -> None:
    first = Masks({"grouped.weight": torch.tensor([True, False]).reshape(2, 1, 1, 1)})
    plain = torch.tensor([True, False]).reshape(1, 2, 1, 1)
    assert effective(Shared(), SHAPE, first & Masks({"plain.weight": plain})).nodes == 1 + 2
    assert effective(Shared(), SHAPE, first & Masks({"plain.weight": ~plain})).nodes == 2 + 2
