"""What computes on a device that is not the CPU keeps to it, and finds the same: see other_device.py."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from other_device import PLACE, both, there

import yoco
from yoco.condense import relabel
from yoco.condensed import CondensedSet
from yoco.data import Splits
from yoco.sparsify import METHODS, SOLVERS, load
from yoco.sparsify.study import Study

NETWORK = "convnet:width=8,depth=2"
SHORT = {"network": NETWORK, "epochs": 2, "progress": False}
LONGER = {**SHORT, "epochs": 10}
FEWER = {"dpai": {"steps": 5}, "synflow": {"iterations": 3}, "iterative_snip": {"iterations": 3}}
"""Options of methods that would take long."""
FLOWING = ("phew", "npb")
"""Methods with a kind of tensor of their own, into which those of this device cannot be made."""


def test_tensors_apart_do_not_mix_with_those_of_the_cpu() -> None:
    with there():
        apart, here = torch.arange(4.0, device=PLACE), torch.arange(4.0)
        assert (apart.device, (2 * apart + torch.tensor(1.0)).tolist()) == (PLACE, [1, 3, 5, 7])
        assert apart[torch.tensor([1, 2])].device == PLACE
        assert torch.equal(apart.cpu(), here)
        wrong: dict[str, Callable[[], object]] = {
            "a sum": lambda: apart + here,
            "numbers in a row": lambda: torch.stack([apart[0], here[0]]),
            "indices": lambda: here[apart.long()],
            "random numbers": lambda: torch.randn(3, device=PLACE, generator=torch.Generator()),
            "random numbers in place": lambda: apart.normal_(generator=torch.Generator()),
            "a network": lambda: torch.nn.Linear(4, 2)(here[None]),
        }
        for name, mixed in wrong.items():
            with pytest.raises(RuntimeError, match="expected"):
                pytest.fail(f"{name}: {mixed()}")
        with pytest.raises((TypeError, RuntimeError), match="numpy"):
            apart.numpy()


@pytest.mark.parametrize("network", [NETWORK, "resnet10:width=4", "mlp:width=8"])
def test_networks_that_judge(network: str, tiny: Splits, tiny_set: CondensedSet) -> None:
    how: dict[str, Any] = {"epochs": 2, "seeds": 1, "baselines": ["random"], "confusion": True, "progress": False}
    plain, found = both(lambda device: yoco.evaluate(tiny_set, tiny, networks=[network], device=device, **how))
    assert found.results == plain.results


def test_labels_of_a_teacher(tiny: Splits, tiny_set: CondensedSet) -> None:
    plain, made = both(lambda device: relabel(tiny_set, tiny, **SHORT, device=device))
    assert made.checksum == plain.checksum
    plain, found = both(lambda device: yoco.evaluate(made, tiny, epochs=2, seeds=1, device=device, progress=False))
    assert found.results == plain.results


def test_a_run_in_a_whitened_space_with_a_teacher(tiny: Splits) -> None:
    how: dict[str, Any] = {"ipc": 1, "episodes": 1, "labels": "teacher", "teacher_epochs": 1, "space": "zca"}
    plain, made = both(lambda device: yoco.condense(tiny, "dm", **how, network=NETWORK, device=device, progress=False))
    assert made.checksum == plain.checksum


@pytest.mark.parametrize("rule", ["yoco", "kernel", "beta", "d2", "gradmatch", "ssp"])
def test_rules(rule: str, tiny_set: CondensedSet) -> None:
    plain, kept = both(lambda device: yoco.prune.select(tiny_set, rule=rule, cells=4, **LONGER, device=device))
    assert torch.equal(kept.indices, plain.indices)


@pytest.mark.parametrize("score", ["lbpe", "tdds", "last-loss", "prototype", "grand"])
def test_scores(score: str, tiny: Splits) -> None:
    how = {**LONGER, **({"parameters": "all"} if score == "grand" else {})}
    plain, found = both(lambda device: yoco.prune.score(tiny.train, score=score, **how, device=device))
    assert torch.equal(found.values, plain.values)


@pytest.mark.parametrize("solver", SOLVERS)
def test_solvers(solver: str, tiny: Splits, tmp_path: Path) -> None:
    sharing = {} if solver == "exact" else {"allocation": "uniform"}  # of which the curves take long
    _same_networks(tmp_path, data=tiny, options={"solver": solver, **sharing}, retrain=1)


@pytest.mark.parametrize("method", sorted({*METHODS} - {*FLOWING}))
def test_pruning_at_initialisation(method: str, tiny: Splits, tmp_path: Path) -> None:
    _same_networks(tmp_path, data=tiny, at_init=method, options=FEWER.get(method, {}))


def test_a_condensed_set_alone_prunes_and_retrains(tiny: Splits, tiny_set: CondensedSet, tmp_path: Path) -> None:
    _same_networks(tmp_path, data=tiny, calibrate=tiny_set, retrain=1, retrain_on=tiny_set, rounds=2)


def _same_networks(place: Path, **how: Any) -> None:
    def run(device: str) -> tuple[dict[str, float], dict[str, Any]]:
        about = {"network": "convnet:width=2,depth=3,norm=batch", "epochs": 1, "sparsity": 0.6, **how}
        made = Study(device=device, **about).run(place / device)
        kept = {name: mask.tolist() for name, mask in load(place / device / "sparse.safetensors").masks.items()}
        return made.accuracy, kept

    plain, found = both(run)
    assert found == plain
