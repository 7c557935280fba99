"""IDC on Fashion-MNIST under a time budget: accuracy after 0, 10, 20 and 40 minutes, and where the time goes.

    python experiments/idc_fashion.py                      # about 70 minutes on two cores
    python experiments/idc_fashion.py --data digits --minutes 0 0.1 --epochs 4 --ipc 1   # the same at toy size

A run that was stopped goes on: every part that is done is read from the run's folder.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import result

import yoco
from yoco.condense import settings_of
from yoco.condense.method import Task
from yoco.data import load


def main() -> None:
    """Condense up to each stop of the budget, evaluate all stops, time an inner step, write the result."""
    options = read_options()
    for minutes in options.minutes:
        condense_until(minutes, options)
    rows = [evaluated(minutes, options) for minutes in options.minutes]
    content = {"data": options.data, "ipc": options.ipc, "protocol": "idc", "seeds": [0, 1], "rows": rows}
    checksum = load(options.data).train.checksum
    path = result.write(options.name, folder=options.results, checksum=checksum, **content, inner_step=timings(options))
    print(f"written to {path}")


def condense_until(minutes: float, options: argparse.Namespace) -> None:
    """Write the set after this many minutes of condensation into the run's folder, if it is not there."""
    path = stop(minutes, options)
    if not path.is_file():
        made = condensed(minutes, options)
        made.save(path)
        spent = {"minutes": minutes, "steps": made.config["episodes_done"], "condense_seconds": made.config["seconds"]}
        path.with_suffix(".json").write_text(json.dumps({**spent, "condense_commit": result.commit()}))


def evaluated(minutes: float, options: argparse.Namespace) -> dict[str, Any]:
    """The accuracy of the set at this stop, measured once."""
    path = stop(minutes, options)
    row: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())
    if "last" not in row:
        budget = {"epochs": options.epochs} if options.epochs else {"same_compute": True}
        measured = yoco.evaluate(yoco.load(path), options.data, protocol="idc", seeds=2, jobs=options.jobs, **budget)
        row |= {**measured.to_dict()["results"][0], "evaluate_seconds": measured.to_dict()["seconds"]}
        path.with_suffix(".json").write_text(json.dumps(row))
    print(
        f"{minutes:>5g} min  {row['steps']:>5} steps  last {row['last_mean']:.2f}  best {row['best_mean']:.2f}",
        flush=True,
    )
    return row


def stop(minutes: float, options: argparse.Namespace) -> Path:
    """Where the set of this stop is kept."""
    return Path(options.out) / f"at-{minutes:g}.safetensors"


def condensed(minutes: float, options: argparse.Namespace) -> yoco.CondensedSet:
    """The set after this many minutes: the start at 0, else the run gone on with."""
    how: dict[str, Any] = {"method": "idc", "ipc": options.ipc, "seed": 0}
    if minutes == 0:
        return yoco.condense(options.data, **how, episodes=0, progress=False)
    return yoco.condense(options.data, **how, minutes=minutes, out=options.out)


def timings(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of one inner step, in float32 and bfloat16, and how they are spent."""
    return {name: step_seconds(options, bf16) for name, bf16 in (("float32", False), ("bfloat16", True))}


def step_seconds(options: argparse.Namespace, bf16: bool) -> dict[str, float]:
    """Mean over three inner steps, the first left out; `matching` and `network` are its two parts."""
    import torch

    from yoco.rng import Rng

    real = load(options.data).train
    task = Task(real, options.ipc, autocast=torch.bfloat16 if bf16 else None)
    method: Any = settings_of("idc", real.name, options.ipc, real.shape)
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(1))
    optimizer, spent = method.optimizer(synthetic), []
    for k in range(4):
        began = time.perf_counter()
        for loss in method.episode(task, synthetic, memory, Rng(2).child(k)):
            synthetic.take_gradient(loss)
            optimizer.step()
            matched = time.perf_counter()
        spent.append((matched - began, time.perf_counter() - matched))
    matching, network = (sum(column[1:]) / 3 for column in zip(*spent, strict=True))
    return {"seconds": round(matching + network, 3), "matching": round(matching, 3), "network": round(network, 3)}


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--ipc", type=int, default=10, help="images per class")
    parser.add_argument("--minutes", type=float, nargs="+", default=[0, 10, 20, 40])
    parser.add_argument("--epochs", type=int, help="in place of the protocol's 1000 / factor^2")
    parser.add_argument("--jobs", type=int, default=1, help="processes of an evaluation")
    parser.add_argument("--out", type=Path, default=Path("runs/idc-fashion"))
    parser.add_argument("--name", default="idc_fashion")
    parser.add_argument("--results", type=Path, default=result.FOLDER)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    return options


if __name__ == "__main__":
    main()
