"""Sixty digits in double precision, and a small network of three layers."""

import pytest
import torch
from torch import nn

from yoco.data import Splits
from yoco.data.source import Batch
from yoco.rng import Rng
from yoco.sparsify.calibration import Calibration
from yoco.train import Normalise


@pytest.fixture(scope="module")
def data(tiny: Splits) -> Calibration:
    batch = tiny.train.batch(torch.arange(0, 120, 2))
    doubled = Batch(batch.images.double(), batch.labels)
    return Calibration(doubled, Normalise(tiny.train.mean, tiny.train.std), torch.device("cpu"))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """36, 2 x 24 and 72 weights: a grouped convolution in it, and one without a bias."""
    with Rng(0).as_global():
        first, second = nn.Conv2d(1, 4, 3, stride=2), nn.Conv2d(4, 6, 2, groups=2, bias=False)
        made = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), nn.Linear(24, 3))
    return made.double()
