r"""Every method on Fashion-MNIST in the same time: accuracy against minutes.

    python experiments/methods_fashion.py
    python experiments/methods_fashion.py --ipc 1 --name methods_fashion_1 --methods random idc dm frepo readout \
        --fit readout:episodes=210 --networks readout=convnet

A method runs once, and its set is saved at several stops. Its minutes include its start and everything that it trains.
Neither the start nor an episode is cut short, so that a stop comes late where they are long.
How many episodes fit into the minutes depends on the computer: `--fit readout:episodes=150` changes settings of a
method, and `--networks readout=convnet:width=64` the network that it learns with; those below are for two cores with
AVX2. Minutes are those of the clock; if the processor's are far fewer than minutes times threads, other programs were
running. An experiment that was stopped goes on, except that an unfinished run begins anew; `--part 1 1` writes the
result of the trials that are there. `--judge 0` makes the sets only, and the next run on this folder, perhaps on a
computer with a GPU, judges them; on two cores two processes with `--judge-threads 1` are faster than one.
"""

import time
from argparse import Namespace
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import command_line
import minutes_curve
import result
import sets
import torch
from claims import Folder, key

import yoco
from yoco.condense import METHODS
from yoco.data import load

FITTED: dict[str, dict[str, Any]] = {
    "mtt": {"count": 1, "expert_epochs": 2, "max_start": 1},
    "datm": {
        "count": 1,
        "expert_epochs": 2,
        "max_start": 1,
        "grow_from": 1,
        "grow_over": 5,
        "constant_memory": True,
        "student_batch": 0,
    },
    "accdd": {"early": 2, "early_epochs": 1},
    "sre2l": {"squeeze": 1, "teacher": "convnet:norm=batch", "episodes": 1001},
    "rded": {"episodes": 2},
    "pdd": {"episodes": 110},
    "readout": {"episodes": 850},
}
"""Settings in place of published ones that would spend hours: experts, early networks or a teacher of about half of ten
minutes, and about so many episodes as fit into ten, so that stages are done and a step size has fallen by then; where
fewer were done, the README says how many. The steps of datm, 80 in a segment, each on all of its images,
would want more than 24 GiB at once.
"""
NETWORKS = {"readout": "convnet:width=32"}
"""Networks that methods learn with, if not with those that judge: narrow ones make a step of readout quicker."""
VALUES = ("minutes", "cpu_minutes", "steps", "last", "best")
BY = ("method", "ipc", "stop", "images", "bytes", "labels")


def main() -> None:
    """Every seed and method: a run with its stops, and networks that judge each; then the result and its figure."""
    options = read_options()
    torch.set_num_threads(options.threads)
    sets.warm_up()
    data = load(options.data)
    bench = Bench(Folder(options.out, options.part, data=data.train.checksum), data, options)
    rows = [row for seed in range(options.seeds) for method in options.methods for row in bench.rows(method, seed)]
    if bench.folder.complete() and options.judge:
        places = {kind: sorted({row[kind] for row in rows}) for kind in ("processor", "judged_on")}
        made = {**bench.about(), **places, "processor": " and ".join(places["processor"])}
        content = {**made, "rows": result.summary(sets.by_network(rows), BY, ("seed",), VALUES)}
        written = result.write(options.name, folder=options.results, **content)
        minutes_curve.draw(content, written.with_suffix(".png"))
        print(f"written to {written}")


class Bench(sets.Bench):
    """How a run is stopped on its way, and its sets are judged."""

    @property
    def judging(self) -> dict[str, Any]:
        """How long networks are trained on a set."""
        return {"epochs": self.options.epochs} if self.options.epochs else {"same_compute": True}

    def changes(self, method: str) -> dict[str, Any]:
        """What is not as published; options that follow a method's name stand above those that are fitted to it."""
        name, own = sets.named(method)
        made = {**FITTED.get(name, {}), **dict(map(sets.named, self.options.fit)).get(name, {}), **own}
        return {**made, **self.fewer(method, self.options.ipc, **made)}

    def network(self, method: str) -> dict[str, str]:
        """The network of a method, if it is another than those that judge."""
        networks = {**NETWORKS, **dict(word.split("=", 1) for word in self.options.networks)}
        chosen = networks.get(sets.named(method)[0], "convnet")
        return {} if chosen == "convnet" else {"network": chosen}

    def rows(self, method: str, seed: int) -> Iterator[dict[str, Any]]:
        """The stops of one run that are there, each with its accuracies."""
        options, ipc = self.options, self.options.ipc
        settings = sets.settings(method, self.data, ipc, **self.changes(method))
        how = {"stops": options.stops, "threads": options.threads, "bf16": options.bf16}
        how |= self.network(method)
        name = f"{method}-{ipc}-{seed}-{key(settings=settings, **how)}"
        run = self.folder.keep(name, partial(self.run, name, method, seed))
        judged = key(networks=options.networks_per_set, **self.judging)
        for stop in run["stops"] if run and options.judge else ():
            at = f"{name}-at-{stop['stop']:g}"
            if found := self.folder.keep(f"{at}-{judged}", partial(self.judge, at, seed)):
                yield {**stop, "processor": run["processor"], "method": method, "ipc": ipc, "seed": seed, **found}

    def run(self, name: str, method: str, seed: int) -> dict[str, Any]:
        """The sets at the stops, each in a file; a stop at which nothing is new is left out."""
        stops: list[dict[str, Any]] = []
        with TemporaryDirectory(dir=self.folder.path) as place:
            began = time.process_time()
            for stop, made, seconds in self.sets_of(method, seed, Path(place)):
                cpu, steps = time.process_time() - began, made.config["episodes_done"]
                made.save(self.folder.file(f"{name}-at-{stop:g}", "safetensors"))
                done = {"stop": stop, "minutes": seconds / 60, "cpu_minutes": cpu / 60}
                stops.append({**done, "steps": steps, **sets.held(made, method)})
        return {"stops": stops, "processor": torch.backends.cpu.get_cpu_capability()}

    def sets_of(self, method: str, seed: int, place: Path) -> Iterator[tuple[float, yoco.CondensedSet, float]]:
        """Stop, set, and all seconds spent on it."""
        changes, ipc = self.changes(method), self.options.ipc
        if "experts" in sets.settings(method, self.data, ipc):
            changes["experts"] = str(place / "experts")
        how = {"ipc": ipc, "seed": seed, "bf16": bool(self.options.bf16), "progress": False, **changes}
        how |= {"device": "cpu", **self.network(method)}
        seconds = 0.0
        for stop in sorted(self.options.stops):
            if 60 * stop <= seconds:
                continue
            made = yoco.condense(self.data, sets.named(method)[0], out=place / "run", minutes=stop, **how)
            seconds = made.config["seconds"]
            yield stop, made, seconds
            if made.config["episodes_done"] >= made.config["episodes"]:
                return

    def judge(self, at: str, seed: int) -> dict[str, Any]:
        """Networks trained on the set of a stop."""
        made = yoco.load(self.folder.file(at, "safetensors"))
        torch.set_num_threads(self.options.judge_threads or self.options.threads)
        found = sets.worth(made, self.data, self.judges(seed), bf16=bool(self.options.bf16), **self.judging)
        found["made_on"] = result.made_on()
        torch.set_num_threads(self.options.threads)
        return found

    def about(self) -> dict[str, Any]:
        """What the result says of the data, the settings and the networks that judge."""
        options = self.options
        return {
            **self.common("ipc", "stops", "threads"),
            "epochs": options.epochs or "1,000 / factor²",
            "computed_in": "bfloat16" if options.bf16 else "float32",
            "changed": {
                method: made for method in options.methods if (made := {**self.changes(method), **self.network(method)})
            },
        }


def read_options() -> Namespace:
    """The command line."""
    options = command_line.options(
        __doc__,
        "",
        "runs/methods-fashion",
        "methods_fashion",
        data="fashion-mnist",
        methods=list(METHODS),
        fit=[],
        networks=[],
        ipc=10,
        stops=[4.0, 10.0],
        threads=2,
        judge_threads=0,
        bf16=0,
        judge=1,
        seeds=2,
        networks_per_set=1,
        epochs=0,
        episodes=0,
    )
    if wrong := [word for word in options.networks if "=" not in word]:
        raise SystemExit(f"--networks: must read method=network, got {wrong[0]!r}")
    known = {sets.named(method)[0] for method in options.methods}
    asked = {"fit": [sets.named(word)[0] for word in options.fit]}
    asked["networks"] = [word.split("=")[0] for word in options.networks]
    for flag, names in asked.items():
        if strange := {*names} - known:
            raise SystemExit(f"--{flag}: no method of this run: {', '.join(sorted(strange))}")
    return options


if __name__ == "__main__":
    main()
