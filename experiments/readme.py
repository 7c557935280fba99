"""Write the README's tables anew from the result files.

python experiments/readme.py           # writes README.md
python experiments/readme.py --check   # fails when it is not up to date
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import result

README = Path(__file__).parents[1] / "README.md"


def idc_fashion(content: dict[str, Any]) -> list[str]:
    """Accuracy at each stop, and what a step takes."""
    lines = ["| inner steps | minutes | last accuracy | best of the measured epochs |", "|---|---|---|---|"]
    lines += [
        f"| {row['steps']} | {row['minutes']:g} | {plus(row, 'last')} | {plus(row, 'best')} |"
        for row in content["rows"]
    ]
    pace, first = content["inner_step"], content["rows"][0]
    lines += [
        "",
        f"Per cent; mean and standard deviation of {len(content['seeds'])} networks at the last stop, one network",
        f"before; {first['epochs']} epochs, as many image passes as 1,000 of whole images. An inner step took",
        f"{pace['float32']['seconds']} s in float32 and {pace['bfloat16']['seconds']} s in bfloat16 on",
        f"{content['cores']} cores by itself; minutes are steps times the former.",
        f"The networks that judge were run in {content['evaluated_in']}.",
    ]
    return lines


def yoco_fashion(content: dict[str, Any]) -> list[str]:
    """Accuracy by rule and size."""
    sizes = sorted({row["ipc"] for row in content["rows"]})
    rules = list(dict.fromkeys(row["rule"] for row in content["rows"]))
    lines = [f"| rule | {' | '.join(f'{ipc} per class' for ipc in sizes)} |", "|---" * (len(sizes) + 1) + "|"]
    for rule in rules:
        cells = [plus(row, "last") for row in content["rows"] if row["rule"] == rule]
        lines.append(f"| {rule} | {' | '.join(cells)} |")
    return [
        *lines,
        "",
        f"The set of {content['set']['steps']} inner steps above. Last accuracy in per cent, mean and standard",
        f"deviation of {len(content['seeds'])} networks, {content['epochs']} epochs. `hard` and `random` choose over",
        "the whole set, `yoco` the same number of each class.",
        f"The networks that judge were run in {content['evaluated_in']}.",
    ]


def plus(row: dict[str, Any], kind: str) -> str:
    """Mean and, of several, deviation."""
    single = len(row[kind]) == 1
    return f"{row[f'{kind}_mean']:.2f}" + ("" if single else f" ± {row[f'{kind}_std']:.2f}")


def filled(text: str) -> str:
    """The README with its tables; one without a result file stays empty."""
    for name, table in (("idc_fashion", idc_fashion), ("yoco_fashion", yoco_fashion)):
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
