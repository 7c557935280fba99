"""What is one's own may be annotated with names for type checkers alone: as strings or, from 3.14, as they are."""

import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

import yoco
from yoco.condensed import CondensedSet
from yoco.data import Splits
from yoco.networks import build
from yoco.prune import score, select
from yoco.registry import declared, signature_of
from yoco.rng import Rng
from yoco.sparsify import solve
from yoco.sparsify.layer import try_solver
from yoco.train import Recipe

HEADS = {"strings": "from __future__ import annotations\n", "names": ""}
OWN = """
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from yoco.networks import MLP
from yoco.prune import Rule
from yoco.sparsify.methods.random import random

if TYPE_CHECKING:
    from nowhere import Thing


def score(dynamics: Thing, *, epochs: int | None = None, power: float = 2.0) -> Thing:
    return dynamics.error[-1] ** power


@dataclass(frozen=True, kw_only=True)
class First(Rule):
    like: Thing | None = None
    share: float | None = None

    def __call__(self, items: Thing, budget: Thing, rng: Thing) -> Thing:
        return torch.arange(budget.total(len(items.labels), items.classes))


def network(channels: int, classes: int, size: Thing, like: Thing | None = None, share: float | None = None) -> Thing:
    return MLP(channels, classes, size, width=int(8 * share))


def method(network: Thing, *, sparsity: float, rng: Thing, span: int = 3, **options: Thing) -> Thing:
    return random(network, sparsity=sparsity, rng=rng)


def solver(problem: Thing, zeros: int, *, rng: Thing = None, span: int = 3) -> Thing:
    mask = torch.ones_like(problem.weight, dtype=torch.bool)
    mask.view(-1)[:zeros] = False
    return problem.weight, mask
"""


@pytest.fixture(
    params=[
        "strings",
        pytest.param("names", marks=pytest.mark.skipif(sys.version_info < (3, 14), reason="they are read at once")),
    ]
)
def own(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of one's own."""
    name = f"annotated_with_{request.param}"
    (tmp_path / f"{name}.py").write_text(HEADS[request.param] + OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_a_score_and_a_rule(own: str, tiny_set: CondensedSet) -> None:
    how = {"network": "mlp:width=4", "recipe": Recipe(epochs=2), "device": "cpu", "progress": False}
    assert len(score(tiny_set, score=f"{own}:score", power=3.0, **how)) == len(tiny_set)
    assert select(tiny_set, rule=f"{own}:First", n=3).indices.tolist() == [0, 1, 2]


def test_a_network_with_the_types_that_can_be_read(own: str) -> None:
    assert build(f"{own}:network:share=0.5", (1, 8, 8), 3, Rng(0)).head.in_features == 4
    found = declared(import_module(own).First)
    assert "like" not in found
    assert found["share"] == float | None


def test_a_method_and_a_solver(own: str, tiny: Splits) -> None:
    network, weight = build("mlp:width=8", (1, 8, 8), 3, Rng(0)), torch.ones(3, 8, dtype=torch.float64)
    masks = yoco.sparsify(network, tiny.train, sparsity=0.5, at_init=f"{own}:method", span=5).masks
    assert masks.kept == -(-masks.total // 2)
    try_solver(f"{own}:solver", None, {"span": 5})
    found = solve(weight, torch.eye(8, dtype=torch.float64), zeros=4, solver=f"{own}:solver", span=5)
    assert int((~found.mask).sum()) == 4


def test_the_parameters_are_those_of_the_function(own: str) -> None:
    module = import_module(own)
    assert [*signature_of(module.score).parameters] == ["dynamics", "epochs", "power"]
    assert {"like", "share"} < {*signature_of(module.First).parameters}
