"""Write the README's tables anew from the result files.

python experiments/readme.py           # writes README.md
python experiments/readme.py --check   # fails when it is not up to date
"""

import json
import re
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import readme_sparse
import result

README = Path(__file__).parents[1] / "README.md"


def idc_fashion(content: dict[str, Any]) -> list[str]:
    """Accuracy at each stop, and what a step takes."""
    lines = ["| inner steps | minutes | last accuracy | best of the measured epochs |", "|---|---|---|---|"]
    lines += [
        f"| {row['steps']} | {row['minutes']:g} | {result.plus(row, 'last')} | {result.plus(row, 'best')} |"
        for row in content["rows"]
    ]
    pace, first, made_in = content["inner_step"], content["rows"][0], content.get("condensed_in", "float32")
    lines += [
        "",
        f"Per cent; mean and standard deviation of {len(content['seeds'])} networks at the last stop, one network",
        f"before; {first['epochs']} epochs, as many image passes as 1,000 of whole images. An inner step took",
        f"{pace['float32']['seconds']} s in float32 and {pace['bfloat16']['seconds']} s in bfloat16 on",
        f"{content['cores']} cores by itself; minutes are steps times that of {made_in}, in which the set was made.",
        f"The networks that judge were run in {content['evaluated_in']}.",
    ]
    return lines


def table1(content: dict[str, Any]) -> list[str]:
    """Accuracy by rule and size, the ablation of YOCO's two rules, and whether the paper's order holds."""
    rows, sizes = content["rows"], sorted({row["ipc"] for row in content["rows"]})
    lines = [*head("rule", sizes), *(line(rows, way, way, sizes) for way in content["rules"]), ""]
    cut = [ipc for ipc in sizes if any((row["way"], row["ipc"]) == ("easy", ipc) for row in rows)]
    lines += [*head("ablation of YOCO", cut), *(line(rows, n, w, cut) for n, w in content["ablation"].items()), ""]
    held = [str(each["ipc"]) for each in content["order"] if each["yoco_ccs_random"]]
    counts = sorted({len(row["last"]) for row in rows})
    return [
        *lines,
        f"Last accuracy in per cent, mean and standard deviation of {' or '.join(map(str, counts))} networks",
        f"({max(row['run'][-1] for row in rows) + 1} trainings that rank, {len(content['seeds'])} seeds that judge),",
        f"{content['epochs']} epochs, in {content['computed_in']}; dynamics of {content['dynamics']['epochs']} epochs.",
        "Directions and balance are the paper's: all but `yoco` choose over the whole set, the hardest first but for",
        "`random`, `ssp` and `ccs`. The paper's order, yoco above ccs above random, holds at "
        + (f"{' and '.join(held)} per class." if held else "no size."),
        *([f"The whole set: {result.plus(content['whole'], 'last')}."] if "whole" in content else []),
    ]


def head(first: str, sizes: list[Any]) -> list[str]:
    """The first two lines of a table."""
    columns = " | ".join(f"{ipc} per class" for ipc in sizes)
    return [f"| {first} | {columns} |", "|---" * (len(sizes) + 1) + "|"]


def line(rows: list[dict[str, Any]], name: str, way: str, sizes: list[Any], by: str = "way") -> str:
    """One way at all sizes."""
    found = {row["ipc"]: result.plus(row, "last") for row in rows if row[by] == way}
    return f"| {name} | {' | '.join(found.get(ipc, '-') for ipc in sizes)} |"


def beat_yoco(content: dict[str, Any]) -> list[str]:
    """Accuracy of the rules at all sizes, and the mean gain with its standard error."""
    sizes = sorted({row["ipc"] for row in content["rows"]})
    ways = list(dict.fromkeys(row["way"] for row in content["rows"]))
    gains = [
        f"`{way}` is {gain['points']:+.2f} points above YOCO in the mean over the sizes, with a standard error of"
        f" {gain['standard_error']:.2f}."
        for way, gain in content["gain"].items()
    ]
    return [
        *head("rule", sizes),
        *(line(content["rows"], way, way, sizes) for way in ways),
        "",
        *gains,
        spread_of(content),
    ]


def cross_architecture(content: dict[str, Any]) -> list[str]:
    """Accuracy of other networks on the pruned sets."""
    sizes = sorted({row["ipc"] for row in content["rows"]})
    lines = head("trained on the set | rule", sizes)
    lines[1] += "---|"
    for network in content["networks"]:
        mine = [row for row in content["rows"] if row["network"] == network]
        lines += [line(mine, f"{network} | {way}", way, sizes) for way in dict.fromkeys(row["way"] for row in mine)]
    return [*lines, "", f"On {content['data']}, ranked with a ConvNet. {spread_of(content)}"]


def resize_curve(content: dict[str, Any]) -> list[str]:
    """The figure."""
    return [
        "![accuracy against size](experiments/results/resize_curve.png)",
        "",
        f"On {content['data']}. {spread_of(content)}",
    ]


def coreset_fashion(content: dict[str, Any]) -> list[str]:
    """Accuracy by rule and share."""
    shares = sorted({row["keep"] for row in content["rows"]})
    lines = [f"| rule | {' | '.join(f'{100 * keep:g} %' for keep in shares)} |", "|---" * (len(shares) + 1) + "|"]
    for way in dict.fromkeys(row["way"] for row in content["rows"]):
        found = {row["keep"]: result.plus(row, "last") for row in content["rows"] if row["way"] == way}
        lines.append(f"| {way} | {' | '.join(found[keep] for keep in shares)} |")
    return [
        *lines,
        "",
        f"Last accuracy in per cent of `{content['network']}` after {content['steps']:,} steps of 64 images; mean and",
        f"standard deviation of {len(content['seeds'])} networks. One network, watched for",
        f"{content['dynamics']['epochs']} epochs, ranks for all rules.",
    ]


def prune_benchmark(content: dict[str, Any]) -> list[str]:
    """Time and memory of every rule."""
    return [str(text) for text in content["markdown"]]


def road(content: dict[str, Any]) -> list[str]:
    """What was tried, and what it gave."""
    lines = ["| tried | steps | processor minutes | held back | test |", "|---|---|---|---|---|"]
    for row in content["rows"]:
        minutes = f"{row['processor_seconds'] / 60:.1f}"
        test = result.plus(row, "test") if "test" in row else "-"
        lines.append(f"| {row['try']} | {row['steps']:,} | {minutes} | {result.plus(row, 'last')} | {test} |")
    judges = max((len(row["test"]) for row in content["rows"] if "test" in row), default=0)
    return [
        *lines,
        "",
        f"{content['ipc']} images per class with factor 2; labels of `readout` are learned unless it says otherwise,",
        f"all others hard. Accuracy of one network, {content['epochs']} epochs, on {content['held_back']:,} training",
        f"images that were held back, and of {judges} on the test images, which were looked at when all was decided.",
    ]


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
    failed = sorted({f"`{row['method']}` at {row['ipc']} per class ({row['failed']})" for row in content["failed"]})
    return [
        *lines,
        "",
        f"{spread_of(content)} The seeds are those of the sets, too. Seconds of one thread,",
        "and bytes of pixels (float32) and labels, both at the largest size. All training images:",
        f"{content['full_epochs']} epochs.{' Without a set: ' + '; '.join(failed) + '.' if failed else ''}",
    ]


def methods_fashion(content: dict[str, Any]) -> list[str]:
    """The figure, and the accuracies behind it: the latest that was there within a quarter more than the minutes."""
    lines = ["![accuracy against minutes](experiments/results/methods_fashion.png)", ""]
    names = " | ".join(f"{stop:g} min" for stop in content["stops"])
    lines += [f"| method | per class | {names} | labels | bytes |", "|---" * (len(content["stops"]) + 4) + "|"]
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in sorted(content["rows"], key=lambda row: row["stop"]):
        groups.setdefault((row["method"], row["ipc"]), []).append(row)
    for (method, ipc), rows in sorted(groups.items(), key=lambda each: -each[0][1]):
        there = [[row for row in rows if mean(row["minutes"]) <= 1.25 * stop] for stop in content["stops"]]
        cells = " | ".join(result.plus(each[-1], "last") if each else "-" for each in there)
        lines.append(f"| `{method}` | {ipc} | {cells} | {rows[-1]['labels']} | {rows[-1]['bytes']:,} |")
    changed = "; ".join(
        f"`{method}` {', '.join(f'{name} {value}' for name, value in made.items())}"
        for method, made in content["changed"].items()
    )
    return [
        *lines,
        "",
        spread_of(content),
        f"Minutes of {thread_count(content['threads'])} in {content['computed_in']}, with all that a method trains; an",
        "episode is not cut short: - where none had ended. A method that ends before keeps its accuracy.",
        f"Settings are published ones, but for {changed}.",
    ]


def thread_count(number: int) -> str:
    """One or many."""
    return "one thread" if number == 1 else f"{number} threads"


def spread_of(content: dict[str, Any]) -> str:
    """How many networks stand behind a number."""
    counts = sorted({len(row["last"]) for row in content["rows"]})
    many = " or ".join(map(str, counts))
    whose = "of one network" if counts == [1] else f"mean and standard deviation of {many} networks"
    return f"Last accuracy in per cent, {whose}, {content['epochs']} epochs."


TABLES = {
    "idc_fashion": idc_fashion,
    "table1_fashion": table1,
    "table1_digits": table1,
    "beat_yoco": beat_yoco,
    "resize_curve": resize_curve,
    "road": road,
    "cross_architecture": cross_architecture,
    "cross_architecture_fashion": cross_architecture,
    "coreset_fashion": coreset_fashion,
    "prune_benchmark": prune_benchmark,
    "lobs_table": readme_sparse.lobs_table,
    "condensed_calibration": readme_sparse.condensed_calibration,
    "npb_table": readme_sparse.npb_table,
    "solver_speed": readme_sparse.solver_speed,
    "methods_digits": methods_digits,
    "methods_fashion": methods_fashion,
}


def filled(text: str) -> str:
    """The README with its tables; one without a result file stays empty."""
    for name, table in TABLES.items():
        path = result.FOLDER / f"{name}.json"
        lines = table(json.loads(path.read_text())) if path.is_file() else ["*Not measured yet.*"]
        block = "\n".join([f"<!-- results:{name} -->", *lines, "<!-- end -->"])
        text = re.sub(rf"<!-- results:{name} -->.*?<!-- end -->", lambda _, block=block: block, text, flags=re.DOTALL)
    return text


if __name__ == "__main__":
    before = README.read_text()
    if "--check" in sys.argv and filled(before) != before:
        sys.exit("README.md is not up to date: run python experiments/readme.py")
    README.write_text(filled(before))
