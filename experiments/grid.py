"""A grid of trials over ways of pruning, runs of dynamics, sizes, seeds and networks; each is saved when it is done.

Every trial is one small file in the folder of the runs, so a stopped experiment goes on, several processes share the
work (`--part 0 2` and `--part 1 2`), and experiments that need the same trial share it. `--part 1 1` does no trial: it
writes the result of those that are there, unless some are on sets that pruning no longer makes.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import result
from claims import key, once
from torch import Tensor

import yoco
from yoco.data import Splits, load
from yoco.prune import Evidence, draw_references, find, observe, select, yoco_recipe
from yoco.prune.choosing import REFERENCES
from yoco.prune.sampling import CCS_BETA
from yoco.rng import Rng

CODE: dict[str, Any] = {"mode": "repo"}
WAYS: dict[str, dict[str, Any]] = {
    "random": {"rule": "random"},
    "random-balanced": {"rule": "random", "quota": "equal"},
    "ssp": {"rule": "ssp", **CODE},
    "entropy": {"rule": "entropy"},
    "aum": {"rule": "aum", **CODE},
    "forgetting": {"rule": "forgetting", **CODE},
    "el2n": {"rule": "el2n", **CODE},
    "ccs": {"rule": "ccs", **CODE},
    "easy": {"rule": "easy", "score": "lbpe", "quota": "none"},
    "yoco": {"rule": "yoco", **CODE},
    "kernel": {"rule": "kernel"},
    "kernel-alone": {"rule": "kernel"},
    "first": {"rule": "first"},
}
"""name -> options of `select`: the rules of YOCO's tables as YOCO's code has them, its ablation, and the rule of this
library, which looks at real training images, or, alone, at the set itself."""
BEFORE = {"epochs": 60, "references": 4000}
"""What views were made with whose names do not say it."""
SEEDS = 10
"""Seeds of a run at most."""
PASSES = "train"
"""What the dynamics watch: the passes that train, no clean ones beside them."""
UNRANKED = ("random", "first")
"""Rules for which nothing is trained."""


class Trial(NamedTuple):
    """One network trained on one pruned set. run: number of the dynamics that ranked; seed: of the network."""

    way: str
    run: int
    ipc: int
    seed: int
    network: str = "convnet"

    @property
    def name(self) -> str:
        """Of its file, but for what all trials share."""
        return "-".join(map(str, self)).replace(":", "_").replace("=", "")


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What all trials share.

    set: the file of the set that is pruned. out: the folder of the trials. epochs: of judging. score_epochs: of the
    dynamics. bf16: networks compute in bfloat16.
    """

    set: Path
    out: Path
    epochs: int
    score_epochs: int
    bf16: bool = True

    @classmethod
    def of(cls, options: argparse.Namespace) -> "Grid":
        """As the command line says; in float32 where that has no word for it.

        Raises:
            SystemExit: more seeds than `judge` has room for beside the number of a run.
        """
        if getattr(options, "seeds", 1) > SEEDS:
            raise SystemExit(f"--seeds must be at most {SEEDS}, got {options.seeds}")
        how = {name: getattr(options, name) for name in ("set", "out", "epochs", "score_epochs")}
        return cls(**how, bf16=bool(getattr(options, "bf16", 0)))

    @cached_property
    def whole(self) -> yoco.CondensedSet:
        """The set that is pruned."""
        return yoco.load(self.set)

    @property
    def full(self) -> int:
        """Images per class of the whole set."""
        return max(self.whole.counts) // self.whole.factor**2

    @cached_property
    def data(self) -> Splits:
        """The data that judge."""
        return load(self.whole.source["name"])

    @cached_property
    def shared(self) -> dict[str, Any]:
        """What everything here rests on."""
        return {"set": self.whole.checksum, "data": self.data.train.checksum, "bf16": self.bf16}

    @cached_property
    def dynamics(self) -> dict[str, Any]:
        """How the trainings that rank are watched."""
        return {"score_epochs": self.score_epochs, "passes": PASSES}

    def record(self, run: int) -> Path:
        """Where the evidence of one training is kept."""
        return self.out / f"evidence-{run}-{key(**self.shared, **self.dynamics)}.safetensors"

    def evidence(self, run: int) -> Evidence:
        """The dynamics of one training, and its network's view at the end."""
        recipe = replace(yoco_recipe(self.whole.source["name"]), epochs=self.score_epochs)
        how: Any = {"passes": PASSES, "snapshot": True, "bf16": self.bf16, "epochs": self.score_epochs}

        def make(path: Path) -> None:
            observe(self.whole, recipe=recipe, rng=Rng(run).child("score", 0), **how).save(path)

        return Evidence.load(once(self.record(run), make))

    def view(self, run: int, number: int) -> Path:
        """Where it is kept what one network sees of the set, and of real training images, for the kernel rule."""
        now = {"epochs": find("kernel").settings["epochs"], "references": REFERENCES}
        own = {name: value for name, value in now.items() if value != BEFORE[name]}
        return self.out / f"view-{run}-{number}-{key(**self.shared, **own)}.safetensors"

    def views(self, run: int) -> list[Evidence]:
        """What three networks see of the set, and of real training images, as the kernel rule has it."""
        settings, found = find("kernel").settings, []
        recipe = replace(yoco_recipe(self.whole.source["name"]), epochs=settings["epochs"])
        how: Any = {"snapshot": True, "dynamics": False, "bf16": self.bf16, "epochs": settings["epochs"]}
        for number in range(settings["runs"]):

            def make(path: Path, number: int = number) -> None:
                drawn = draw_references(self.whole, self.data.train, Rng(run))
                stream = Rng(run).child("score", number)
                observe(self.whole, recipe=recipe, rng=stream, reference=drawn, **how).save(path)

            found.append(Evidence.load(once(self.view(run, number), make)))
        return found

    @cached_property
    def orders(self) -> dict[tuple[str, int], Tensor]:
        """What `order` has found."""
        return {}

    def order(self, way: str, run: int) -> Tensor:
        """All cells as the kernel rule ranks them; its answers are nested."""
        if (way, run) not in self.orders:
            views = self.views(run)
            if way == "kernel-alone":
                views = [replace(view, snapshot=replace(view.snapshot, reference=None)) for view in views]  # type: ignore[type-var]
            self.orders[way, run] = select(self.whole, rule="kernel", n=len(self.whole), evidence=views).indices
        return self.orders[way, run]

    def pruned(self, trial: Trial) -> yoco.CondensedSet:
        """The set of a trial."""
        if trial.ipc == self.full:
            return self.whole
        if trial.way in ("kernel", "kernel-alone"):
            order = self.order(trial.way, trial.run)
            return self.whole.take(order[: len(self.whole.classes) * self.whole.cells_per_class(ipc=trial.ipc)])
        how = dict(WAYS[trial.way])
        if trial.way == "ccs":
            how["beta"] = CCS_BETA.get(("cifar10", 10, trial.ipc), 0.0)
        if how["rule"] not in UNRANKED:
            how["evidence"] = [self.evidence(trial.run)]
        chosen = select(self.whole, ipc=trial.ipc, seed=SEEDS * trial.run + trial.seed, **how)
        return self.whole.take(chosen.indices)

    def at_hand(self, trial: Trial) -> bool:
        """Whether all is there that ranked the set of a trial, so that it is pruned again without any training."""
        if trial.ipc == self.full or WAYS[trial.way]["rule"] in UNRANKED:
            return True
        if trial.way in ("kernel", "kernel-alone"):
            return all(self.view(trial.run, number).is_file() for number in range(find("kernel").settings["runs"]))
        return self.record(trial.run).is_file()

    def file(self, trial: Trial) -> Path:
        """Where a trial is kept."""
        return self.out / f"{trial.name}-{key(**self.shared, **self.dynamics, epochs=self.epochs)}.json"

    def judge(self, trial: Trial) -> dict[str, Any]:
        """The accuracy of one trial, measured once at the end of the training; anew when its set is another one."""
        kept, small = self.file(trial), self.pruned(trial)
        found = json.loads(kept.read_text()) if kept.is_file() else {}
        if found.get("checksum") != small.checksum:
            how: Any = {"epochs": self.epochs, "seeds": (trial.seed,), "bf16": self.bf16, "measurements": 1}
            measured = yoco.evaluate(small, self.data, networks=trial.network, progress=False, **how)
            made = {
                "cells": small.counts,
                "checksum": small.checksum,
                "epochs": self.epochs,
                "commit": result.commit(),
                "made_on": result.made_on(),
            }
            found = {**trial._asdict(), "last": measured.results[0].last[0], "seconds": measured.seconds, **made}
            result.keep(kept, found)
            print(*trial, f"{found['last']:.2f}", flush=True)
        return found

    def judged(self, trials: Sequence[Trial], part: Sequence[int]) -> list[dict[str, Any]] | None:
        """Judge the trials in their order, of several processes every n-th of them; then those that are there.

        None with several processes: whoever is told to do all, or none, has the result.

        Raises:
            SystemExit: none is to be done, and some are on other sets than these; see `check_same`.
        """
        mine, parts = part
        for trial in trials[mine::parts] if mine < parts else ():
            self.judge(trial)
        if parts > 1:
            return None
        found = [(trial, json.loads(path.read_text())) for trial in trials if (path := self.file(trial)).is_file()]
        if mine >= parts:
            self.check_same(found)
        return [row for _, row in found]

    def check_same(self, found: Iterable[tuple[Trial, dict[str, Any]]]) -> None:
        """Refuse trials on other sets than pruning makes today, of those that say theirs, wherever none has to train.

        Raises:
            SystemExit: there are some.
        """
        said = [(trial, row["checksum"]) for trial, row in found if "checksum" in row and self.at_hand(trial)]
        other = [trial.name for trial, checksum in said if self.pruned(trial).checksum != checksum]
        if other:
            got = f"got {len(other)} on others, such as {other[0]}; without --part they are judged anew"
            raise SystemExit(f"--part 1 1: trials must be on the sets that pruning makes today, {got}")

    def about(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """What the result file says of the set, the dynamics and the networks that judge."""
        return {
            "data": self.whole.source["name"],
            "checksum": self.data.train.checksum,
            "set": described(self.whole),
            "dynamics": {"epochs": self.score_epochs, "passes": PASSES},
            "protocol": "idc",
            "seeds": sorted({row["seed"] for row in rows}),
            "seconds_of_all_trials": round(sum(row["seconds"] for row in rows), 1),
            "epochs": self.epochs,
            "computed_in": "bfloat16" if self.bf16 else "float32",
        }


def described(whole: yoco.CondensedSet) -> dict[str, Any]:
    """What a result says of the set that it rests on. autocast: what networks computed in while it was made."""
    config = whole.config
    made = {"method": whole.method, "steps": config.get("episodes_done"), "autocast": config.get("autocast")}
    return {**made, "checksum": whole.checksum}


def summary(rows: Iterable[dict[str, Any]], by: tuple[str, ...]) -> list[dict[str, Any]]:
    """The rows that share these columns as one: every single accuracy, mean and deviation."""
    return result.summary(rows, by, ("run", "seed"), ("last",))
