"""Baselines in a comparison of runs: networks that do not depend on the sets that they stand beside."""

import json
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
import yaml

from yoco.condensed import CondensedSet
from yoco.data.source import Splits
from yoco.evaluate import evaluate
from yoco.report import compare
from yoco.report.tables import spread

SAID = "over sets, that of baselines (random, full), which do not depend on the sets, over networks; "


def save(made: CondensedSet, folder: Path) -> Path:
    """The folder of a run of this set, and where its evaluation belongs."""
    folder.mkdir()
    made.save(folder / "condensed.safetensors")
    (folder / "config.yaml").write_text(yaml.safe_dump({"data": "digits", "method": "dm", "seed": made.seed}))
    return folder / "evaluation-condensed-idc.json"


def rows(page: str) -> dict[tuple[str, str], list[str]]:
    """Of a page by training set and protocol: sets, last and best; the runs differ in no setting."""
    cells = [line.strip("| ").split(" | ") for line in page.splitlines()[4:] if line.startswith("|")]
    return {(name, protocol): numbers for name, _, protocol, _, _, *numbers in cells}


def test_networks_of_a_baseline_count_once_beside_several_sets(
    tiny: Splits, tiny_set: CondensedSet, tmp_path: Path
) -> None:
    how: dict[str, Any] = {"networks": "mlp:width=8", "epochs": 1, "full_epochs": 1, "progress": False, "device": "cpu"}
    found = []
    for seed in range(3):
        made = replace(tiny_set, cells=tiny_set.cells * (0.9 - 0.2 * seed), seed=seed)
        found.append(evaluate(made, tiny, baselines=("random", "full"), **how))
        found[seed].save(save(made, tmp_path / str(seed)))
    own, *beside = found[0].results
    assert all(result.results[1:] == tuple(beside) for result in found)
    page = compare(*(tmp_path / str(seed) for seed in range(3)), out=tmp_path)[0].read_text(encoding="utf-8")
    means = [[fmean(values) for values in (result.results[0].last, result.results[0].best)] for result in found]
    last, best = zip(*means, strict=True)
    said = rows(page)
    assert said.pop((own.name, "idc")) == ["3", spread(last), spread(best)]
    assert said == {(row.name, "idc"): ["-", spread(row.last), spread(row.best)] for row in beside}
    assert SAID in page


def test_random_images_of_other_numbers_of_each_class_are_other_networks(
    tiny_set: CondensedSet, tmp_path: Path
) -> None:
    falling = tiny_set.take(torch.cat([torch.arange(12), torch.arange(12, 20), torch.arange(24, 28)]))
    rising = tiny_set.take(torch.cat([torch.arange(4), torch.arange(12, 20), torch.arange(24, 36)]))
    sets = {"a": falling, "b": rising, "c": replace(falling, cells=falling.cells * 0.9, seed=1)}
    accuracies = {
        "a": ([60.0, 62.0], [90.0, 92.0]),
        "b": ([70.0, 72.0], [90.0, 92.0]),
        "c": ([62.0, 64.0], [92.0, 94.0]),
    }
    how: dict[str, Any] = {"network": "convnet", "images": 6, "epochs": 1000}
    for name, made in sets.items():
        seeds = [1, 2] if name == "c" else [0, 1]
        parts = zip(("random", "full"), accuracies[name], strict=True)
        results = [{**how, "name": part, "seeds": seeds, "last": last, "best": last} for part, last in parts]
        place, found = save(made, tmp_path / name), {"protocol": "idc", "results": results}
        place.write_text(json.dumps(found))
        place.with_name("evaluation-bf16-idc.json").write_text(json.dumps({**found, "bf16": True}))
    said = rows(compare(*(tmp_path / name for name in sets), out=tmp_path)[0].read_text(encoding="utf-8"))
    drawn, whole = spread([60.0, 62.0, 64.0, 70.0, 72.0]), spread([90.0, 92.0, 94.0])
    wanted = {"random": ["-", drawn, drawn], "full": ["-", whole, whole]}
    assert said == {(name, way): wanted[name] for name in wanted for way in ("idc", "idc, bfloat16")}


def test_a_page_without_baselines_says_nothing_of_them(tiny_set: CondensedSet, tmp_path: Path) -> None:
    row = {"name": "condensed", "network": "convnet", "images": 36, "epochs": 250, "last": [70.0], "best": [71.0]}
    for seed in range(2):
        place = save(replace(tiny_set, seed=seed), tmp_path / str(seed))
        place.write_text(json.dumps({"protocol": "idc", "results": [row]}))
    page = compare(tmp_path / "0", tmp_path / "1", out=tmp_path)[0].read_text(encoding="utf-8")
    assert rows(page) == {("condensed", "idc"): ["2", "70.00 ± 0.00", "71.00 ± 0.00"]}
    assert "over sets; `best`" in page
