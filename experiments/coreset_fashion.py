"""Coresets of real data: the training half of Fashion-MNIST pruned to 1 %, 5 % and 10 % by the main rules.

    python experiments/coreset_fashion.py       # several processes share the trials

One network of a narrow ConvNet, watched for ten plain epochs, ranks for all rules; narrow ConvNets are trained on each
coreset for as many steps as `--steps` says. Small shares are where rules that keep the hardest samples are worst.
"""

from functools import partial
from pathlib import Path
from typing import Any

import command_line
import result
from claims import Folder, key, once

import yoco
from yoco.data import Splits, load
from yoco.prune import Evidence, observe, select
from yoco.rng import Rng
from yoco.train import Recipe

RULES: dict[str, dict[str, Any]] = {
    "random": {},
    "easy": {"score": "el2n", "quota": "equal", "epochs": 10},
    "el2n": {"epochs": 10},
    "forgetting": {},
    "aum": {},
    "ccs": {"beta": 0.3},
    "dual": {"epochs": 10},
    "moderate": {},
    "herding": {},
    "k-center": {"quota": "equal"},
    "medoids": {"quota": "equal"},
    "d2": {"score": "forgetting", "beta": 0.4},
    "facility-location": {},
}


def main() -> None:
    """Rank once, choose by every rule, train, write."""
    options = command_line.options(
        __doc__,
        "",
        "runs/coreset-fashion",
        "coreset_fashion",
        keep=[0.01, 0.05, 0.1],
        known={"rules": RULES},
        rules=list(RULES),
        seeds=2,
        steps=500,
        network="convnet:width=32",
        data="fashion-mnist",
        score_epochs=10,
    )
    data = load(options.data)
    how = {"data": data.train.checksum, "network": options.network, "score_epochs": options.score_epochs}
    seen = evidence(data, options, key(**how))
    folder = Folder(options.out, options.part, **how, steps=options.steps)
    rows = [
        row
        for seed in range(options.seeds)
        for keep in options.keep
        for rule in options.rules
        if (row := folder.keep(named(rule, keep, seed), partial(judged, data, seen, rule, keep, seed, options)))
    ]
    if not folder.complete():
        return
    content = {
        "data": data.train.name,
        "checksum": data.train.checksum,
        "protocol": "idc",
        "seeds": list(range(options.seeds)),
        "network": options.network,
        "steps": options.steps,
        "dynamics": {"epochs": options.score_epochs, "passes": "clean", "runs": 1},
        "rules": {rule: RULES[rule] for rule in options.rules},
        **summary(rows),
    }
    print(f"written to {result.write(options.name, folder=options.results, **content)}")


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The rows by rule and share, and what all took; trials of old do not say their seconds."""
    timed = all("seconds" in row for row in rows)
    found = result.summary(rows, ("way", "ipc"), ("run", "seed", "seconds") if timed else ("run", "seed"), ("last",))
    spent = {"seconds_of_all_trials": round(sum(row["seconds"] for row in rows), 1)} if timed else {}
    return {**spent, "rows": [{**row, "keep": row.pop("ipc")} for row in found]}


def evidence(data: Splits, options: Any, name: str) -> Evidence:
    """The behaviour of one network on all training images."""
    recipe = Recipe(epochs=options.score_epochs)
    how: Any = {"network": options.network, "snapshot": True, "recipe": recipe, "epochs": options.score_epochs}

    def make(path: Path) -> None:
        observe(data.train, rng=Rng(0).child("score", 0), **how).save(path)

    return Evidence.load(once(options.out / f"evidence-{name}.safetensors", make))


def named(rule: str, keep: float, seed: int) -> str:
    """The name of a trial, which holds the options of the rule."""
    return f"{rule}-{keep}-{seed}-{key(**RULES[rule])}"


def judged(data: Splits, seen: Evidence, rule: str, keep: float, seed: int, options: Any) -> dict[str, Any]:
    """One network on one coreset."""
    chosen = select(data.train, rule=rule, keep=keep, seed=seed, evidence=[seen], **RULES[rule])
    epochs = max(1, options.steps * 64 // len(chosen))
    how: Any = {"networks": options.network, "seeds": (seed,), "epochs": epochs, "measurements": 1}
    measured = yoco.evaluate(chosen.of(data.train), data, progress=False, **how)
    found = {"last": measured.results[0].last[0], "seconds": measured.seconds}
    made = {"counts": chosen.entry["kept"], "checksum": result.digest(chosen.indices)}
    return {"way": rule, "ipc": keep, "run": 0, "seed": seed, **found, **made}


if __name__ == "__main__":
    main()
