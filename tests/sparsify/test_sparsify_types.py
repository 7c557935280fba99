"""Networks that are not in float32 get images of their own type."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import yoco
from yoco.data.source import Splits
from yoco.networks import build
from yoco.rng import Rng
from yoco.sparsify import reestimate, retrain
from yoco.sparsify.calibration import calibration
from yoco.sparsify.curves import loss
from yoco.sparsify.network import run
from yoco.train import Normalise

NAME = "convnet:width=4,depth=2,norm=batch"
TYPES = [torch.float64, torch.bfloat16, torch.float16]
EXACT = {"solver": "exact", "sequential": True, "weigh": "loss", "second": False}
"""Without a second choice, which is made in float64 whatever the network is in."""


def network(dtype: torch.dtype = torch.float32) -> nn.Module:
    return build(NAME, (1, 8, 8), 3, Rng(0)).to(dtype)


@pytest.mark.parametrize("how", [{"at_init": "snip"}, {"solver": "obd", "allocation": "uniform"}])
def test_double_networks_are_pruned_as_single_ones(how: dict[str, Any], tiny: Splits) -> None:
    one, two = (yoco.sparsify(network(kind), tiny.train, sparsity=0.6, **how) for kind in (torch.float32, TYPES[0]))
    assert one.masks == two.masks
    assert all(weight.dtype == torch.float64 for weight in two.weights.values())


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("how", [{"at_init": "snip"}, EXACT])
def test_networks_of_every_type_are_pruned(dtype: torch.dtype, how: dict[str, Any], tiny: Splits) -> None:
    given = network(dtype)
    found = yoco.sparsify(given, tiny.train, sparsity=0.6, images=30, **how)
    sparse = found.install(given)
    assert all(parameter.dtype == dtype for parameter in sparse.parameters())
    assert found.masks.sparsity == pytest.approx(0.6, abs=0.01)


@pytest.mark.parametrize("dtype", TYPES)
def test_they_see_images_of_their_type_when_they_are_mended(dtype: torch.dtype, tiny: Splits) -> None:
    given, normalise = network(dtype), Normalise(tiny.train.mean, tiny.train.std)
    yoco.sparsify(given, tiny.train, sparsity=0.6, at_init="magnitude").install(given)
    seen = set()
    given.stages[0][0].register_forward_pre_hook(lambda _, inputs: seen.add(inputs[0].dtype))
    reestimate(given, tiny.train, normalise, Rng(0))
    assert seen == {dtype}
    seen.clear()
    if dtype == torch.float16:
        with pytest.raises(ValueError, match=r"^retrain: the network must be in float32, float64 or bfloat16, got "):
            retrain(given, tiny.train, normalise, Rng(0), steps=1)
        return
    retrain(given, tiny.train, normalise, Rng(0), steps=3)
    assert seen == {dtype}
    assert all(parameter.isfinite().all() for parameter in given.parameters())


def test_losses_are_summed_in_float32_at_least(tiny: Splits) -> None:
    given = network(torch.bfloat16)
    drawn = calibration(given, tiny.train, Rng(0))
    with torch.no_grad():
        answers = torch.cat([run(given, images) for images in drawn]).double()
    assert loss(given, drawn) == pytest.approx(float(cross_entropy(answers, drawn.batch.labels)), rel=1e-6)
