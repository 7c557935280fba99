"""The tables that the README has of results: words beside the numbers say what holds for these."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


def test_step_sizes_have_fallen_where_nearly_all_episodes_were_done(experiment: Callable[[str], Any]) -> None:
    table = experiment("readme_methods")
    steps = {"readout": [850, 800], "sre2l": [330], "pdd": [69], "frepo": [372], "rded": [2]}
    ends = {method: {"steps": done} for method, done in steps.items()}
    changed = {"readout": {"episodes": 850}, "sre2l": {"squeeze": 1, "episodes": 1001}, "pdd": {"episodes": 110}}
    changed |= {"rded": {"episodes": 2}, "mtt": {"count": 1}}
    fallen, short, others = table.falling(ends, changed)
    assert fallen == "Step sizes that fall over a whole run have fallen at the end of these minutes with `readout`."
    assert short == "They have not fallen to their end with `sre2l` (330 of 1,001 episodes)."
    assert others == "Those of `frepo`, whose published runs are far longer, hardly fall."
    (alone,) = table.falling({"sre2l": ends["sre2l"]}, changed)
    assert alone == short.replace("They", "Step sizes that fall over a whole run")
    said = table.changes(table.fitted(ends, changed))
    assert said == (
        "`readout` episodes 850 (825 done); `sre2l` squeeze 1, episodes 1001 (330 done); `pdd` episodes 110 (69 done);"
        " `rded` episodes 2; `mtt` count 1"
    )
    assert changed["pdd"] == {"episodes": 110}
    assert table.stages(ends, changed) == ["Of the 5 stages of `pdd` 3 were done."]
    whole: dict[str, Any] = {"pdd": {"steps": [110, 110]}}
    assert table.stages(whole, changed) == table.stages(ends, {}) == table.stages({}, changed) == []


def test_a_column_has_the_latest_stop_of_each_seed(experiment: Callable[[str], Any]) -> None:
    latest = experiment("readme_methods").latest
    first = {"stop": 4, "seed": [0, 1, 1], "minutes": [10.1, 4.0, 4.0], "steps": [5, 2, 2], "last": [70.0, 60.0, 61.0]}
    second = {"stop": 10, "seed": [1, 1], "minutes": [9.9, 9.9], "steps": [6, 6], "last": [72.0, 74.0]}
    found = {"last": [70.0, 72.0, 74.0], "steps": [5, 6, 6], "last_mean": 72.0, "last_std": 2.0}
    assert latest([first, second]) == latest([first, second], 12.5) == found
    within = latest([first, second], 5.0)
    assert (within["last"], within["steps"], within["last_mean"]) == ([60.0, 61.0], [2, 2], 60.5)
    assert latest([first, second], 3.0) == {}


@pytest.mark.parametrize(
    ("name", "one", "two"),
    [
        ("resize_sets", "Each judges another set of the method,", "Each 2 judge another set of the method,"),
        ("methods_digits", "Each network judges a set of its own.", "Each set is judged by 2 networks."),
    ],
)
def test_how_many_networks_judge_a_set(experiment: Callable[[str], Any], name: str, one: str, two: str) -> None:
    def said(**changes: int) -> str:
        return "\n".join(experiment("readme").TABLES[name]({**content, **changes}))

    content = json.loads((EXPERIMENTS / "results" / f"{name}.json").read_text())
    assert content.pop("networks_per_set") == 1
    assert said() == said(networks_per_set=1)
    assert one in said()
    assert said(networks_per_set=2) == said().replace(one, two)


def test_the_teachers_of_the_methods_that_are_there(experiment: Callable[[str], Any]) -> None:
    def said(*methods: str) -> str:
        rows = [row for row in content["rows"] if row["method"] in methods]
        last = experiment("readme_methods").methods_fashion({**content, "rows": rows})[-1]
        return str(last).removeprefix("updates behind it.")

    content = json.loads((EXPERIMENTS / "results" / "methods_fashion.json").read_text())
    assert said("rded", "sre2l", "dm") == " Of `rded` all, of `sre2l` the first are epochs of a teacher."
    assert said("rded", "dm") == " Of `rded` all are epochs of a teacher."
    assert said("sre2l") == " Of `sre2l` the first are epochs of a teacher."
    assert said("dm") == ""


def test_a_dash_stands_for_a_coreset_that_is_not_judged_yet(experiment: Callable[[str], Any]) -> None:
    content = json.loads((EXPERIMENTS / "results" / "coreset_fashion.json").read_text())
    missing = [row for row in content["rows"] if (row["way"], row["keep"]) != ("easy", 0.05)]
    full, part = (
        experiment("readme").coreset_fashion({**content, "rows": rows}) for rows in (content["rows"], missing)
    )
    (changed,) = [(old, new) for old, new in zip(full, part, strict=True) if old != new]
    cells = changed[0].split(" | ")
    assert changed[1] == " | ".join([*cells[:2], "-", *cells[3:]])


def test_the_road_says_how_many_networks_judged_on_test_images(experiment: Callable[[str], Any]) -> None:
    def said(*counts: int) -> str:
        tests = [{"test": [80.0] * many, "test_mean": 80.0, "test_std": 0.0} if many else {} for many in counts]
        row = {"try": "a", "steps": 1, "processor_seconds": 60.0, "last": [80.0], "last_mean": 80.0, "last_std": 0.0}
        content = {"ipc": 1, "epochs": 2, "held_back": 300, "rows": [{**row, **test} for test in tests]}
        return " ".join(experiment("readme").road(content))

    assert "held back, and of 2 or 3 on the test images, by which" in said(3, 0, 2, 3)
    assert "held back, and of 3 on the test images, by which" in said(3)
    assert said(0).endswith("training images that were held back.")


@pytest.mark.parametrize("name", ["prune_benchmark", "solver_speed"])
def test_peaks_of_memory_are_in_mib(experiment: Callable[[str], Any], name: str) -> None:
    content = json.loads((EXPERIMENTS / "results" / f"{name}.json").read_text())
    lines = experiment("readme").TABLES[name](content)
    assert "MiB" in lines[0]
    assert not any(word in " ".join(lines) for word in ("MB", "egabytes"))
