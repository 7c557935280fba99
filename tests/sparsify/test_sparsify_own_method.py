"""Methods of one's own at initialisation, and which options they are given."""

import re
from typing import Any

import pytest
from torch import nn

import yoco
from yoco.data.source import Splits
from yoco.networks import build
from yoco.rng import Rng
from yoco.sparsify.masks import Masks
from yoco.sparsify.methods.random import random

GIVEN: list[dict[str, Any]] = []


def free(network: nn.Module, *, sparsity: float, rng: Rng, span: int = 3, **options: Any) -> Masks:
    """Takes any option, and what it is always given among them."""
    GIVEN.append({"span": span, **options})
    return random(network, sparsity=sparsity, rng=rng)


def strict(network: nn.Module, *, sparsity: float, rng: Rng, data: Any, normalise: Any, span: int = 3) -> Masks:
    """Takes one option."""
    return random(network, sparsity=sparsity, rng=rng)


def test_a_method_may_take_any_option(tiny: Splits) -> None:
    network = build("mlp:width=8", (1, 8, 8), 3, Rng(0))
    GIVEN.clear()
    for options in ({}, {"depth": 2}, {"span": 5, "way": "up"}):
        found = yoco.sparsify(network, tiny.train, sparsity=0.5, at_init=f"{__name__}:free", **options)
        assert found.masks.kept == -(-found.masks.total // 2)
    assert [{k: v for k, v in given.items() if k not in ("data", "normalise")} for given in GIVEN] == [
        {"span": 3},
        {"span": 3, "depth": 2},
        {"span": 5, "way": "up"},
    ]
    assert all({"data", "normalise"} <= set(given) for given in GIVEN)


@pytest.mark.parametrize(("name", "option"), [("free", "rng"), ("strict", "rng"), ("strict", "depth")])
def test_other_options_are_refused(name: str, option: str, tiny: Splits) -> None:
    network, method = build("mlp:width=8", (1, 8, 8), 3, Rng(0)), f"{__name__}:{name}"
    line = re.escape(f"option of {method}: unknown name '{option}'; known: span")
    with pytest.raises(ValueError, match=rf"^{line}$"):
        yoco.sparsify(network, tiny.train, sparsity=0.5, at_init=method, **{option: 1})
