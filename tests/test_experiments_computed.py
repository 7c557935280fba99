"""What the numbers of the experiments are: which images judge, which seeds differ, and what counts as last."""

import json
import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import yoco
from yoco.condensed import CondensedSet
from yoco.data import load
from yoco.data.source import Source, Splits
from yoco.prune import Evidence, Snapshot, select
from yoco.rng import Rng
from yoco.sparsify import solve
from yoco.sparsify.solvers.lobs import recursive_inverse
from yoco.sparsify.study import Study

Experiment = Callable[[str], Any]


@pytest.fixture
def shared(experiment: Experiment, tmp_path: Path, tiny_set: CondensedSet) -> Any:
    """A grid of trials on the small set."""
    tiny_set.save(tmp_path / "set.safetensors")
    how = {"epochs": 1, "score_epochs": 1, "bf16": False}
    return experiment("grid").Grid(set=tmp_path / "set.safetensors", out=tmp_path, **how)


def evaluated(seen: list[dict[str, Any]]) -> Callable[..., Any]:
    """In the place of `yoco.evaluate`: every accuracy is 42 at the end and 43 at best."""

    def evaluate(*data: Any, **how: Any) -> Any:
        seen.append(how)
        row = SimpleNamespace(last=(42.0,), best=(43.0,))
        return SimpleNamespace(results=[row], epochs=1, seconds=1.0, device="cpu")

    return evaluate


def test_last_is_last_and_best_is_best(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = experiment("sets")
    monkeypatch.setattr(sets.yoco, "evaluate", evaluated([]))
    found = sets.worth(None, None, (0,))
    assert (found["last"], found["best"]) == ([42.0], [43.0])


def test_each_seed_is_another_set_with_judges_of_its_own(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits, seen = experiment("methods_digits"), []

    def condense(data: Any, method: str, **how: Any) -> None:
        seen.append(how["seed"])
        raise ValueError("no set")

    monkeypatch.setattr(digits.yoco, "condense", condense)
    bench = digits.Bench(None, None, SimpleNamespace(episodes=0, epochs=1, networks_per_set=2))
    assert bench.trial("name", method="random", ipc=1, seed=5)["failed"] == "no set"
    assert (seen, [*bench.judges(0), *bench.judges(2)]) == ([5], [0, 1, 4, 5])


def test_zeros_are_zeros_and_errors_are_errors(experiment: Experiment) -> None:
    lobs, data, options = experiment("lobs_table"), load("digits"), SimpleNamespace(images=60, steps=2)

    def study(network: str, seed: int, **how: Any) -> Study:
        return Study(data=data, network=network, seed=seed, epochs=1, **how)

    zeros = lobs.shared(SimpleNamespace(data=data, study=study), "mlp:width=8", 0, 0.1, options)["zeros"]
    assert sum(zeros.values()) == int(0.9 * (512 + 64 + 80))
    done = SimpleNamespace(run=lambda: SimpleNamespace(seconds={}, accuracy={"pruned": 90.0}))
    trials = SimpleNamespace(data=data, study=lambda *words, **how: done)
    assert lobs.trial(trials, "mlp", 0, {}, options)["pruned"] == 10


def test_multiplications_are_those_of_the_dense_and_of_the_sparse_network(experiment: Experiment, tiny: Splits) -> None:
    trials, options = SimpleNamespace(data=tiny, bf16=False), SimpleNamespace(epochs=1, lr=0.02)
    found = experiment("npb_table").trial(trials, "convnet:width=4,depth=1", 0, 0.75, "random", options)
    convolution, head = 1 * 4 * 3 * 3, 4 * (4 * 4) * 3  # weights: the first at 8 x 8 places, the second behind a pool
    assert found["dense_flops"] == 64 * convolution + head == 2496
    assert found["flops"] == (64 * convolution + head) / 4


def test_images_that_are_held_back_are_others_and_judge(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_set: CondensedSet
) -> None:
    def images(part: Source) -> Counter[bytes]:
        return Counter(image.numpy().tobytes() for image in part.images)

    def accuracies(made: Any, splits: Splits, networks: int, options: Any) -> list[float]:
        seen.append(splits)
        return [50.0]

    road, seen = experiment("road"), []
    options = SimpleNamespace(data="digits", held=300, ipc=1, bf16=0, threads=1, epochs=1)
    halves, whole = road.halves(options), load("digits").train
    assert len(halves.test) == 300
    assert images(halves.train) + images(halves.test) == images(whole)
    made = replace(tiny_set, config={"episodes_done": 0, "seconds": 0.0})
    monkeypatch.setattr(road, "condense", lambda *words, **how: made)
    monkeypatch.setattr(road, "accuracies", accuracies)
    road.tried("mixed start", halves, options, tmp_path / "a.json")
    assert len(seen) == 1
    assert seen[0] is halves


def test_seconds_of_a_stopped_start_count(experiment: Experiment, tmp_path: Path) -> None:
    path = tmp_path / "a.spent"
    path.write_text("750")
    meter = experiment("road").Meter(path)
    meter(None)
    assert meter.seconds() >= float(path.read_text()) >= 750


def test_a_source_calibrates_and_retrains(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, tiny: Splits, tiny_set: CondensedSet
) -> None:
    def study(*words: Any, **how: Any) -> Any:
        asked.update(how)
        return SimpleNamespace(run=lambda: SimpleNamespace(seconds={}, accuracy={}))

    calibration, asked = experiment("condensed_calibration"), dict[str, Any]()
    monkeypatch.setattr(calibration, "drawn", lambda *words: tiny_set)
    trials = SimpleNamespace(data=tiny, study=study)
    calibration.trial(trials, "mlp", "full data", 0.5, 0, SimpleNamespace(steps=1))
    assert asked["calibrate"] is asked["retrain_on"] is tiny_set
    assert asked["images"] == 36


def test_each_seed_trains_another_network(experiment: Experiment, tmp_path: Path) -> None:
    options = SimpleNamespace(data="digits", out=tmp_path, part=(0, 1), bf16=0, dense_epochs=1)
    trials = experiment("trained").Trials(options)
    one, other = (load_file(trials.study("mlp:width=4", seed, sparsity=0.5).weights) for seed in (0, 1))
    assert not torch.equal(one["head.weight"], other["head.weight"])


def test_a_trial_has_its_cells_its_seed_and_its_beta(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, shared: Any
) -> None:
    def chosen(*data: Any, **how: Any) -> Any:
        asked.append(how)
        return SimpleNamespace(indices=torch.arange(3))

    grid, asked = experiment("grid"), list[dict[str, Any]]()
    monkeypatch.setattr(grid.Grid, "order", lambda *words: torch.arange(36).view(3, 12).T.flatten())
    monkeypatch.setattr(grid.Grid, "evidence", lambda *words: None)
    monkeypatch.setattr(grid, "select", chosen)
    assert shared.pruned(grid.Trial("kernel", 0, 2, 0)).counts == (8, 8, 8)
    for words in (("random", 0, 1, 1), ("random", 1, 1, 0), ("ccs", 0, 1, 0)):
        shared.pruned(grid.Trial(*words))
    assert [how["seed"] for how in asked] == [1, 10, 0]
    assert asked[2]["beta"] == grid.CCS_BETA["cifar10", 10, 1] == 0.3


def test_each_ranking_is_another_training(experiment: Experiment, monkeypatch: pytest.MonkeyPatch, shared: Any) -> None:
    def observe(*data: Any, rng: Rng, **how: Any) -> Any:
        keys.append(rng.key())
        return SimpleNamespace(save=lambda path: path.write_bytes(b"seen"))

    grid, keys = experiment("grid"), list[Any]()
    monkeypatch.setattr(grid, "observe", observe)
    monkeypatch.setattr(grid, "draw_references", lambda *words: None)
    monkeypatch.setattr(grid, "Evidence", SimpleNamespace(load=lambda path: path))
    for run in (0, 1):
        shared.evidence(run)
        shared.views(run)
    assert keys == [Rng(run).child("score", number).key() for run in (0, 1) for number in (0, 0, 1, 2)]


def test_a_trial_of_another_set_is_judged_anew(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, shared: Any
) -> None:
    grid, asked = experiment("grid"), list[dict[str, Any]]()
    monkeypatch.setattr(grid.yoco, "evaluate", evaluated(asked))
    trial = grid.Trial("random", 0, 1, 3)
    shared.file(trial).write_text(json.dumps({"checksum": "another", "last": 99.0}))
    assert [shared.judge(trial)["last"] for _ in range(2)] == [42.0, 42.0]
    assert [how["seeds"] for how in asked] == [(3,)]


def test_the_kernel_alone_ranks_without_the_references(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, shared: Any, tiny_set: CondensedSet
) -> None:
    def views(references: bool) -> list[Evidence]:
        found = []
        for number in range(3):
            own, others = torch.randn(96, 5, generator=Rng(number).generator()).split([36, 60])
            parts = {"logits": torch.zeros(36, 3), "targets": tiny_set.labels, "features": own, "inputs": own}
            met = (others, torch.arange(60) % 3) if references else None
            found.append(Evidence(snapshot=Snapshot(**parts, reference=met), checksum=tiny_set.checksum))
        return found

    grid = experiment("grid")
    beside, alone = (select(tiny_set, rule="kernel", n=36, evidence=views(met)).indices for met in (True, False))
    assert beside.tolist() != alone.tolist()
    monkeypatch.setattr(grid.Grid, "views", lambda *words: views(True))
    for way, order in (("kernel", beside), ("kernel-alone", alone)):
        assert shared.order(way, 0).tolist() == order.tolist()
        assert shared.pruned(grid.Trial(way, 0, 2, 0)).checksum == tiny_set.take(order[:24]).checksum


def test_inside_twice_its_prefix_half_of_it_is_kept(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_set: CondensedSet
) -> None:
    sizes, grid = experiment("resize_sets"), experiment("grid")
    tiny_set.save(tmp_path / "set.safetensors")
    monkeypatch.setattr(grid.Grid, "evidence", lambda *words: None)
    monkeypatch.setattr(grid, "select", lambda data, *, rule, ipc, **how: select(data, rule="first", ipc=ipc))
    options = SimpleNamespace(epochs=1, score_epochs=1)
    resizer = sizes.Resizer(SimpleNamespace(path=tmp_path), None, options)
    small = resizer.smaller(tmp_path / "set.safetensors", sizes.INSIDE, 1, 0)
    inner = yoco.load(tmp_path / "set/first-2.safetensors")
    assert (inner.counts, small.counts) == ((8, 8, 8), (4, 4, 4))
    assert torch.equal(small.cells, tiny_set.subset(ipc=1).cells)


def test_the_order_of_the_paper_is_by_the_means(experiment: Experiment) -> None:
    def found(**means: float) -> dict[str, Any]:
        rows = [{"way": way, "ipc": 1, "last_mean": mean} for way, mean in means.items()]
        return dict(experiment("table1").order(rows)[0])

    best = found(random=50.0, yoco=60.0, ccs=55.0, easy=99.0)  # easy is of the ablation
    assert (best["best_first"], best["yoco_ccs_random"]) == (["yoco", "ccs", "random"], True)
    assert not found(random=58.0, yoco=60.0, ccs=55.0)["yoco_ccs_random"]


def test_coresets_are_trained_for_equal_steps(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, tiny: Splits
) -> None:
    def plain(data: Source, *, rule: str, keep: float, seed: int, **beside: Any) -> Any:
        return select(data, rule=rule, keep=keep, seed=seed)

    coresets, asked = experiment("coreset_fashion"), list[dict[str, Any]]()
    monkeypatch.setattr(coresets, "select", plain)
    monkeypatch.setattr(coresets.yoco, "evaluate", evaluated(asked))
    coresets.judged(tiny, None, "random", 0.1, 3, SimpleNamespace(steps=30, network="mlp:width=4"))
    assert [(how["epochs"], how["seeds"]) for how in asked] == [(30 * 64 // 12, (3,))]


def test_the_literal_procedure_is_that_of_lobs(experiment: Experiment) -> None:
    speed = experiment("solver_speed")
    inputs, weight = speed.made(12, 5, 40)
    how: Any = {"zeros": 30, "solver": "lobs", "refit": False, "inverse": recursive_inverse(inputs)}
    ours = solve(weight, inputs.T @ inputs / 40, **how).weight
    torch.testing.assert_close(speed.literal(inputs, weight, 30), ours, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems say their peak elsewhere")
def test_the_peak_of_memory_is_that_of_the_system(experiment: Experiment) -> None:
    (highest,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert experiment("apart").peak() == pytest.approx(int(highest) / 1024, rel=0.01)
