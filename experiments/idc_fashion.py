"""IDC on Fashion-MNIST: accuracy after 0, 100, 200 and 400 inner steps, what a step takes, and where its time goes.

    python experiments/idc_fashion.py                                                    # an hour or two on two cores
    python experiments/idc_fashion.py --data digits --ipc 1 --steps 0 2 --epochs 4 --out runs/toy --name toy   # seconds

A run that was stopped goes on. Minutes in the result are steps times the seconds of a step measured by themselves.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import result
import torch
from claims import key
from torch.profiler import ProfilerActivity, profile

import yoco
from yoco.condense import Progress, Task, settings_of
from yoco.data import load
from yoco.rng import Rng

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}


def main() -> None:
    """Condense, keeping the set at each stop; evaluate all of them; time an inner step; write the result."""
    options = read_options()
    torch.set_num_threads(options.threads or torch.get_num_threads())
    condense_with_stops(options)
    torch.set_num_threads(options.threads or result.CORES)
    computed = {"condensed_in": options.bf16, "evaluated_in": options.evaluate_bf16}
    precision = {name: "bfloat16" if bf16 else "float32" for name, bf16 in computed.items()}
    timed = dict.fromkeys([*options.timed, precision["condensed_in"]])
    pace = {name: step_seconds(options, PRECISIONS[name]) for name in timed}
    mine = pace[precision["condensed_in"]]["seconds"]
    rows = [evaluated(steps, options, mine) for steps in options.steps]
    content = {"data": options.data, "checksum": load(options.data).train.checksum, "ipc": options.ipc}
    how = {"factor": options.factor, "protocol": "idc", "seeds": [0, 1], **precision}
    made = {**content, **how, "rows": rows, "inner_step": pace, "operations": operations(options)}
    print(f"written to {result.write(options.name, folder=options.results, **made)}")


def condense_with_stops(options: argparse.Namespace) -> None:
    """Run the inner steps, and write the set as it stands at each stop."""
    how: dict[str, Any] = {"ipc": options.ipc, "factor": options.factor, "seed": 0}
    how |= {"bf16": options.bf16, "device": "cpu"}  # whose seconds the result has
    first = yoco.condense(options.data, "idc", **how, episodes=0, progress=False)

    def keep(progress: Progress) -> None:
        if progress.episode in options.steps:
            cells = progress.synthetic.cells.detach().clamp(0, 1).clone()
            config = {**first.config, "episodes_done": progress.episode, "seconds": round(progress.seconds, 1)}
            write(replace(first, cells=cells, config=config), stop(progress.episode, options))

    for steps in options.steps:
        check_same(first, stop(steps, options))
    check_passed(options)
    if not stop(0, options).is_file():
        write(first, stop(0, options))
    if not stop(max(options.steps), options).is_file():
        yoco.condense(options.data, "idc", **how, episodes=max(options.steps), out=options.out, callbacks=(keep,))
    check_passed(options)


def check_passed(options: argparse.Namespace) -> None:
    """Refuse stops that the run of the folder has left behind, as later ones are there."""
    there = max((int(path.stem.partition("-")[2]) for path in options.out.glob("at-*.safetensors")), default=0)
    if passed := [steps for steps in options.steps if 0 < steps <= there and not stop(steps, options).is_file()]:
        raise SystemExit(f"idc_fashion: the run has passed {passed} without a stop; say another folder by --out")


def write(made: yoco.CondensedSet, path: Path) -> None:
    """Write the set of a stop, and beside it the commit that made it."""
    made.save(path)
    path.with_suffix(".json").write_text(json.dumps({"commit": result.commit()}))


def check_same(first: yoco.CondensedSet, path: Path) -> None:
    """Refuse a folder in which there is another set, made of other data or under other settings."""
    if path.is_file():
        run = dict.fromkeys(("episodes", "episodes_done", "seconds"))
        made = yoco.load(path)
        if made.source != first.source or {**made.config, **run} != {**first.config, **run}:
            raise SystemExit(f"idc_fashion: {path} is another set; say another folder by --out")


def evaluated(steps: int, options: argparse.Namespace, pace: float) -> dict[str, Any]:
    """The accuracy of the set at this stop, measured once: by two networks at the last one, else by one."""
    path = stop(steps, options)
    made = yoco.load(path)
    how: dict[str, Any] = {"epochs": options.epochs} if options.epochs else {"same_compute": True}
    how |= {"seeds": 2 if steps == max(options.steps) else 1, "bf16": bool(options.evaluate_bf16)}
    kept = path.with_suffix(f".accuracy-{key(**how)}.json")
    if not kept.is_file():
        measured = yoco.evaluate(made, options.data, protocol="idc", **how).to_dict()
        kept.write_text(json.dumps({**measured["results"][0], "evaluate_seconds": measured["seconds"]}))
    commit = json.loads(path.with_suffix(".json").read_text())["commit"]
    spent = {"minutes": round(steps * pace / 60, 1), "wall_seconds": made.config["seconds"], "condense_commit": commit}
    row: dict[str, Any] = {"steps": steps, **spent, **json.loads(kept.read_text())}
    print(f"{steps:>5} steps  last {row['last_mean']:.2f}  best {row['best_mean']:.2f}", flush=True)
    return row


def stop(steps: int, options: argparse.Namespace) -> Path:
    """Where the set of this stop is kept."""
    return Path(options.out) / f"at-{steps}.safetensors"


def inner_steps(options: argparse.Namespace, autocast: torch.dtype | None, count: int) -> Iterator[tuple[float, float]]:
    """Seconds of the two parts of an inner step: matching with its image updates, and training the network."""
    task = Task(load(options.data).train, options.ipc, autocast=autocast)
    method: Any = settings_of("idc", options.data, options.ipc, task.real.shape, factor=options.factor)
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(1))
    optimizer = method.optimizer(synthetic)
    for k in range(count):
        began = matched = time.perf_counter()
        for loss in method.episode(task, synthetic, memory, Rng(2).child(k)):
            synthetic.take_gradient(loss)
            optimizer.step()
            matched = time.perf_counter()
        yield matched - began, time.perf_counter() - matched


def step_seconds(options: argparse.Namespace, autocast: torch.dtype | None) -> dict[str, float]:
    """The quickest of five inner steps, the first left out, and its two parts."""
    matching, network = min(list(inner_steps(options, autocast, 6))[1:], key=sum)
    return {"seconds": round(matching + network, 3), "matching": round(matching, 3), "network": round(network, 3)}


def operations(options: argparse.Namespace) -> dict[str, float]:
    """Share of the time of an inner step that each of the twelve costliest torch operations takes itself."""
    steps = inner_steps(options, None, 2)
    next(steps)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        next(steps)
    events = sorted(profiled.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    return {event.key: round(event.self_cpu_time_total / total, 4) for event in events[:12]}


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--ipc", type=int, default=10, help="images per class")
    parser.add_argument("--factor", type=int, default=2)
    parser.add_argument("--steps", type=int, nargs="+", default=[0, 100, 200, 400], help="inner steps at each stop")
    parser.add_argument("--epochs", type=int, help="in place of the protocol's 1000 / factor^2")
    parser.add_argument("--bf16", action="store_true", help="condense in bfloat16")
    parser.add_argument("--evaluate-bf16", type=int, default=1, help="0: networks that judge compute in float32")
    parser.add_argument("--timed", nargs="*", choices=PRECISIONS, default=list(PRECISIONS), help="precisions of a step")
    parser.add_argument("--threads", type=int, help="of torch; by default all cores")
    parser.add_argument("--out", type=Path, help="by default runs/idc-fashion, with --bf16 runs/idc-fashion-bf16")
    parser.add_argument("--name", help="of the result; by default idc_fashion or idc_fashion_bf16")
    parser.add_argument("--results", type=Path, default=result.FOLDER)
    options = parser.parse_args()
    precision = ["bf16"] if options.bf16 else []
    options.out = options.out or Path("runs", "-".join(["idc-fashion", *precision]))
    options.name = options.name or "_".join(["idc_fashion", *precision])
    options.out.mkdir(parents=True, exist_ok=True)
    return options


if __name__ == "__main__":
    main()
