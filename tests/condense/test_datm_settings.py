"""Settings of DATM: published ones, our own, and those that cannot be."""

from dataclasses import replace
from typing import Any

import pytest

from yoco.condense import settings_of
from yoco.condense.methods.datm import DATM


@pytest.mark.parametrize(
    ("data", "ipc", "window", "steps", "batch", "lr"),
    [
        ("cifar10", 1, (0, 0, 4), 80, 10, 100.0),
        ("cifar10", 10, (0, 10, 20), 80, 100, 100.0),
        ("cifar10", 50, (0, 20, 40), 80, 500, 1000.0),
        ("cifar10", 200, (0, 20, 40), 80, 500, 1000.0),
        ("cifar10", 500, (40, 0, 60), 80, 1000, 50.0),
        ("cifar10", 1000, (40, 0, 60), 80, 1000, 50.0),
        ("cifar100", 1, (0, 0, 20), 40, 0, 1000.0),
        ("cifar100", 10, (0, 0, 50), 20, 0, 1000.0),
        ("cifar100", 50, (20, 0, 70), 80, 1000, 1000.0),
        ("cifar100", 100, (30, 0, 70), 80, 1000, 1000.0),
        ("tiny-imagenet", 1, (0, 0, 20), 10, 0, 1000.0),
        ("tiny-imagenet", 10, (10, 0, 50), 20, 200, 1000.0),
        ("tiny-imagenet", 50, (40, 0, 70), 20, 300, 1000.0),
        ("fashion-mnist", 10, (0, 10, 20), 80, 100, 100.0),
    ],
)
def test_published_settings(data: str, ipc: int, window: Any, steps: int, batch: int, lr: float) -> None:
    m: Any = settings_of("datm", data, ipc, None)
    assert (m.min_start, m.grow_from, m.max_start) == window
    assert (m.student_steps, m.student_batch, m.lr_image) == (steps, batch, lr)
    assert (m.episodes, m.expert_epochs, m.grow_over, m.threshold, m.momentum_labels) == (10_000, 100, 1000, 1.0, 0.9)


@pytest.mark.parametrize(
    ("data", "ipc", "expected"),
    [
        ("cifar10", 1, (2, 5.0, 1e-7, 1e-2, 0.9995)),
        ("cifar10", 10, (2, 2.0, 1e-5, 1e-3, 0.9995)),
        ("cifar10", 50, (2, 2.0, 1e-5, 1e-3, 0.995)),
        ("cifar10", 500, (2, 10.0, 1e-5, 1e-3, 0.995)),
        ("cifar10", 1000, (2, 10.0, 1e-5, 1e-3, 0.995)),
        ("cifar100", 1, (3, 10.0, 1e-5, 1e-2, 0.9995)),
        ("cifar100", 10, (2, 10.0, 1e-5, 1e-2, 0.9995)),
        ("cifar100", 50, (2, 10.0, 1e-5, 1e-2, 0.995)),
        ("cifar100", 100, (2, 10.0, 1e-5, 1e-2, 0.995)),
        ("tiny-imagenet", 1, (2, 10.0, 1e-4, 1e-2, 0.9995)),
        ("tiny-imagenet", 10, (2, 10.0, 1e-4, 1e-2, 0.9995)),
        ("tiny-imagenet", 50, (2, 10.0, 1e-4, 1e-2, 0.995)),
    ],
)
def test_published_step_sizes(data: str, ipc: int, expected: tuple[float, ...]) -> None:
    m: Any = settings_of("datm", data, ipc, None)
    assert (m.expert_steps, m.lr_labels, m.lr_lr, m.lr_start, m.decay) == expected


def test_digits_have_settings_of_our_own() -> None:
    m: Any = settings_of("datm", "digits", 10, (1, 8, 8))
    assert (m.episodes, m.count, m.expert_epochs, m.depth, m.max_start, m.decay) == (300, 5, 15, 2, 13, 0.9)
    assert "flip" not in m.augment


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ({"count": 0}, "datm: count must be at least 1, got 0"),
        ({"expert_epochs": 20}, "datm: expert_epochs must be at least 21 for these segments, got 20"),
        (
            {"min_start": 20},
            "datm: 0 <= min_start < grow_from <= max_start must hold, ignoring a grow_from of 0, got 20, 0 and 20",
        ),
        (
            {"grow_from": 21},
            "datm: 0 <= min_start < grow_from <= max_start must hold, ignoring a grow_from of 0, got 0, 21 and 20",
        ),
        ({"grow_over": 0}, "datm: grow_over must be at least 1, got 0"),
        ({"decay": 1.0}, "datm: decay must be at least 0 and below 1, got 1"),
        ({"threshold": 0.0}, "datm: threshold must be above 0, got 0"),
        ({"start": "noise"}, "datm: start must be one of real, mix, k-means, got 'noise'"),
    ],
)
def test_impossible_settings(setting: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError, match=f"^{line}$"):
        DATM(**setting)


def test_experts_are_those_of_mtt_for_longer() -> None:
    datm, mtt = (settings_of(name, "cifar10", 10, None).recipe() for name in ("datm", "mtt"))  # type: ignore[attr-defined]
    assert replace(mtt, epochs=100) == datm
