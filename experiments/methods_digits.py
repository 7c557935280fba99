"""Every method on scikit-learn's digits at 1, 5 and 10 images per class, at its own settings for them.

    python experiments/methods_digits.py &      # as many processes as there are cores: they share the trials
    python experiments/methods_digits.py        # once more, when all have ended, to write the result

What was stopped goes on; `--part 1 1` does no trial and writes the result of those that are there. Seconds of a method
are those of one thread: its start, and the experts, teachers and networks that it trains, are in them.
"""

import time
from argparse import Namespace
from functools import partial
from typing import Any

import command_line
import result
import sets
from claims import Folder, key

import yoco
from yoco.condense import METHODS
from yoco.data import load

VALUES = ("last", "best", "seconds", "cpu_seconds")
BY = ("method", "ipc", "images", "bytes", "labels")


def main() -> None:
    """Every seed, size and method, and all training images; then the result."""
    options = read_options()
    sets.warm_up()
    bench = Bench(Folder(options.out, options.part), load("digits"), options)
    made, full = [], []
    for seed in range(options.seeds):
        made += [bench.kept(method, ipc, seed) for ipc in options.ipc for method in options.methods]
        full.append(bench.whole(seed))
    if bench.folder.complete():
        content = {
            **bench.about(),
            "rows": result.summary(sets.by_network(made), BY, ("seed",), VALUES),
            "full": result.summary(sets.by_network(full), BY, ("seed",), VALUES),
            "failed": [row for row in made if row and "failed" in row],
        }
        print(f"written to {result.write(options.name, folder=options.results, **content)}")


class Bench(sets.Bench):
    """How a method's set of a size is made and judged."""

    def settings(self, method: str, ipc: int) -> dict[str, Any]:
        """Of a method at a size."""
        return sets.settings(method, self.data, ipc, **self.fewer(method, ipc))

    def kept(self, method: str, ipc: int, seed: int, shared: bool = False) -> dict[str, Any] | None:
        """One trial; shared: wait for it when another process is at it."""
        name = self.name(method, ipc, seed)
        return self.folder.keep(name, partial(self.trial, name, method=method, ipc=ipc, seed=seed), shared)

    def name(self, method: str, ipc: int, seed: int) -> str:
        """Of a trial; it changes with the settings of the method and the length of judging."""
        judged = {"epochs": self.options.epochs, "networks": len(self.judges(seed))}
        return f"{method.replace(':', '-')}-{ipc}-{seed}-{key(settings=self.settings(method, ipc), **judged)}"

    def trial(self, name: str, **asked: Any) -> dict[str, Any]:
        """A set is made and judged; a method that has no set of this size, or whose losses explode, says why."""
        began, cpu = time.perf_counter(), time.process_time()
        method, own = sets.named(asked["method"])
        own |= self.fewer(asked["method"], asked["ipc"])
        how = {"ipc": asked["ipc"], "seed": asked["seed"], "device": "cpu", "progress": False}
        try:
            made = yoco.condense(self.data, method, **how, **own)
        except ValueError as error:
            return {**asked, "failed": str(error)}
        spent = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}
        made.save(self.folder.file(name, "safetensors"))
        judged = sets.worth(made, self.data, self.judges(asked["seed"]), epochs=self.options.epochs)
        times = {name: round(value, 2) for name, value in spent.items()}
        return {**asked, "condensed_on": result.made_on("cpu"), **times, **sets.held(made, asked["method"]), **judged}

    def whole(self, seed: int) -> dict[str, Any] | None:
        """All training images, judged as a set is."""
        many, epochs = self.options.networks_per_set, self.options.full_epochs
        return self.folder.keep(f"full-{seed}-{epochs}-{many}", partial(self.all_images, seed, epochs))

    def all_images(self, seed: int, epochs: int) -> dict[str, Any]:
        """Its trial; pixels are bytes."""
        train = self.data.train
        images = len(train) // len(train.classes)
        row = {"method": "all training images", "ipc": images, "seed": seed, "seconds": 0.0, "cpu_seconds": 0.0}
        judged = sets.worth(train, self.data, self.judges(seed), epochs=epochs)
        return {**row, "images": images, "bytes": train.nbytes, "labels": "hard", **judged}

    def about(self) -> dict[str, Any]:
        """What the result says of the data, the settings and the networks that judge."""
        methods, sizes = self.options.methods, self.options.ipc
        return {
            **self.common("epochs", "full_epochs"),
            "episodes": self.options.episodes or "published",
            "computed_in": "float32",
            "settings": {m: {str(ipc): self.settings(m, ipc) for ipc in sizes} for m in methods},
        }


def read_options() -> Namespace:
    """The command line."""
    return command_line.options(
        __doc__,
        "",
        "runs/methods-digits",
        "methods_digits",
        methods=list(METHODS),
        ipc=[1, 5, 10],
        seeds=3,
        networks_per_set=1,
        epochs=1000,
        full_epochs=100,
        episodes=0,
    )


if __name__ == "__main__":
    main()
