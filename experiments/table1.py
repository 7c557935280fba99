"""What the tables of YOCO's paper share: its rules at its sizes, and the ablation of its two rules."""

import argparse
from typing import Any

import grid
import result
from rows import WHOLE

RULES = ("random", "ssp", "entropy", "aum", "forgetting", "el2n", "ccs", "yoco")
ABLATION = {"neither": "random", "balance": "random-balanced", "easy": "easy", "both": "yoco"}
PAPER_ORDER = ("yoco", "ccs", "random")


def trials(options: argparse.Namespace) -> list[grid.Trial]:
    """The rules ahead of what only the ablation needs; one seed of everything before the next, small sizes first."""
    only_ablation = [way for way in ABLATION.values() if way not in RULES]
    return [
        grid.Trial(way, run, ipc, seed)
        for ways, sizes in ((RULES, options.ipc), (only_ablation, options.ablation))
        for seed in range(options.seeds)
        for ipc in sizes
        for run in range(options.runs)
        for way in ways
    ]


def run(options: argparse.Namespace, shared: grid.Grid) -> None:
    """Judge every trial of this part; with all parts done, write the result."""
    uncut = [grid.Trial(WHOLE, 0, shared.full, seed) for seed in range(options.seeds)]
    judged = shared.judged([*trials(options), *uncut], options.part)
    if judged is None:
        return
    done = [row for row in judged if row["way"] != WHOLE]
    rows = grid.summary(done, ("way", "ipc"))
    whole = grid.summary((row for row in judged if row["way"] == WHOLE), ("way", "ipc"))
    content = {
        **shared.about(done),
        "ways": grid.WAYS,
        "rules": RULES,
        "ablation": ABLATION,
        "rows": rows,
        **({"whole": whole[0]} if whole else {}),
    }
    print(f"written to {result.write(options.name, folder=options.results, **content, order=order(rows))}")


def order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """At each size the rules from best to worst, and whether YOCO's order holds: yoco, then ccs, then random."""
    found = []
    for ipc in sorted({row["ipc"] for row in rows}):
        means = {row["way"]: row["last_mean"] for row in rows if row["ipc"] == ipc and row["way"] in RULES}
        best = sorted(means, key=lambda way: -means[way])
        places = [best.index(way) for way in PAPER_ORDER if way in best]
        found.append(
            {
                "ipc": ipc,
                "best_first": best,
                "yoco_ccs_random": len(places) == len(PAPER_ORDER) and places == sorted(places),
            }
        )
    return found
