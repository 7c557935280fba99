"""Accuracy against size, by how a smaller set is made: at its size, pruned out of a larger one, or as its beginning.

    python experiments/resize_sets.py &      # as many processes as there are cores: they share the trials
    python experiments/resize_sets.py        # once more, when all have ended, to write both

Sets are those of methods_digits.py, in whose folder they are found or made: one of each method and seed at the largest
size is pruned, and some are made at each size. Dynamics that rank are those of one network on the larger set.
"""

from argparse import Namespace
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import command_line
import grid
import methods_digits
import result
import sets
from claims import Folder, key
from matplotlib.figure import Figure
from rows import WHOLE

import yoco
from yoco.data import load

MADE, INSIDE = "made at its size", "yoco inside twice its prefix"
WAYS = {
    "idc": (MADE, "random-balanced", "yoco", "kernel"),
    "mdc": ("first", "yoco", INSIDE),
    "accdd": (MADE, "random-balanced", "yoco", "kernel"),
    "readout": (MADE, "random-balanced", "yoco", "kernel"),
    "readout:nested=true,pool=20,episodes=1000": ("first",),
}
"""method -> how its smaller sets are made: a way of grid.py, or one of the above."""

LINES: tuple[Any, ...] = ("-", ":", "--", "-.", (0, (1, 3)))


def main() -> None:
    """Every seed, method, size and way, and the larger sets; then the result and its figure."""
    options = read_options()
    sets.warm_up()
    folder = Folder(options.out, options.part)
    options.sets.mkdir(parents=True, exist_ok=True)
    resizer = Resizer(
        folder, methods_digits.Bench(Folder(options.sets, options.part), load("digits"), options), options
    )
    rows = [row for seed in range(options.seeds) for method in options.methods for row in resizer.rows(method, seed)]
    if folder.complete() and resizer.bench.folder.complete():
        content = {**resizer.about(), "rows": result.summary(rows, ("set", "way", "ipc"), ("seed",), ("last", "best"))}
        written = result.write(options.name, folder=options.results, **content)
        draw(content, written.with_suffix(".png"))
        print(f"written to {written}")


@dataclass(frozen=True)
class Resizer:
    """How the sets of a method become smaller, and what they are worth then."""

    folder: Folder
    bench: methods_digits.Bench
    options: Namespace

    def rows(self, method: str, seed: int) -> list[dict[str, Any]]:
        """All sizes of one set, and the set itself."""
        asked = [(way, ipc) for ipc in self.options.ipc for way in WAYS[method]]
        found = [self.kept(method, way, ipc, seed) for way, ipc in [*asked, (WHOLE, self.options.full)]]
        return sets.by_network(found)

    def kept(self, method: str, way: str, ipc: int, seed: int) -> dict[str, Any] | None:
        """One trial, or one of methods_digits.py; its name changes with the set, what its way means, and who judges."""
        asked = {"set": method, "way": way, "ipc": ipc, "seed": seed}
        if way in (MADE, WHOLE):
            judged = self.bench.kept(method, ipc, seed, shared=True)
            return judged and {**judged, **asked}
        options, larger = self.options, self.bench.kept(method, self.options.full, seed, shared=True) or {}
        name = larger.get("checksum", self.bench.name(method, options.full, seed))
        judging = {"epochs": options.epochs, "judges": list(self.bench.judges(seed))}
        means = grid.WAYS["yoco" if way == INSIDE else way]
        made = key(set=name, score_epochs=options.score_epochs, way=means, **judging)
        file = f"{method.replace(':', '-')}-{way.replace(' ', '_')}-{ipc}-{seed}-{made}"
        return self.folder.keep(file, partial(self.trial, **asked))

    def trial(self, **asked: Any) -> dict[str, Any]:
        """What a network learns from the smaller set."""
        method, way, ipc, seed = asked.values()
        small = self.smaller(self.made(method, seed), way, ipc, seed)
        judged = sets.worth(small, self.bench.data, self.bench.judges(seed), epochs=self.options.epochs)
        return {**asked, **sets.held(small, method), **judged}

    def made(self, method: str, seed: int) -> Path:
        """The file of a larger set, which is made and judged if it is not there."""
        self.bench.kept(method, self.options.full, seed, shared=True)
        return self.bench.folder.file(self.bench.name(method, self.options.full, seed), "safetensors")

    def smaller(self, path: Path, way: str, ipc: int, seed: int) -> yoco.CondensedSet:
        """The smaller set out of this one."""
        whole, trial = self.pruner(path), grid.Trial(way, seed, ipc, seed)
        if way != INSIDE:
            return whole.pruned(trial)
        inner = whole.out / f"first-{2 * ipc}.safetensors"
        whole.pruned(trial._replace(way="first", ipc=min(2 * ipc, whole.full))).save(inner)
        return self.pruner(inner).pruned(trial._replace(way="yoco"))

    def pruner(self, path: Path) -> grid.Grid:
        """What prunes the set of this file, with a folder for what is seen of it."""
        out, options = self.folder.path / path.stem, self.options
        out.mkdir(exist_ok=True)
        return grid.Grid(set=path, out=out, epochs=options.epochs, score_epochs=options.score_epochs, bf16=False)

    def about(self) -> dict[str, Any]:
        """What the result says of the data, the sets and the networks that judge."""
        about = self.bench.common("epochs", "full", "score_epochs")
        settings = {method: self.bench.settings(method, self.options.full) for method in self.options.methods}
        return {**about, "computed_in": "float32", "settings": settings}


def draw(content: dict[str, Any], path: Path) -> None:
    """A curve for each set and way, up to the whole set: the line is the set's, the colour that of the way."""
    drawing = Figure(figsize=(8, 4.8), dpi=110, layout="constrained")
    axes, rows = drawing.add_subplot(), content["rows"]
    methods, ways = (list(dict.fromkeys(row[key] for row in rows)) for key in ("set", "way"))
    for method, way in dict.fromkeys((row["set"], row["way"]) for row in rows if row["way"] != WHOLE):
        mine = [row for row in rows if row["set"] == method and row["way"] in (way, WHOLE)]
        x, y, spread = ([row[key] for row in mine] for key in ("ipc", "last_mean", "last_std"))
        style = {"linestyle": LINES[methods.index(method) % len(LINES)], "color": f"C{ways.index(way)}"}
        label = f"{method.partition(',')[0]}: {way}"
        axes.errorbar(x, y, spread, marker="o", markersize=3, elinewidth=0.6, label=label, **style)
    axes.set(xlabel="images per class", ylabel="test accuracy in percent", xticks=sorted({row["ipc"] for row in rows}))
    axes.grid(alpha=0.25)
    drawing.legend(loc="outside right upper", frameon=False, fontsize=8)
    drawing.savefig(path)


def read_options() -> Namespace:
    """The command line."""
    return command_line.options(
        __doc__,
        "",
        "runs/resize-sets",
        "resize_sets",
        sets=Path("runs/methods-digits"),
        known={"methods": WAYS},
        methods=list(WAYS),
        ipc=[1, 2, 5],
        full=10,
        seeds=3,
        networks_per_set=1,
        epochs=1000,
        score_epochs=1000,
        episodes=0,
    )


if __name__ == "__main__":
    main()
