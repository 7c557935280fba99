"""The tables of the methods beside each other, for readme.py; what the papers report stands with them."""

from math import inf
from statistics import mean
from typing import Any

import result
from rows import head, line, listed, spread_of, thread_count

PUBLISHED = {
    ("dc", 1): ("70.5 ± 0.6", 1000),
    ("dc", 10): ("82.3 ± 0.4", 10_000),
    ("dsa", 1): ("70.6 ± 0.6", 1000),
    ("dsa", 10): ("84.6 ± 0.3", 10_000),
    ("idc", 1): ("81.0", 200_000),
    ("idc", 10): ("86.0", 200_000),
}
"""(method, images per class) -> accuracy on Fashion-MNIST, from the READMEs of the authors' code, and updates of all
classes that its settings make: VICO-UoE/DatasetCondensation for DC and DSA, and for IDC
snu-mllab/Efficient-Dataset-Condensation."""
TAUGHT = {"rded": "`rded` all", "sre2l": "`sre2l` the first"}
"""method -> it, and which of its updates are epochs of a teacher."""
FALLING = ("frepo", "readout", "sre2l")
"""Methods whose step size of the pixels falls over all episodes of a run."""
STAGES = 5
"""Stages of `pdd`, as published, which share out its episodes."""
FALLEN = 0.9
"""The share of the episodes after which it has fallen, or nearly."""


def methods_digits(content: dict[str, Any]) -> list[str]:
    """Accuracy of every method by size; seconds and bytes at the largest."""
    rows, sizes = content["rows"], sorted({row["ipc"] for row in content["rows"]})
    lines = head("method", sizes)
    lines = [f"{lines[0]} labels | seconds | bytes |", f"{lines[1]}---|---|---|"]
    for method in dict.fromkeys(row["method"] for row in rows):
        last = max((row for row in rows if row["method"] == method), key=lambda row: row["ipc"])
        cost = f"{last['labels']} | {last['cpu_seconds_mean']:.1f} | {last['bytes']:,}"
        lines.append(f"{line(rows, f'`{method}`', method, sizes, 'method')} {cost} |")
    for row in content["full"]:
        lines.append(
            f"| {row['method']}{' | -' * (len(sizes) - 1)} | {result.plus(row, 'last')} | hard | - | {row['bytes']:,} |"
        )
    many = content.get("networks_per_set", 1)
    seeds = "Each network judges a set of its own." if many == 1 else f"Each set is judged by {many} networks."
    failed = sorted({f"`{row['method']}` at {row['ipc']} per class ({row['failed']})" for row in content["failed"]})
    return [
        *lines,
        "",
        f"{spread_of(content)} {seeds} Seconds of one thread,",
        "and bytes of pixels (float32) and labels, both at the largest size. All training images, a byte a pixel:",
        f"{content['full_epochs']} epochs.{' Without a set: ' + '; '.join(failed) + '.' if failed else ''}",
        f"All are judged by protocol `{content['protocol']}` on the labels that the set holds, not by the protocols of",
        "their papers.",
        "Settings for digits, of which papers have none, are our own, and were tried on these test images.",
    ]


def methods_fashion(content: dict[str, Any]) -> list[str]:
    """The accuracies behind the figure: the latest that was there within a quarter more than the minutes."""
    ipc, groups = content["ipc"], dict[str, list[dict[str, Any]]]()
    content = {**content, "rows": [row for row in content["rows"] if row["ipc"] == ipc]}
    names = " | ".join(f"{stop:g} min" for stop in content["stops"])
    lines = [
        f"| method | {names} | updates | published | its updates | labels | bytes |",
        "|---" * (len(content["stops"]) + 6) + "|",
    ]
    for row in sorted(content["rows"], key=lambda row: row["stop"]):
        groups.setdefault(row["method"], []).append(row)
    ends = {method: latest(rows) for method, rows in groups.items()}
    for method, rows in sorted(groups.items(), key=lambda each: -ends[each[0]]["last_mean"]):
        there = [latest(rows, 1.25 * stop) for stop in content["stops"]]
        cells = " | ".join(result.plus(each, "last") if each else "-" for each in there)
        accuracy, updates = PUBLISHED.get((method, ipc), ("-", 0))
        compute = f"{mean(ends[method]['steps']):,.0f} | {accuracy} | {f'{updates:,}' if updates else '-'}"
        lines.append(f"| `{method}` | {cells} | {compute} | {rows[-1]['labels']} | {rows[-1]['bytes']:,} |")
    changed, processor = changes(fitted(ends, content["changed"])), content.get("processor")
    judged = " and ".join(content.get("judged_on", ["cpu"]))
    named = {method.partition(":")[0] for method in groups}
    taught = ", of ".join(words for name, words in TAUGHT.items() if name in named)
    return [
        *lines,
        "",
        spread_of(content),
        f"Minutes of {thread_count(content['threads'])} in {content['computed_in']}"
        f"{f' on a processor with {processor}' if processor else ''}, with all that a method trains. Episodes",
        "are not interrupted: a set counts for a column if it was ready within 1.25 times its minutes; a dash means",
        "that none was. Earlier columns are the same runs on their way. A method that was done earlier keeps its",
        "accuracy.",
        f"All are judged by protocol `{content['protocol']}` on the labels that the set holds, not by the protocols of",
        "their papers.",
        "Settings are published ones, of CIFAR-10 where a paper has none for these data; `readout`, which has no",
        "paper, was tried on training images of these data that were held back.",
        *([f"Fitted to the minutes: {changed}."] if changed else []),
        *falling(ends, content["changed"]),
        *stages(ends, content["changed"]),
        *([f"The networks that judge the sets were trained on {judged}."] if judged != "cpu" else []),
        "Updates: of all classes, by the last stop. Published: what the READMEs of the authors' code report, and the",
        f"updates behind it.{f' Of {taught} are epochs of a teacher.' if taught else ''}"
        f"{' Of `m3d` they are networks, with five updates each.' if 'm3d' in groups else ''}",
    ]


def latest(rows: list[dict[str, Any]], minutes: float = inf) -> dict[str, Any]:
    """The last stop of each seed that came within the minutes, as one row: accuracies and steps; empty without any.

    rows: of one method, by rising stop.
    """
    there = [
        (seed, row["stop"], last, steps)
        for row in rows
        for seed, spent, last, steps in zip(row["seed"], row["minutes"], row["last"], row["steps"], strict=True)
        if spent <= minutes
    ]
    ends = {seed: stop for seed, stop, _, _ in there}
    found = [(last, steps) for seed, stop, last, steps in there if stop == ends[seed]]
    last, steps = ([pair[part] for pair in found] for part in (0, 1))
    return {"last": last, "steps": steps, **result.spread("last", last)} if found else {}


def falling(ends: dict[str, dict[str, Any]], changed: dict[str, dict[str, Any]]) -> list[str]:
    """Whose step sizes are made to fall within the minutes, as the number of episodes is fitted to them, and have."""
    found = [method for method in ends if method.partition(":")[0] in FALLING]
    asked = {method: changed[method]["episodes"] for method in found if "episodes" in changed.get(method, {})}
    done = {method: mean(ends[method]["steps"]) for method in asked}
    fallen = [f"`{method}`" for method, many in asked.items() if done[method] >= FALLEN * many]
    short = [f"`{m}` ({done[m]:,.0f} of {many:,} episodes)" for m, many in asked.items() if done[m] < FALLEN * many]
    others = [f"`{method}`" for method in found if method not in asked]
    sizes = "Step sizes that fall over a whole run"
    said = [f"{sizes} have fallen at the end of these minutes with {listed(fallen)}."] if fallen else []
    less = [f"{'They' if fallen else sizes} have not fallen to their end with {listed(short)}."] if short else []
    hardly = [f"Those of {listed(others)}, whose published runs are far longer, hardly fall."] if others else []
    return [*said, *less, *hardly]


def stages(ends: dict[str, dict[str, Any]], changed: dict[str, dict[str, Any]]) -> list[str]:
    """How many stages of `pdd` are done, where its episodes, fitted to the minutes, did not all come to be."""
    asked = changed.get("pdd", {}).get("episodes") if "pdd" in ends else None
    whole = int(STAGES * mean(ends["pdd"]["steps"]) / asked) if asked else STAGES
    return [f"Of the {STAGES} stages of `pdd` {whole} were done."] if whole < STAGES else []


def fitted(ends: dict[str, dict[str, Any]], changed: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What is changed in each method, with how many episodes were done, where those are fewer."""
    made = {method: dict(each) for method, each in changed.items()}
    for method, end in ends.items():
        asked, done = made.get(method, {}).get("episodes", 0), round(mean(end["steps"]))
        if done < asked:
            made[method]["episodes"] = f"{asked} ({done} done)"
    return made


def changes(made: dict[str, dict[str, Any]]) -> str:
    """The settings of each method that are not as published, or the options of each rule."""
    return "; ".join(
        f"`{method}` {', '.join(f'{name} {value}' for name, value in each.items())}" for method, each in made.items()
    )
