"""Second moments behind layers that are sparse already: of what comes in before and after."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor

from yoco.data.source import Splits
from yoco.networks import build
from yoco.rng import Rng
from yoco.sparsify.hessian import moments_after
from yoco.sparsify.network import layers, patches, run


@pytest.mark.parametrize("name", ["lenet", "resnet20:width=4", "densenet:blocks=2-2,growth=4"])
def test_moments_behind_a_sparse_prefix(name: str, tiny: Splits) -> None:
    dense = build(name, (1, 8, 8), 3, Rng(0)).double()
    sparse = deepcopy(dense)
    first, *_, wanted = layers(dense)
    for middle in (wanted, list(layers(dense))[1]):
        weight = layers(sparse)[first].weight.data
        weight *= torch.randn(weight.shape, generator=Rng(2).generator()) > 0
        x = tiny.train.batch(torch.arange(12)).images.double()
        rows = []
        for network in (dense, sparse):
            caught: list[Tensor] = []
            layer = layers(network)[middle]
            handle = layer.register_forward_pre_hook(lambda _, given, to=caught: to.append(given[0]))
            run(network, x)
            handle.remove()
            rows.append(patches(layer, caught[0].detach()).numpy())
        found = moments_after(dense, sparse, x.split(5), middle)
        before, after = rows
        assert (found.n, found.images) == (before.shape[1], 12)
        for sums, left, right in ((found.dense, before, before), (found.sparse, after, after)):
            np.testing.assert_allclose(sums.numpy(), left.transpose(0, 2, 1) @ right, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(found.cross.numpy(), after.transpose(0, 2, 1) @ before, rtol=1e-10, atol=1e-10)
        assert not np.allclose(found.cross.numpy(), found.dense.numpy())


def test_runs_after_the_first_end_at_a_layer_that_comes_once(tiny: Splits) -> None:
    network = build("mlp:width=8", (1, 8, 8), 3, Rng(0))
    calls: list[int] = []
    network.head.register_forward_hook(lambda *_: calls.append(1))
    images = tiny.train.batch(torch.arange(12)).images
    moments_after(network, network, images.split(4), "stages.1.0.weight")
    assert len(calls) == 2
