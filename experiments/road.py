"""The shortest road to accuracy: what was tried on Fashion-MNIST, and what each gave.

    python experiments/road.py                               # hours
    python experiments/road.py --tries regression            # one try; the log has all that are in runs/road
    python experiments/road.py --tries readout --test 3      # test images, 3 networks
    python experiments/road.py --bf16 0 --name road_float32  # where the processor has no instructions for bfloat16

No try is chosen by the test images: 5,000 training images are held back, and one network that is trained on the set by
protocol `idc` is judged on them. What was stopped goes on. Processor seconds count everything up to the set.
"""

import json
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import command_line
import result
import road_map
import torch
from claims import key

import yoco
from yoco.condense import Task, settings_of
from yoco.condense.loop import Progress, condense
from yoco.data import Splits, load
from yoco.device import compute_type
from yoco.disk import replace_file
from yoco.rng import Rng
from yoco.run import Run

REGRESSION: dict[str, Any] = {
    "method": "frepo",
    "factor": 2,
    "start": "mix",
    "labels": "hard",
    "episodes": 300,
    "lr": 0.004,
    "real_batch": 768,
    "lr_network": 0.0005,
}
READOUT: dict[str, Any] = {"method": "readout", "episodes": 400, "network_steps": 2, "network_epochs": 0.0}
TRIES: dict[str, dict[str, Any]] = {
    "mixed start": {"method": "idc", "episodes": 0},
    "idc, 100 steps": {"method": "idc", "episodes": 100},
    "regression": REGRESSION,
    "regression, three times as long": {**REGRESSION, "episodes": 900, "lr": 0.006},
    "readout": READOUT,
    "readout, hard labels": {**READOUT, "labels": "hard"},
    "readout, larger steps": {**READOUT, "lr": 0.01},
    "readout, four times the batches for networks": {**READOUT, "network_steps": 8},
    "readout, four times the batches, hard labels": {**READOUT, "network_steps": 8, "labels": "hard"},
    "readout, five times as long": {**READOUT, "episodes": 2000},
    "readout, five times as long, four times the batches": {**READOUT, "episodes": 2000, "network_steps": 8},
    "readout, 100 steps, four times the batches": {**READOUT, "episodes": 100, "network_steps": 8},
    "readout, 250 steps, four times the batches, half the width": {
        **READOUT,
        "episodes": 250,
        "network_steps": 8,
        "network": "convnet:width=64",
    },
    "readout, 600 steps, four times the batches, a quarter of the width": {
        **READOUT,
        "episodes": 600,
        "network_steps": 8,
        "network": "convnet:width=32",
    },
    "readout, 2,600 steps, four times the batches, a quarter of the width": {
        **READOUT,
        "episodes": 2600,
        "network_steps": 8,
        "network": "convnet:width=32",
    },
    "readout, half as long, twenty times the batches": {**READOUT, "episodes": 200, "network_steps": 40},
    "readout, fifteen times as long": {**READOUT, "episodes": 6000},
}
"""name -> the method and what is changed in its published settings; network: another than those that judge."""


def main() -> None:
    """The tries that are asked for, then the log of all that are there."""
    options = command_line.options(
        __doc__,
        "",
        "runs/road",
        "road",
        data="fashion-mnist",
        known={"tries": TRIES},
        tries=list(TRIES),
        ipc=10,
        epochs=250,
        held=5000,
        threads=1,
        bf16=1,
        test=0,
    )
    torch.set_num_threads(options.threads)
    splits = halves(options)
    files = {name: file(name, splits, options) for name in TRIES}
    for name, path in files.items():
        check_same(path, name, splits, options)
    mine, parts = options.part
    for name in options.tries[mine::parts] if mine < parts else ():
        path = files[name]
        if not path.is_file():
            result.keep(path, tried(name, splits, options, path))
            print(name, json.loads(path.read_text())["last"], flush=True)
        if options.test > len((row := json.loads(path.read_text())).get("test", ())):
            result.keep(path, {**row, **tested(path, options)})
    content = log(files.values(), splits, options)
    written = result.write(options.name, folder=options.results, **content)
    road_map.draw(content, written.with_suffix(".png"))
    print(f"written to {written} and {written.with_suffix('.png')}")


def log(files: Iterable[Path], splits: Splits, options: Any) -> dict[str, Any]:
    """What the result says: of the data, the networks that judge, and all tries that are there."""
    rows = [json.loads(path.read_text()) for path in files if path.is_file()]
    return {
        "data": options.data,
        "checksum": splits.train.checksum,
        "held_back": len(splits.test),
        "ipc": options.ipc,
        "protocol": "idc",
        "epochs": options.epochs,
        "seeds": [0],
        "computed_in": "bfloat16" if options.bf16 else "float32",
        "rows": rows,
    }


def halves(options: Any) -> Splits:
    """The training images but for those that judge, and those."""
    whole = load(options.data).train
    order = Rng(77).choice(len(whole), len(whole))
    return Splits(whole.take(order[options.held :]), whole.take(order[: options.held]))


def file(name: str, splits: Splits, options: Any) -> Path:
    """Where a try is kept; its name changes with what is changed in its method, and with what it is judged by."""
    judged = {"data": splits.train.checksum, "epochs": options.epochs, "bf16": options.bf16, "threads": options.threads}
    slug = f"{name.replace(' ', '-')}-{options.ipc}-{key(changes=TRIES[name], **judged)}"
    return Path(options.out, f"{slug}.json")


def method_of(name: str, splits: Splits, options: Any) -> tuple[str, Any]:
    """The network of a try, and its method with all settings."""
    settings = {"network": "convnet", **TRIES[name]}
    network, chosen = settings.pop("network"), settings.pop("method")
    return network, settings_of(chosen, options.data, options.ipc, splits.train.shape, **settings)


def check_same(path: Path, name: str, splits: Splits, options: Any) -> None:
    """Refuse the kept file of a try whose set was made with other settings: its name says only those that are changed.

    A setting that there was not yet is no other one, as a new one changes nothing unless it is set.
    """
    condensed = path.with_suffix(".safetensors")
    if path.is_file() and condensed.is_file():
        before, now = yoco.load(condensed).config, asdict(method_of(name, splits, options)[1])
        if any(before[part] != value for part, value in json.loads(json.dumps(now)).items() if part in before):
            raise SystemExit(f"{path}: made with other settings; say another --out")


def tried(name: str, splits: Splits, options: Any, path: Path) -> dict[str, Any]:
    """One try: its settings, what it took and what its set is worth."""
    network, method = method_of(name, splits, options)
    task = Task(splits.train, options.ipc, network, compute_type(bool(options.bf16), splits.train.images.device))
    about = {"try": name, "network": network, **asdict(method)}
    run, meter = Run(path.with_suffix(""), about), Meter(path.with_suffix(".spent"))
    made = condense(task, method, seed=0, run=run, callbacks=(meter,))
    spent = meter.seconds()
    made.save(path.with_suffix(".safetensors"))
    judged = accuracies(made, splits, 1, options)
    return {
        "try": name,
        "changes": TRIES[name],
        "steps": made.config["episodes_done"],
        "seconds": made.config["seconds"],
        "processor_seconds": round(spent, 1),
        "threads": options.threads,
        "last": judged,
        **result.spread("last", judged),
        "commit": result.commit(),
        "made_on": result.made_on(),
    }


class Meter:
    """Processor seconds spent on a try, those of starts that were stopped included; noted in a file after each step."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.before = float(path.read_text()) if path.is_file() else 0.0
        self.began = time.process_time()

    def seconds(self) -> float:
        """So far."""
        return self.before + time.process_time() - self.began

    def __call__(self, progress: Progress) -> None:
        """Note them."""
        replace_file(self.path, lambda path: path.write_text(f"{self.seconds()}"))


def tested(path: Path, options: Any) -> dict[str, Any]:
    """What so many networks that are trained on the set of a try reach on the test images."""
    made = yoco.load(path.with_suffix(".safetensors"))
    found = accuracies(made, load(options.data), options.test, options)
    return {"test": found, **result.spread("test", found)}


def accuracies(made: yoco.CondensedSet, splits: Splits, networks: int, options: Any) -> list[float]:
    """Of so many networks that are trained on a set, at the end."""
    how: Any = {"epochs": options.epochs, "seeds": networks, "bf16": bool(options.bf16), "measurements": 1}
    return list(yoco.evaluate(made, splits, protocol="idc", progress=False, **how).results[0].last)


if __name__ == "__main__":
    main()
