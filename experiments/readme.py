"""Write the tables of the README and of the pages in docs anew from the result files.

python experiments/readme.py           # writes them
python experiments/readme.py --check   # fails when one is not up to date
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import prune_benchmark
import readme_methods
import readme_sparse
import result
from rows import gain, head, line, listed, spread_of

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


def idc_fashion(content: dict[str, Any]) -> list[str]:
    """Accuracy at each stop, and what a step takes."""
    lines = ["| inner steps | minutes | last accuracy | best of the measured epochs |", "|---|---|---|---|"]
    lines += [
        f"| {row['steps']} | {row['minutes']:g} | {result.plus(row, 'last')} | {result.plus(row, 'best')} |"
        for row in content["rows"]
    ]
    pace, first, made_in = content["inner_step"], content["rows"][0], content.get("condensed_in", "float32")
    took = " and ".join(f"{each['seconds']} s in {name}" for name, each in pace.items())
    lines += [
        "",
        f"Per cent; mean and standard deviation of {len(content['seeds'])} networks at the last stop, one network",
        f"before; {first['epochs']} epochs. An inner step took",
        f"{took} on",
        f"{content['cores']} cores by itself, the quickest of five; minutes are steps times that of {made_in},",
        f"in which the set was made; on the clock it took {content['rows'][-1]['wall_seconds'] / 60:.1f}.",
        f"The networks that judge were run in {content['evaluated_in']}.",
    ]
    return lines


def table1(content: dict[str, Any]) -> list[str]:
    """Accuracy by rule and size, the ablation of YOCO's two rules, and whether the paper's order holds."""
    rows, sizes = content["rows"], sorted({row["ipc"] for row in content["rows"]})
    lines = [*head("rule", sizes), *(line(rows, way, way, sizes) for way in content["rules"]), ""]
    cut = [ipc for ipc in sizes if any((row["way"], row["ipc"]) == ("easy", ipc) for row in rows)]
    lines += [*head("ablation of YOCO", cut), *(line(rows, n, w, cut) for n, w in content["ablation"].items()), ""]
    counts = sorted({len(row["last"]) for row in rows})
    return [
        *lines,
        f"Last accuracy in per cent, mean and standard deviation of {' or '.join(map(str, counts))} networks",
        f"({max(row['run'][-1] for row in rows) + 1} trainings that rank, {len(content['seeds'])} seeds that judge),",
        f"{content['epochs']} epochs, in {content['computed_in']}; dynamics of {content['dynamics']['epochs']} epochs.",
        "Rules are those of YOCO's code, `--mode repo` of those that have one: all but `yoco` choose over the whole",
        "set, the hardest first but for `random`, `ssp` and `ccs`; `ssp` takes medoids, `ccs` has its betas of",
        "CIFAR-10, and `easy` of the ablation is `--rule easy --score lbpe --passes train`.",
        *order(content),
        *([f"The whole set: {result.plus(content['whole'], 'last')}."] if "whole" in content else []),
    ]


def order(content: dict[str, Any]) -> list[str]:
    """Where the paper's order holds in the mean, and by how little; and what is best at each size."""
    held = [each["ipc"] for each in content["order"] if each["yoco_ccs_random"]]
    where = f"in the mean at {listed(held)} per class" if held else "at no size"
    lines, gaps = [f"The paper's order, yoco above ccs above random, holds {where}."], []
    for ipc, above, below in [(ipc, *pair) for ipc in held for pair in (("yoco", "ccs"), ("ccs", "random"))]:
        if found := gain([row for row in content["rows"] if row["ipc"] == ipc], above, below):
            gaps.append((found["points"], found["standard_error"], f"from {above} to {below} at {ipc}"))
    if gaps:
        points, error, where = min(gaps)
        lines.append(f"The smallest gap in it, {where}, is {points:.2f}, with a standard error of {error:.2f} over the")
        lines.append("rankings.")
    best: dict[str, list[int]] = {}
    for each in content["order"]:
        for way in each["best_first"][:1]:
            best.setdefault(way, []).append(each["ipc"])
    words = ", ".join(f"`{way}` at {listed(at)} per class" for way, at in best.items())
    return [*lines, *([f"Best of the rules of the first table in the mean: {words}."] if best else [])]


def beat_yoco(content: dict[str, Any]) -> list[str]:
    """Accuracy of the rules at all sizes, and the mean gains over YOCO's and, where it was judged, over ssp."""
    sizes = sorted({row["ipc"] for row in content["rows"]})
    ways = list(dict.fromkeys(row["way"] for row in content["rows"]))
    found = {
        (way, base): gain(content["rows"], way, base)
        for base in ("yoco", "ssp")
        for way in ways
        if base in ways and way not in ("yoco", base)
    }
    gains = [
        f"`{way}` is {points['points']:+.2f} points above `{base}` in the mean over the sizes, with a standard error of"
        f" {points['standard_error']:.2f} over {points['rankings']} rankings, of one set."
        for (way, base), points in found.items()
        if points
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


def resize_sets(content: dict[str, Any]) -> list[str]:
    """Accuracy by set, way and size, and the figure."""
    rows, sizes = content["rows"], sorted({row["ipc"] for row in content["rows"]})
    many = content.get("networks_per_set", 1)
    judge = "Each judges another set of the method," if many == 1 else f"Each {many} judge another set of the method,"
    lines = head("set | smaller sets", sizes)
    for method, way in dict.fromkeys((row["set"], row["way"]) for row in rows):
        mine = [row for row in rows if row["set"] == method]
        lines.append(line(mine, f"`{method}` | {way}", way, sizes))
    return [
        *lines,
        "",
        f"On {content['data']}. {spread_of(content)} {judge}",
        "whose settings for digits were tried on these test images.",
        "",
        "![accuracy against size of sets made in three ways](experiments/results/resize_sets.png)",
    ]


def coreset_fashion(content: dict[str, Any]) -> list[str]:
    """Accuracy by rule and share, and the options of the rules."""
    shares = sorted({row["keep"] for row in content["rows"]})
    lines = [f"| rule | {' | '.join(f'{100 * keep:g} %' for keep in shares)} |", "|---" * (len(shares) + 1) + "|"]
    for way in dict.fromkeys(row["way"] for row in content["rows"]):
        found = {row["keep"]: result.plus(row, "last") for row in content["rows"] if row["way"] == way}
        lines.append(f"| {way} | {' | '.join(found.get(keep, '-') for keep in shares)} |")
    beta = content["rules"].get("d2", {}).get("beta")
    changed = readme_methods.changes({way: made for way, made in content["rules"].items() if made})
    d2 = "" if beta else "; `d2` without the removal of the hardest samples that its authors put first"
    return [
        *lines,
        "",
        f"Last accuracy in per cent of `{content['network']}` after about {content['steps']:,} steps of at most 64",
        f"images, by protocol `{content['protocol']}`; mean and standard deviation of {len(content['seeds'])}",
        f"networks. One network, watched for {content['dynamics']['epochs']} epochs, ranks for all rules{d2}.",
        *([f"Options beside `--rule`: {changed}."] if changed else []),
    ]


def road(content: dict[str, Any]) -> list[str]:
    """What was tried, and what it gave."""
    lines = ["| tried | steps | processor minutes | held back | test |", "|---|---|---|---|---|"]
    lines += [road_line(row) for row in content["rows"]]
    judges = " or ".join(str(many) for many in sorted({len(row["test"]) for row in content["rows"] if "test" in row}))
    size = "1 image" if content["ipc"] == 1 else f"{content['ipc']} images"
    tested = [
        f"images that were held back, and of {judges} on the test images, by which no try was chosen; some were looked",
        "at before later tries were thought of.",
    ]
    return [
        *lines,
        "",
        f"{size} per class with factor 2; labels of `readout` are learned unless it says otherwise,",
        f"all others hard. Accuracy of one network, {content['epochs']} epochs, on {content['held_back']:,} training",
        *(tested if judges else ["images that were held back."]),
    ]


def road_line(row: dict[str, Any]) -> str:
    """One try."""
    test = result.plus(row, "test") if "test" in row else "-"
    spent = f"{row['processor_seconds'] / 60:.1f}"
    return f"| {row['try']} | {row['steps']:,} | {spent} | {result.plus(row, 'last')} | {test} |"


def road_best(content: dict[str, Any]) -> list[str]:
    """The figure of all tries, and the start and those that the test images judged."""
    first = ("mixed start", "regression, three times as long")
    shown = [row for row in content["rows"] if "test" in row or row["try"] in first]
    return [
        "![held-back accuracy against processor minutes](experiments/results/road.png)",
        "",
        *road({**content, "rows": shown}),
    ]


TABLES = {
    "idc_fashion": idc_fashion,
    "table1_fashion": table1,
    "table1_digits": table1,
    "beat_yoco": beat_yoco,
    "resize_curve": resize_curve,
    "resize_sets": resize_sets,
    "road": road,
    "road_1": road,
    "road_50": road,
    "road_float32": road,
    "road_1_float32": road,
    "road_best": road_best,
    "cross_architecture": cross_architecture,
    "cross_architecture_fashion": cross_architecture,
    "coreset_fashion": coreset_fashion,
    "prune_benchmark": prune_benchmark.table,
    "lobs_table": readme_sparse.lobs_table,
    "condensed_calibration": readme_sparse.condensed_calibration,
    "npb_table": readme_sparse.npb_table,
    "solver_speed": readme_sparse.solver_speed,
    "methods_digits": readme_methods.methods_digits,
    "methods_fashion": readme_methods.methods_fashion,
    "methods_fashion_1": readme_methods.methods_fashion,
}


FILES = {"road_best": "road"}
"""table -> the result that it shows, where that has another name"""


def filled(text: str) -> str:
    """A page with its tables; one without a result file stays empty."""
    for name, table in TABLES.items():
        path = result.FOLDER / f"{FILES.get(name, name)}.json"
        lines = table(json.loads(path.read_text())) if path.is_file() else ["*Not measured yet.*"]
        block = "\n".join([f"<!-- results:{name} -->", *lines, "<!-- end -->"])
        text = re.sub(rf"<!-- results:{name} -->.*?<!-- end -->", lambda _, block=block: block, text, flags=re.DOTALL)
    return text


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, and fail where a page is not up to date")
    check = parser.parse_args().check
    for page in PAGES:
        before = page.read_text()
        if check and filled(before) != before:
            sys.exit(f"{page.name} is not up to date: run python experiments/readme.py")
        page.write_text(filled(before))
