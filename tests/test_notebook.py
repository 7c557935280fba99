"""What a researcher does in a notebook: copies and pickles, numbers of NumPy, threads, other dtypes, the wrong kind."""

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import yoco
from yoco.classes import merge, only
from yoco.condensed import CondensedSet
from yoco.data import Splits
from yoco.networks import build
from yoco.prune import Recorder, Running, Scores, Selection, report, score, scores, select, windows
from yoco.prune.choosing import scores_for
from yoco.rng import Rng
from yoco.sparsify import SOLVERS, rebuild, save
from yoco.sparsify.study import Study
from yoco.train import Normalise

QUICK: dict[str, Any] = {"networks": "mlp:width=4", "seeds": 1, "progress": False, "device": "cpu"}


@pytest.mark.parametrize("name", ["condense", "prune", "evaluate", "sparsify", "convert", "report"])
def test_verbs_are_pickled_by_their_names(name: str) -> None:
    verb = getattr(yoco, name)
    assert pickle.loads(pickle.dumps(verb)) is verb
    assert deepcopy({"verb": verb})["verb"] is verb
    assert pickle.loads(pickle.dumps(partial(verb, 1))).args == (1,)


def test_data_and_networks_are_there_at_once() -> None:
    assert yoco.data.load("digits").train.name == "digits"
    assert yoco.networks.build is build
    assert {"data", "networks"} <= {*yoco.__all__}


def test_pruned_networks_are_copied_and_pickled_and_kept(tiny: Splits, tmp_path: Path) -> None:
    network = build("mlp:width=8", (1, 8, 8), 3, Rng(0))
    pruned = yoco.sparsify(network, tiny.train, sparsity=0.5)
    for again in (deepcopy(pruned), pickle.loads(pickle.dumps(pruned))):
        assert again.masks == pruned.masks
    assert deepcopy(yoco.sparsify.measure(network, tiny.train.shape)).total.weights > 0
    about = {"network": "mlp:width=8", "shape": [1, 8, 8], "classes": 3}
    save(pruned.applied(network), tmp_path / "sparse.safetensors", masks=pruned.masks, about=about)
    assert torch.equal(rebuild(tmp_path / "sparse.safetensors").head.weight != 0, pruned.masks["head.weight"])


def test_numbers_of_numpy_are_whole_numbers(tiny: Splits, tiny_set: CondensedSet, tmp_path: Path) -> None:
    found = yoco.evaluate(tiny_set, tiny, epochs=np.int64(2), **QUICK)
    assert "condensed" in repr(found)
    found.save(tmp_path / "found.json")
    plain = {"network": "mlp:width=4", "progress": False}
    mine, theirs = (select(tiny_set, ipc=1, epochs=epochs, top=2, **plain) for epochs in (3, np.int64(3)))
    assert torch.equal(mine.indices, theirs.indices)


def test_parts_of_numbers_are_one_line(tiny: Splits, tiny_set: CondensedSet) -> None:
    with pytest.raises(ValueError, match=r"^condense: ipc must be a whole number, got 2.0$"):
        yoco.condense(tiny, "random", ipc=2.0, progress=False)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^size: ipc must be a whole number, got 1.0$"):
        tiny_set.subset(ipc=1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^evaluate: epochs must be a whole number, got 1000.0$"):
        yoco.evaluate(tiny_set, tiny, epochs=1e3, **QUICK)  # type: ignore[arg-type]


def test_networks_that_threads_make_are_those_of_their_seeds() -> None:
    def made(seed: int) -> torch.Tensor:
        return build("convnet:width=32", (1, 16, 16), 3, Rng(seed)).head.weight.detach().clone()

    before = torch.random.get_rng_state()
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(made, [k % 4 for k in range(64)]))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(weight, made(k % 4)) for k, weight in enumerate(found))


def test_a_set_is_used_in_float64(tiny: Splits) -> None:
    plain: dict[str, Any] = {"network": "mlp:width=4", "progress": False, "device": "cpu"}
    torch.set_default_dtype(torch.float64)
    try:
        made = yoco.condense(tiny, "random", ipc=1, labels="teacher", teacher_epochs=1, **plain)
        assert yoco.evaluate(made, tiny, epochs=1, **QUICK).results
        assert len(score(made, score="entropy", epochs=1, **plain)) == 3
    finally:
        torch.set_default_dtype(torch.float32)


def retrained(model: nn.Module, tiny: Splits) -> Any:
    """A copy, pruned, retrained and seen anew."""
    copy, normalise = deepcopy(model), Normalise(tiny.train.mean, tiny.train.std)
    yoco.sparsify(copy, tiny.train, sparsity=0.5).install(copy)
    yoco.sparsify.retrain(copy, tiny.train, normalise, Rng(0), steps=2)
    yoco.sparsify.reestimate(copy, tiny.train, normalise, Rng(0))
    return copy


def studied(data: Splits, solver: str) -> Study:
    return Study(data=data, network="mlp:width=4", sparsity=0.5, options={"solver": solver})


def test_the_default_device_is_the_callers_own_business(tiny: Splits, tiny_set: CondensedSet) -> None:
    network, plain = {"network": "mlp:width=4"}, {"progress": False, "device": "cpu"}
    model = build("mlp:width=8", (1, 8, 8), 3, Rng(0))
    layer, chance, shape = (model.head.weight.detach(), torch.eye(8)), {"solver": "random", "rng": Rng(0)}, (1, 8, 8)
    how: dict[str, Any] = {"ipc": 1, "episodes": 2, "labels": "teacher", "teacher_epochs": 1, **network, **plain}
    calls = (
        lambda: yoco.data.load("digits").train.labels,
        lambda: yoco.condense(tiny, "dm", **how).cells,
        lambda: yoco.condense.relabel(tiny_set, tiny, epochs=1, **network, **plain).soft_labels,
        lambda: torch.tensor(yoco.evaluate(tiny_set, tiny, epochs=2, **QUICK).results[0].last, device="cpu"),
        lambda: select(tiny_set, ipc=1, epochs=3, top=2, **network, **plain).indices,
        lambda: score(tiny_set, score="grand", epochs=2, **network, **plain).values,
        lambda: yoco.sparsify(model, tiny.train, sparsity=0.5).masks["head.weight"],
        lambda: yoco.prune.rank(tiny_set, epochs=3, top=2, **network, **plain).cells,
        lambda: yoco.prune.draw_references(tiny_set, tiny.train, Rng(0)).images,
        lambda: retrained(model, tiny).head.weight,
        lambda: torch.tensor([len(studied(tiny, solver).options) for solver in SOLVERS], device="cpu"),
        lambda: yoco.sparsify.solve(*layer, zeros=4, **chance).mask,
        lambda: yoco.sparsify.curve(*layer, levels=[0, 4], **chance),
        lambda: yoco.sparsify.effective(model, shape).masks["head.weight"],
        lambda: torch.tensor(yoco.sparsify.measure(model, shape).effective.nodes, device="cpu"),
        lambda: yoco.sparsify.shrink(model, shape).head.weight,
    )
    expected = [call() for call in calls]
    with torch.device("meta"):
        found = [call() for call in calls]
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(found, expected, strict=True))


def watched(outputs: torch.Tensor, labels: torch.Tensor) -> list[torch.Tensor]:
    """What a training that anybody wrote showed, and what it is scored."""
    recorder, running = Recorder(len(labels), shift=True), Running(len(labels), ["forgetting", "variability"])
    for epoch, logits in enumerate(outputs):
        for each in (recorder, running):
            each.log(epoch, range(len(labels)), logits, labels)
    seen = recorder.dynamics()
    values = [function(seen) for function in (scores.forgetting, scores.aum, scores.variability)]
    values += [windows.tdds(seen, epochs=3, window=3), Scores(values=values[1], name="aum", checksum="").ranks]
    return [*values, running.score("forgetting"), running.score("variability")]


def test_what_is_watched_and_parted_lies_on_the_cpu_whatever_the_default_device(tiny_set: CondensedSet) -> None:
    outputs = torch.randn(4, 20, 3, generator=Rng(0).generator())

    def calls() -> list[torch.Tensor]:
        parts = [only(tiny_set, names) for names in (("2", "0"), ("1", "2"))]
        return [*watched(outputs, labels), *(part.cells for part in parts), merge(*parts).cells]

    labels = torch.arange(20) % 3
    expected = calls()
    with torch.device("meta"):
        found = calls()
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda s, d: yoco.evaluate("set.safetensors", d), "evaluate: needs a condensed set, which yoco.load opens"),
        (
            lambda s, d: yoco.sparsify(nn.Linear(4, 2), d, sparsity=0.5),
            "sparsify: data must be a Source or a condensed",
        ),
        (
            lambda s, d: yoco.condense(d, "random", network=nn.Linear),
            "network: must be a name, or module:Name, got type",
        ),
        (
            lambda s, d: yoco.evaluate(s, d, networks=[nn.Linear(1, 1)]),
            "network: must be a name, or module:Name, got L",
        ),
        (lambda s, d: yoco.condense.relabel(d, d), "relabel: needs a condensed set, got Splits"),
        (lambda s, d: yoco.prune(d, n=3), "prune: needs a condensed set or a Source ("),
        (lambda s, d: select("digits", n=3), "select: needs a condensed set or a Source (yoco.data.load(...).train, "),
        (lambda s, d: score(np.zeros((3, 4, 4))), "score: needs a condensed set or a Source ("),
        (lambda s, d: yoco.prune.observe(d, epochs=1, recipe=None, rng=Rng(0)), "observe: needs a condensed set or"),
        (lambda s, d: scores_for(d), "scores_for: needs a condensed set or a Source ("),
    ],
)
def test_the_wrong_kind_is_one_line(tiny: Splits, tiny_set: CondensedSet, call: Any, line: str) -> None:
    with pytest.raises(ValueError) as caught:
        call(tiny_set, tiny)
    assert str(caught.value).startswith(line)


def test_a_teacher_may_be_of_another_dtype_and_is_left_in_all_its_modes(tiny_set: CondensedSet) -> None:
    double = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).double()
    double[1].weight.data[:] = tiny_set.decode()[::12].flatten(1)
    double[1].bias.data[:] = -tiny_set.decode()[::12].flatten(1).square().sum(1) / 2
    assert yoco.condense.relabel(tiny_set, double).soft_labels is not None
    teacher = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Dropout(0.5), nn.Linear(64, 4))
    teacher[1].eval()
    modes = [module.training for module in teacher.modules()]
    with pytest.raises(ValueError, match="logits must be"):
        yoco.condense.relabel(tiny_set, teacher)
    assert [module.training for module in teacher.modules()] == modes == [True, True, False, True, True]


def test_checksums_do_not_hang_on_the_kind_of_a_size(tiny_set: CondensedSet) -> None:
    parts = {
        name: getattr(tiny_set, name) for name in ("cells", "labels", "factor", "classes", "mean", "std", "method")
    }
    made = CondensedSet(**parts, size=torch.Size([8, 8]))
    assert made.checksum == tiny_set.checksum


def test_a_selection_gives_a_set_that_says_so(tiny_set: CondensedSet, tmp_path: Path) -> None:
    chosen = select(tiny_set, rule="hard", scores=torch.arange(36.0), ipc=1)
    whole = yoco.prune(tiny_set, rule="hard", scores=torch.arange(36.0), ipc=1)
    chosen.save(tmp_path / "chosen.npz")
    for small in (chosen.of(tiny_set), Selection.load(tmp_path / "chosen.npz").of(tiny_set)):
        assert (small.order, small.history) == (whole.order, whole.history)
        assert torch.equal(small.scores, whole.scores)
        assert "hard" in report(small)


def items(side: int, count: int) -> list[tuple[np.ndarray, int]]:
    """Images of several sizes."""
    draws = np.random.default_rng(side)
    return [(draws.integers(0, 256, (side + at % 3, side, 3), dtype=np.uint8), at % 2) for at in range(count)]


def test_data_from_python_are_brought_into_the_form_of_the_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., str]
) -> None:
    data = {"train": items(9, 12), "test": items(10, 6)}
    made = yoco.condense(data, "random", ipc=1, size=6, grey=True, progress=False)
    assert yoco.evaluate(made, data, epochs=1, **QUICK).same_data
    assert yoco.condense.relabel(made, data, epochs=1, network="mlp:width=4", progress=False).soft_labels is not None
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train").mkdir()
    rule = "evaluate: data must be given again for a set made from Python objects, got none"
    with pytest.raises(ValueError, match=rf"^{rule}$"):
        yoco.evaluate(made, epochs=1, **QUICK)
    made.save("set.safetensors")
    assert fails("evaluate", "set.safetensors") == f"yoco: {rule}\n"


def test_sources_from_python_are_not_looked_for_by_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by that of a part, nor by that of a folder, which may be another one where somebody else works."""
    parts = yoco.data.load({"train": items(9, 12), "test": items(10, 6)}, size=8)
    birds = Splits(*(replace(half, name="birds") for half in parts))
    monkeypatch.chdir(tmp_path)
    for data in (parts, parts.train, birds):
        made = yoco.condense(data, "random", ipc=1, progress=False)
        with pytest.raises(
            ValueError, match=r"^evaluate: data must be given again for a set made from Python objects, got none$"
        ):
            yoco.evaluate(made, epochs=1, **QUICK)


def test_a_set_of_a_source_with_a_known_name_finds_its_data() -> None:
    made = yoco.condense(yoco.data.load("digits").train, "random", ipc=1, progress=False)
    assert yoco.evaluate(made, epochs=1, **QUICK).data == "digits"


def test_splits_are_brought_into_the_form_of_the_set(tmp_path: Path, fails: Callable[..., str]) -> None:
    digits = yoco.data.load("digits")
    seen: list[dict[str, Any]] = []

    def look(progress: Any) -> None:
        seen.append(progress.condensed().form)

    how: dict[str, Any] = {"episodes": 1, "network": "mlp:width=4", "real_batch": 8, "progress": False}
    made = yoco.condense(digits, "dm", ipc=1, size=6, callbacks=(look,), **how)
    assert seen == [made.form] == [{"size": 6, "grey": False}]
    made.save(tmp_path / "set.safetensors")
    said = fails("evaluate", str(tmp_path / "set.safetensors"), "--size", "8")
    assert said == "yoco: evaluate: size must be that of the set, 6, got 8\n"
    assert yoco.evaluate(made, digits, epochs=1, **QUICK).same_data
