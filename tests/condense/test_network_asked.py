"""The network that a run is asked for: it is looked at ahead, whether or not the method uses it."""

from dataclasses import dataclass
from typing import Any

import pytest

from yoco.condense import condense, estimate
from yoco.condense.methods.random import Random
from yoco.data import Splits


@pytest.mark.parametrize("ask", [condense, estimate])
def test_a_network_is_looked_at_whether_or_not_it_is_used(tiny: Splits, ask: Any) -> None:
    for method, network, line in (
        ("random", "resnet19", r"^network: unknown name 'resnet19'; did you mean "),
        ("herding", "mlp:height=3", r"^network mlp option: unknown name 'height'; "),
        ("k-means", "convnet:depth=9", r"^convnet: depth must be in 1\.\.3 for 8x8 images, got 9$"),
        ("sre2l", "mlp", r"^condense: network must be given by the setting teacher of sre2l, got 'mlp'$"),
    ):
        with pytest.raises(ValueError, match=line):
            ask(tiny, method, ipc=1, network=network, device="cpu", progress=False)
    assert ask(tiny, "random", ipc=1, network="mlp:width=4", device="cpu", progress=False)


@dataclass(frozen=True, kw_only=True)
class Named(Random):
    """Has a network of its own, which gives no labels."""

    teacher: str = "mlp:width=4"


def test_a_network_that_gives_the_labels_is_welcome_beside_a_teacher(tiny: Splits) -> None:
    how: dict[str, Any] = {"ipc": 1, "network": "mlp:width=8", "device": "cpu", "progress": False}
    with pytest.raises(ValueError, match=r"^condense: network must be given by the setting teacher of "):
        condense(tiny, f"{__name__}:Named", **how)
    made = condense(tiny, f"{__name__}:Named", labels="teacher", teacher_epochs=1, **how)
    assert made.history[-1]["teacher"] == "mlp:width=8"
