"""LBPE against literal NumPy on a trace with equal epochs."""

import numpy as np
import pytest
import torch

from yoco.prune import LBPE_SETTINGS, Dynamics
from yoco.prune.scores import lbpe

HITS = [3, 5, 2, 5, 4, 5, 4, 9]


def trace(hits: list[int] = HITS, n: int = 9) -> Dynamics:
    """Dynamics with these many correct samples in each epoch, and errors of their own."""
    generator = torch.Generator().manual_seed(1)
    correct = torch.stack([torch.randperm(n, generator=generator) < hit for hit in hits])
    rest = {name: torch.rand(len(hits), n, generator=generator) for name in ("error", "margin", "logit_margin")}
    log_p = torch.log(0.05 + 0.9 * torch.rand(len(hits), n, generator=generator))
    return Dynamics(correct=correct, log_p=log_p, entropy=rest["margin"], **rest)


def literal_lbpe(dynamics: Dynamics, epochs: int, top: int, by: str) -> np.ndarray:
    if by == "accuracy":
        merit = [sum(row) for row in dynamics.correct[:epochs].tolist()]
    else:
        merit = [sum(row) / len(row) for row in dynamics.log_p[:epochs].double().tolist()]
    best = sorted(range(epochs), key=lambda e: (-merit[e], e))[:top]
    return sum(dynamics.error[e].numpy().astype(np.float64) for e in best)


@pytest.mark.parametrize("by", ["accuracy", "loss"])
@pytest.mark.parametrize(("epochs", "top"), [(7, 1), (7, 2), (7, 4), (7, 7), (8, 1), (2, 2), (6, 3)])
def test_lbpe_sums_the_errors_of_the_best_epochs(by: str, epochs: int, top: int) -> None:
    found = lbpe(trace(), epochs=epochs, top=top, by=by)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), literal_lbpe(trace(), epochs, top, by), rtol=1e-6)


def test_of_equal_epochs_the_earlier_counts() -> None:
    one = trace()
    assert torch.equal(lbpe(one, epochs=7, top=1), one.error[1])
    assert torch.equal(lbpe(one, epochs=7, top=2), (one.error[1].double() + one.error[3].double()).float())
    flat = trace([4] * 40)
    np.testing.assert_allclose(lbpe(flat, epochs=40, top=5).numpy(), flat.error[:5].double().sum(0).numpy(), rtol=1e-6)


def test_published_settings_are_usable_and_the_default_is_that_of_cifar10() -> None:
    assert all(1 <= top <= epochs for epochs, top in LBPE_SETTINGS.values())
    assert LBPE_SETTINGS["idc", "cifar10"] == (100, 10)
    assert LBPE_SETTINGS["idc", "cifar100"] == LBPE_SETTINGS["idc", "imagenet-10"] == (200, 10)
    assert {LBPE_SETTINGS["mtt", "cifar10"], LBPE_SETTINGS["kip", "cifar10"]} == {(10, 3), (50, 3)}
    assert LBPE_SETTINGS["dsa", "cifar10"] == (100, 3)
