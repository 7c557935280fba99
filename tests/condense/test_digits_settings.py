"""Settings of our own for scikit-learn's digits, and those of data in no table."""

from dataclasses import asdict
from typing import Any

import pytest

from yoco.condense import METHODS, settings_of

TRAINED = {"metric": "l1", "lr_image": 1e-3, "network_images": 64, "pretrain": 20, "inner": 20, "factor": 1}
LOOPS = {"episodes": 100, "start": "real", "outer": 20, "inner": 20, "lr_network": 0.1, "real_batch": 64}
EARLY = {"metric": "l1", "lr_image": 5e-4, "network_images": 64, "inner": 20, "factor": 1, "early_epochs": 30}
QUEUE = {"factor": 1, "real_batch": 64, "network_batch": 64, "network_steps": 4, "pool_limit": 10}


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("idc", {**TRAINED, "reference_side": 8, "episodes": 100}),
        ("dream", {**TRAINED, "reference_side": 8, "episodes": 160, "real_batch": 32}),
        ("mdc", {**TRAINED, "reference_side": 8, "episodes": 160, "interval": 1}),
        ("accdd", {**EARLY, "reference_side": 8, "episodes": 150}),
        ("dm", {"episodes": 300, "lr_image": 1.0}),
        ("dc", {**LOOPS, "lr_image": 0.01}),
        ("dsa", {**LOOPS, "lr_image": 0.01}),
        ("datadam", {"episodes": 200, "real_batch": 64, "feature_weight": 1.0, "lr_image": 10.0}),
        ("m3d", {"episodes": 60, "factor": 1, "real_batch": 64, "lr_image": 0.02}),
        ("idm", {**QUEUE, "episodes": 150}),
        ("frepo", {"episodes": 500, "lr": 3e-3, "lr_network": 1e-3}),
    ],
)
def test_digits_have_these_settings_of_our_own(method: str, expected: dict[str, Any]) -> None:
    found: Any = settings_of(method, "digits", 10, (1, 8, 8))
    assert expected.items() <= asdict(found).items()


@pytest.mark.parametrize("method", METHODS)
def test_other_images_that_are_called_digits_have_settings_of_letters(method: str) -> None:
    for shape in ((1, 28, 28), (3, 8, 8), (1, 16, 16)):
        assert settings_of(method, "digits", 10, shape) == settings_of(method, "kmnist", 10, shape)


@pytest.mark.parametrize(("method", "lr"), [("idc", 1.0), ("mdc", 1.0), ("dream", 1.0), ("accdd", 1.0)])
@pytest.mark.parametrize(("shape", "step"), [((1, 28, 28), 1e-4), ((3, 224, 224), 3e-3)])
def test_unknown_data_take_the_settings_of_like_images(
    method: str, lr: float, shape: tuple[int, int, int], step: float
) -> None:
    found: Any = settings_of(method, "unheard-of", 10, shape)
    assert (found.metric, found.lr_image, found.network_images) == ("l1", lr * step, 500)
