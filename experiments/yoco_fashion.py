"""YOCO's two rules on Fashion-MNIST: a condensed set of 10 images per class pruned to 1, 2 and 5, by three rules.

    python experiments/idc_fashion.py     # makes the set
    python experiments/yoco_fashion.py    # about 40 minutes on two cores

A run that was stopped goes on: every accuracy is kept in the run's folder.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import result

import yoco
from yoco.data import load
from yoco.prune import Scores, score

RULES = ("yoco", "random", "hard")


def main() -> None:
    """Score once, prune to every size by every rule, evaluate, write the result."""
    options = read_options()
    whole = yoco.load(options.set)
    scores = scored(whole, options)
    rows = [
        evaluated(whole, scores, rule, ipc, seed, options) for ipc in options.ipc for seed in range(2) for rule in RULES
    ]
    content = {
        "data": whole.source["name"],
        "checksum": load(whole.source["name"]).train.checksum,
        "set": {"ipc": options.full, "method": whole.method, "steps": whole.config["episodes_done"]},
        "scores": dict(scores.meta),
        "protocol": "idc",
        "epochs": options.epochs,
        "seeds": [0, 1],
        "evaluated_in": "bfloat16",
        "rows": summary(rows),
    }
    print(f"written to {result.write(options.name, folder=options.results, **content)}")


def scored(whole: yoco.CondensedSet, options: argparse.Namespace) -> Scores:
    """The LBPE of every cell, computed once."""
    path = options.out / "scores.safetensors"
    if not path.is_file():
        score(whole, score="lbpe", mode=options.mode, epochs=options.score_epochs, bf16=True).save(path)
    return Scores.load(path)


def evaluated(
    whole: yoco.CondensedSet, scores: Scores, rule: str, ipc: int, seed: int, options: argparse.Namespace
) -> dict[str, Any]:
    """One network on one pruned set; a random choice is drawn anew for each seed."""
    kept = options.out / f"{rule}-{ipc}-{seed}.json"
    if not kept.is_file():
        small = yoco.prune(whole, rule=rule, ipc=ipc, scores=None if rule == "random" else scores, seed=seed)
        small.save(kept.with_suffix(".safetensors"))
        measured = yoco.evaluate(small, whole.source["name"], epochs=options.epochs, seeds=(seed,), bf16=True)
        row = measured.to_dict()["results"][0]
        found = {"rule": rule, "ipc": ipc, "seed": seed, "last": row["last"][0], "best": row["best"][0]}
        kept.write_text(json.dumps({**found, "cells_per_class": small.counts, "commit": result.commit()}))
        print(f"{rule:<8} ipc {ipc}  seed {seed}  last {found['last']:.2f}  best {found['best']:.2f}", flush=True)
    return dict(json.loads(kept.read_text()))


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of one rule and size as one, every single accuracy kept."""
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["rule"], row["ipc"]), []).append(row)
    return [
        {
            "rule": rule,
            "ipc": ipc,
            "seeds": [row["seed"] for row in group],
            **{kind: [row[kind] for row in group] for kind in ("last", "best", "cells_per_class", "commit")},
            **result.spread("last", group),
            **result.spread("best", group),
        }
        for (rule, ipc), group in groups.items()
    ]


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", type=Path, default=Path("runs/idc-fashion/at-400.safetensors"))
    parser.add_argument("--ipc", type=int, nargs="+", default=[1, 2, 5], help="sizes to prune to")
    parser.add_argument("--full", type=int, default=10, help="images per class of the whole set")
    parser.add_argument("--epochs", type=int, default=250)
    parser.add_argument("--score-epochs", type=int, default=100, help="epochs of the dynamics")
    parser.add_argument("--mode", default="train", help="train: the authors' way; clean: un-mixed evaluation passes")
    parser.add_argument("--out", type=Path, default=Path("runs/yoco-fashion"))
    parser.add_argument("--name", default="yoco_fashion")
    parser.add_argument("--results", type=Path, default=result.FOLDER)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    return options


if __name__ == "__main__":
    main()
