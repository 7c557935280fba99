"""Dead channels taken out: the same answers of fewer weights, for chains, sums, cats and norms; what has to stay."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from yoco.networks import build
from yoco.rng import Rng
from yoco.sparsify.hold import held, install
from yoco.sparsify.masks import Masks
from yoco.sparsify.measure import measure
from yoco.sparsify.methods.random import random
from yoco.sparsify.paths import effective
from yoco.sparsify.shrink import resized, shrink

SHAPE = (1, 8, 8)
SHRINK = (
    "mlp:width=16",
    "lenet-5",
    "convnet:width=8",
    "convnet:width=8,norm=batch",
    "convnet:width=8,norm=none",
    "vgg11:width=4,norm=batch",
    "resnet20:width=4",
    "resnet_ap10:width=4",
    "densenet:blocks=2-2,growth=4",
)


def images(n: int = 5) -> Tensor:
    return torch.randn(n, *SHAPE, generator=Rng(5).generator())


def made(name: str) -> nn.Module:
    """A network whose batch norms have statistics and biases of their own, with few weights left."""
    network = build(name, SHAPE, 10, Rng(0)).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            with Rng(1).as_global():
                nn.init.normal_(module.running_mean)
                nn.init.normal_(module.bias)
    return install(network, random(network, sparsity=0.97, rng=Rng(0), layout="uniform"))


@pytest.mark.parametrize("name", SHRINK)
def test_fewer_channels_give_the_same_answers(name: str) -> None:
    network = made(name)
    before = [value.clone() for value in network.state_dict().values()]
    small = shrink(network, SHAPE)
    assert all(torch.equal(*pair) for pair in zip(before, network.state_dict().values(), strict=True))
    assert torch.allclose(small(images()), network(images()), rtol=1e-5, atol=1e-6)
    after, dense = measure(small, SHAPE).total, measure(network, SHAPE).total
    assert after.weights < 0.97 * dense.weights
    assert after.dense_flops < dense.dense_flops
    assert after.kept <= dense.kept
    assert effective(small, SHAPE).log_paths == pytest.approx(effective(network, SHAPE).log_paths)
    assert effective(small, SHAPE).weights == effective(network, SHAPE).weights
    again = shrink(small, SHAPE)
    assert [p.shape for p in again.parameters()] == [p.shape for p in small.parameters()]


@pytest.mark.parametrize("name", ["convnet:width=8", "resnet20:width=4"])
def test_masks_that_are_held_go_with_their_weights_and_hold_on(name: str) -> None:
    small = shrink(made(name), SHAPE)
    masks = held(small)
    assert masks is not None
    masks.check(small)
    optimizer = torch.optim.SGD(small.train().parameters(), lr=0.1)
    small(images()).square().sum().backward()
    optimizer.step()
    small.eval()(images())
    assert all(not small.get_parameter(layer)[~mask].any() for layer, mask in masks.items())


def test_a_bias_that_takes_a_constant_up_is_kept_from_then_on() -> None:
    network = chain(nn.Flatten(), nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    masks = {name: torch.ones_like(p, dtype=torch.bool) for name, p in network.named_parameters()}
    masks["1.weight"][0], masks["3.bias"][:3] = False, False
    with torch.no_grad():
        network[1].bias[0] = 1.0
        network[3].weight[1, 0] = 0.0
    install(network, Masks(masks))
    small = shrink(network, SHAPE)
    assert sizes(small) == [[5, 64], [5, 5], [2, 5]]
    assert torch.allclose(small(images()), network(images()), atol=1e-6)
    assert held(small)["3.bias"].tolist() == [True, False, True, True, True]
    assert small[3].bias.detach().ne(0).tolist() == [True, False, True, True, True]


def test_networks_without_zeros_stay_as_they_are() -> None:
    network = build("lenet", SHAPE, 3, Rng(0))
    small = shrink(network, SHAPE)
    assert small is not network
    assert all(torch.equal(*pair) for pair in zip(small.parameters(), network.parameters(), strict=True))
    assert held(small) is None


def chain(*modules: nn.Module) -> nn.Sequential:
    return nn.Sequential(*modules).eval()


def zero(weight: Tensor, *places: Any) -> None:
    with torch.no_grad():
        for place in places:
            weight[place] = 0


def sizes(network: nn.Module) -> list[list[int]]:
    return [list(m.weight.shape) for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d)]


def test_a_channel_that_nobody_reads_takes_those_that_only_it_reads_along() -> None:
    network = chain(nn.Flatten(), nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    zero(network[5].weight, (slice(None), 3))
    zero(network[3].weight, ([0, 1, 2, 4], 1))
    small = shrink(network, SHAPE)
    assert sizes(small) == [[5, 64], [4, 5], [2, 4]]
    assert (small[3].in_features, small[3].out_features) == (5, 4)


def test_constants_move_into_biases_where_nothing_is_lost() -> None:
    def network(padding: int, bias: bool, mode: str = "zeros") -> nn.Sequential:
        second = nn.Conv2d(4, 3, 3, padding=padding, bias=bias, padding_mode=mode)
        made = chain(nn.Conv2d(1, 4, 3), nn.Tanh(), second, nn.Flatten(), nn.LazyLinear(2))
        made(images())
        zero(made[0].weight, 1)
        return made

    for given, width in ((network(0, True), 3), (network(1, True, "circular"), 3), (network(1, True), 4)):
        small = shrink(given, SHAPE)
        assert len(small[0].weight) == width
        assert torch.allclose(small(images()), given(images()), atol=1e-6)
    assert len(shrink(network(0, False), SHAPE)[0].weight) == 4
    silent = network(1, False)
    zero(silent[0].bias, 1)
    assert len(shrink(silent, SHAPE)[0].weight) == 3


def test_a_layer_keeps_a_channel_even_if_all_are_dead() -> None:
    network = chain(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.Flatten(), nn.Linear(48, 2))
    zero(network[4].weight, slice(None))
    small = shrink(network, SHAPE)
    assert sizes(small) == [[4, 1, 3, 3], [1, 4, 3, 3], [2, 16]]
    assert torch.equal(small(images()), network(images()))


class Sum(nn.Module):
    """Two branches that are added."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Conv2d(1, 4, 1), nn.Conv2d(1, 4, 1), nn.Linear(256, 2)

    def forward(self, images: Tensor) -> Any:
        return self.head((self.one(images) + self.two(images)).flatten(1))


def test_what_is_added_leaves_together_or_stays() -> None:
    network = Sum().eval()
    zero(network.one.weight, 2, 3)
    zero(network.two.weight, 1, 3)
    small = shrink(network, SHAPE)
    assert sizes(small) == [[3, 1, 1, 1], [3, 1, 1, 1], [2, 192]]
    assert torch.allclose(small(images()), network(images()), atol=1e-6)


@pytest.mark.parametrize(
    "between",
    [
        nn.GroupNorm(2, 4),
        nn.GroupNorm(4, 4, affine=False),
        nn.InstanceNorm2d(4),
        nn.LayerNorm([4, 6, 6]),
        nn.Conv2d(4, 4, 3, groups=2),
        nn.PReLU(4),
    ],
    ids=str,
)
def test_channels_that_depend_on_one_another_stay(between: nn.Module) -> None:
    network = chain(nn.Conv2d(1, 4, 3), between, nn.Flatten(), nn.LazyLinear(2))
    network(images())
    zero(network[0].weight, 1)
    zero(network[3].weight, slice(None))
    assert len(shrink(network, SHAPE)[0].weight) == 4


class Fixed(nn.Module):
    """It says how many channels it has."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.head = nn.Conv2d(1, 4, 1), nn.Linear(256, 2)

    def forward(self, images: Tensor) -> Any:
        return self.head((self.one(images) + torch.ones(4, 1, 1)).flatten(1))


def test_a_forward_that_needs_its_channels_is_one_line() -> None:
    network = Fixed().eval()
    zero(network.head.weight, (slice(None), slice(0, 64)))
    line = r"^shrink: the network must work .*fewer channels, got: The size of tensor a \(3\) must match [^\n]*$"
    with pytest.raises(ValueError, match=line):
        shrink(network, SHAPE)


def test_what_cannot_be_followed_is_one_line() -> None:
    network = chain(nn.Flatten(), nn.Linear(64, 4), nn.Softmax(1), nn.Linear(4, 2))
    with pytest.raises(ValueError, match=r"^shrink: paths: cannot follow softmax; "):
        shrink(network, SHAPE)


def test_a_fresh_network_takes_the_shapes_of_a_state() -> None:
    for name in ("resnet20:width=4", "convnet:width=8"):
        small = shrink(made(name), SHAPE)
        other = resized(build(name, SHAPE, 10, Rng(3)), small.state_dict()).eval()
        other.load_state_dict(small.state_dict())
        assert torch.equal(other(images()), small(images()))
        assert str(other) == str(small)
        assert Masks.of(other) == Masks.of(small)


def test_a_network_that_casts_is_one_line() -> None:
    class Casts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, images: Tensor) -> Tensor:
            return self.layer(images.float().flatten(1))

    with pytest.raises(ValueError, match=r"^shrink: the network must work in float64 and with fewer channels, got: "):
        shrink(Casts(), (1, 2, 2))


def test_layers_that_are_called_by_keyword_are_followed() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(4, 3), nn.Linear(3, 2)

        def forward(self, images: Tensor) -> Tensor:
            return self.last(input=self.first(input=images.flatten(1)).relu())

    network = Named()
    zero(network.last.weight, (slice(None), slice(0, 1)))
    assert shrink(network, (1, 2, 2)).first.out_features == 2
