"""Every row of METHODS through one list."""

import inspect
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn

from yoco.data.source import Batch, Source, Splits
from yoco.networks import build
from yoco.registry import resolve
from yoco.rng import Rng
from yoco.sparsify.hold import install, remove
from yoco.sparsify.masks import Masks, budget, prunable
from yoco.sparsify.methods import LOOKING, METHODS
from yoco.train import Normalise

NETWORKS = (
    "convnet:width=8,depth=2",
    "convnet:width=8,depth=2,norm=batch",
    "lenet",
    "mlp:width=16",
    "resnet20:width=4",
    "densenet:blocks=2-2,growth=4",
)
FEWER = {"synflow": {"iterations": 10}, "iterative_snip": {"iterations": 5}, "dpai": {"steps": 10}}
"""Options that make a method fast."""


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> Callable[..., Masks]:
    found, options = resolve("method", METHODS, request.param), FEWER.get(request.param, {})

    def call(network: nn.Module, **given: Any) -> Masks:
        masks: Masks = found(network, **options, **given)
        return masks

    return call


def given(source: Source, seed: int = 1) -> dict[str, Any]:
    indices = torch.cat([members[:10] for members in source.by_class])[Rng(0).choice(30, 30)]
    return {"rng": Rng(seed), "data": source.batch(indices), "normalise": Normalise(source.mean, source.std)}


@pytest.mark.parametrize("name", NETWORKS)
def test_sparsity_is_exact_and_no_layer_runs_empty(
    method: Callable[..., Masks], tiny: Splits, name: str, request: pytest.FixtureRequest
) -> None:
    most = 0.7 if request.node.callspec.params["method"] == "uniform_plus" else 1.0  # a fifth of the last layer stays
    network = build(name, tiny.train.shape, 3, Rng(0))
    total = sum(network.get_parameter(parameter).numel() for parameter in prunable(network))
    for sparsity in (0.3, 0.77) if name != "mlp:width=16" else (0.0, 0.5, min(0.9999, most)):
        masks = method(network, sparsity=sparsity, **given(tiny.train))
        masks.check(network)
        assert tuple(masks) == prunable(network)
        assert masks.kept == budget(total, sparsity)
        if sparsity <= 0.5:
            assert all(count.kept for count in masks.by_layer().values())


def state(network: nn.Module) -> dict[str, Any]:
    """All that a method may not change."""
    return {
        "values": {name: value.clone() for name, value in network.state_dict().items()},
        "modes": [module.training for module in network.modules()],
        "grads": {name: parameter.grad for name, parameter in network.named_parameters()},
        "wanted": {name: parameter.requires_grad for name, parameter in network.named_parameters()},
        "hooks": [len(module._forward_hooks) for module in network.modules()],
        "global": torch.random.get_rng_state(),
        "autocast": network.autocast,
    }


@pytest.mark.parametrize("training", [True, False])
def test_the_network_and_the_global_generator_stay_as_they_were(
    method: Callable[..., Masks], tiny: Splits, training: bool
) -> None:
    network = build("convnet:width=8,depth=2,norm=batch", tiny.train.shape, 3, Rng(0)).train(training)
    network.autocast = torch.bfloat16
    network.head.weight.requires_grad_(False)
    network.stages[0][0].weight.grad = torch.ones_like(network.stages[0][0].weight)
    network.stages[1].train(not training)
    asked = given(tiny.train)
    images, before = asked["data"].images.clone(), state(network)
    with torch.no_grad():
        method(network, sparsity=0.8, **asked)
    after = state(network)
    assert all(torch.equal(after["values"][name], value) for name, value in before["values"].items())
    assert torch.equal(after["global"], before["global"])
    assert all(after[key] == before[key] for key in ("modes", "wanted", "hooks", "autocast"))
    assert all(after["grads"][name] is grad for name, grad in before["grads"].items())
    assert after["grads"]["stages.0.0.weight"].eq(1).all()
    assert torch.equal(asked["data"].images, images)
    assert torch.backends.cudnn.enabled


def test_the_same_stream_gives_the_same_masks(method: Callable[..., Masks], tiny: Splits) -> None:
    network = build("convnet:width=8,depth=2", tiny.train.shape, 3, Rng(0))
    one = method(network, sparsity=0.8, **given(tiny.train))
    with Rng(77).as_global():
        assert method(network, sparsity=0.8, **given(tiny.train)) == one
    grads = [torch.is_grad_enabled(), torch.is_inference_mode_enabled()]
    assert grads == [True, False]


def test_chance_has_a_part_in_some_methods_alone(tiny: Splits) -> None:
    network, random = build("convnet:width=8,depth=2", tiny.train.shape, 3, Rng(0)), set()
    for name, options in {name: FEWER.get(name, {}) for name in METHODS}.items():
        call = resolve("method", METHODS, name)
        one, two = (call(network, sparsity=0.8, **given(tiny.train, seed), **options) for seed in (1, 2))
        random |= {name} if one != two else set()
    assert random == {"random", "uniform", "uniform_plus", "erk", "phew", "npb", "dpai"}


def test_images_have_a_part_in_some_methods_alone(tiny: Splits) -> None:
    network, looking = build("convnet:width=8,depth=2", tiny.train.shape, 3, Rng(0)), set()
    asked = given(tiny.train)
    other = {**asked, "data": Batch(1 - asked["data"].images, asked["data"].labels.flip(0))}
    for name, options in {name: FEWER.get(name, {}) for name in METHODS}.items():
        one, two = (resolve("method", METHODS, name)(network, sparsity=0.8, **how, **options) for how in (asked, other))
        looking |= {name} if one != two else set()
    assert looking == set(LOOKING)


def test_networks_in_double_and_images_in_double_are_welcome(method: Callable[..., Masks], tiny: Splits) -> None:
    network = build("convnet:width=8,depth=2", tiny.train.shape, 3, Rng(0))
    asked = given(tiny.train)
    single = method(network, sparsity=0.8, **asked)
    asked["data"] = Batch(asked["data"].images.double(), asked["data"].labels)
    assert method(network.double(), sparsity=0.8, **asked) == single


@pytest.mark.parametrize("sparsity", [1.0, -0.5, float("nan")])
def test_a_sparsity_that_cannot_be_is_refused(method: Callable[..., Masks], tiny: Splits, sparsity: float) -> None:
    network = build("mlp:width=4", tiny.train.shape, 3, Rng(0))
    with pytest.raises(ValueError, match=r"^sparsity: must be at least 0 and below 1, got "):
        method(network, sparsity=sparsity, **given(tiny.train))


def test_a_network_without_layers_is_refused(method: Callable[..., Masks], tiny: Splits) -> None:
    with pytest.raises(ValueError, match=r"^prunable: the network must have Linear or Conv2d layers, got BatchNorm2d$"):
        method(nn.BatchNorm2d(1), sparsity=0.5, **given(tiny.train))


def test_rows_of_one_function_differ_in_their_defaults(tiny: Splits) -> None:
    network, asked = build("convnet:width=8,depth=2", tiny.train.shape, 3, Rng(0)), given(tiny.train)
    for layout in ("uniform", "uniform_plus", "erk"):
        masks = resolve("method", METHODS, layout)(network, sparsity=0.7, **asked)
        assert masks == resolve("method", METHODS, "random")(network, sparsity=0.7, layout=layout, **asked)
    one, hundred = (
        resolve("method", METHODS, name)(network, sparsity=0.9, **asked) for name in ("snip", "iterative_snip")
    )
    assert hundred == resolve("method", METHODS, "snip")(network, sparsity=0.9, iterations=100, **asked) != one


PAPERS: dict[str, dict[str, Any]] = {
    "snip": {"iterations": 1, "redraw": False},
    "iterative_snip": {"iterations": 100, "redraw": False},
    "grasp": {"temperature": 200, "parts": 2},
    "synflow": {"iterations": 100},
    "npb": {"alpha": 0.01, "beta": 1.0, "cap": None, "mode": "paper", "positions": "random", "layout": "erk"},
    "dpai": {"alpha": 0.99, "beta": 0.5, "lr": 0.1, "steps": 500, "layout": "erk"},
}


@pytest.mark.parametrize("name", PAPERS)
def test_defaults_are_those_of_the_papers(name: str) -> None:
    parameters = inspect.signature(resolve("method", METHODS, name)).parameters
    assert {option: parameters[option].default for option in PAPERS[name]} == PAPERS[name]
    assert set(list(parameters)[5:]) - {"shape"} == set(PAPERS[name])


@pytest.mark.parametrize("name", METHODS)
def test_all_methods_are_called_alike(name: str) -> None:
    parameters = inspect.signature(resolve("method", METHODS, name)).parameters
    assert list(parameters)[:5] == ["network", "sparsity", "rng", "data", "normalise"]
    assert all(parameters[key].kind is inspect.Parameter.KEYWORD_ONLY for key in list(parameters)[1:])
    assert all(parameter.default is not inspect.Parameter.empty for parameter in list(parameters.values())[3:])


def test_zeros_that_a_network_holds_are_weights_as_others(method: Callable[..., Masks], tiny: Splits) -> None:
    holding = build("convnet:width=8,depth=2", tiny.train.shape, 3, Rng(0))
    install(holding, resolve("method", METHODS, "random")(holding, sparsity=0.5, rng=Rng(3)))
    free = remove(deepcopy(holding))
    assert method(holding, sparsity=0.7, **given(tiny.train)) == method(free, sparsity=0.7, **given(tiny.train))
