"""Several runs beside each other: in what they differ, what their sets are worth, and how their losses fell."""

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from statistics import fmean
from typing import Any

from yoco.condensed import load
from yoco.disk import at_home, replace_file
from yoco.report.conditions import protocols
from yoco.report.plots import series, smooth
from yoco.report.reading import RunFiles, of_another
from yoco.report.tables import TRAINED, markdown, spread, trained

HEAD = (*TRAINED, "sets", "last", "best")
ALIKE = ("seed", "device")
"""Settings in which runs may differ that are repetitions of each other."""
FIRST = ("method", "data", "checksum", "ipc", "network", "labels", "space")
"""Settings by which runs are told apart rather than by others."""
BASELINES = ("random", "full")
"""Rows of an evaluation whose networks were trained on real images, whatever those of the set are."""
ACCURACY = "Test accuracy in percent, mean ± standard deviation over sets"
BESIDE = ", that of baselines (random, full), which do not depend on the sets, over networks"

Way = tuple[str, ...]
"""The values of settings that tell runs apart."""
Pair = tuple[float, float]
"""Accuracy after the last epoch and the best one."""


def compare(*folders: str | Path, out: str | Path = ".") -> list[Path]:
    """Compare runs by their folders, and return the paths written into `out`: comparison.md and comparison.png.

    Runs that differ only in seed and device are repetitions. Without config.yaml the settings of a run are what its set
    says of how it was made and what was done with it since, for a merged set also of each part. A time budget is
    compared if it ended the run; the episodes that fitted into it are not.
    The accuracy of a set is its mean over networks; repetitions have mean and sample standard deviation over sets, and
    the table says how many sets. Baselines (random, full) do not depend on the sets: theirs are over networks, each
    counted once. Evaluations on other data, with other teachers or of more measurements stand apart; those of another
    state of a set are left out. The picture shows every set, every network of a baseline, and the losses.

    Raises:
        ValueError: fewer than two folders, one twice or without a run, or nothing that was evaluated or has a loss.
        OSError: the place cannot be written.
    """
    if len(folders) < 2:
        raise ValueError(f"compare: needs the folders of at least two runs, got {len(folders)}")
    if len({Path(folder).resolve() for folder in folders}) < len(folders):
        raise ValueError(f"compare: folders must be different, got {', '.join(map(str, folders))}")
    runs = [RunFiles(Path(folder)) for folder in folders]
    names, ways = ways_of([run.settings() for run in runs])
    worth, losses = _worth(runs, ways), [series(run.metrics(), "loss") for run in runs]
    if not worth and not any(len(episodes) for episodes, _ in losses):
        raise ValueError("compare: needs an evaluation or a loss, got none in any run")
    place = at_home(out)
    rows = [
        (*way, *judge, "-" if judge[0] in BASELINES else str(len(pairs)), *_spreads(pairs))
        for (way, *judge), pairs in _sorted(worth)
    ]
    words = f"{ACCURACY}{BESIDE if any(row[-3] == '-' for row in rows) else ''}; `best` is chosen by the test data."
    page = f"# {len(runs)} runs\n\n{markdown((*names, *HEAD), rows, numbers=5)}\n{words}\n"
    replace_file(place / "comparison.md", lambda temporary: temporary.write_text(page, encoding="utf-8"))
    replace_file(place / "comparison.png", lambda temporary: _draw(temporary, names, ways, worth, losses))
    return [place / "comparison.md", place / "comparison.png"]


def ways_of(configs: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], list[Way]]:
    """The names of settings that tell runs apart, and for each run their values in words.

    A setting that differs only where one before it does, such as those of one method alone, is left out. Data of one
    checksum go by one name, however they are spelt.
    """
    called = {
        str(each["checksum"]): each["data"] for each in reversed(configs) if each.get("checksum") and each.get("data")
    }
    configs = [{**each, "data": called.get(str(each.get("checksum")), each.get("data"))} for each in configs]
    kept: list[str] = []
    ways: list[Way] = [()] * len(configs)
    for name in dict.fromkeys((*FIRST, *(name for config in configs for name in config if name not in ALIKE))):
        values = ["" if (value := config.get(name)) is None else str(value) for config in configs]
        longer = [(*way, value) for way, value in zip(ways, values, strict=True)]
        if len({*longer}) > len({*ways}):
            kept, ways = [*kept, name], longer
    return tuple(kept), ways


def _worth(runs: Sequence[RunFiles], ways: Sequence[Way]) -> dict[tuple[Any, ...], list[Pair]]:
    """By way, training set, network, protocol, images and epochs: last and best accuracy, see `_counted`.

    Networks of one set, or of one baseline, go by their seeds. Those of a baseline are the same beside all sets of a
    way, and count once; but "random" draws as many images of each class as a set has room for, so that beside a set
    with other room, be it as much in all, it is a network more.
    """
    trials: dict[tuple[Any, ...], dict[Any, dict[int, Pair]]] = {}
    found = [_shown(run) for run in runs]
    said = iter(protocols([pair for _, pairs in found for pair in pairs]))
    for at, ((room, pairs), way) in enumerate(zip(found, ways, strict=True)):
        learned: dict[str, Any] = {"random": ("random", room), "full": "full"}
        for _, row in pairs:
            seeds = row.get("seeds", range(len(row["last"])))
            each = zip(seeds, zip(row["last"], row["best"], strict=True), strict=True)
            own = trials.setdefault((way, *trained(row, next(said))), {})
            own.setdefault(learned.get(row["name"], at), {}).update(each)  # one seed of two files counts once
    return {key: _counted(key[1], list(own.values())) for key, own in trials.items()}


def _counted(name: str, trials: Sequence[Mapping[int, Pair]]) -> list[Pair]:
    """What a spread is over: the mean of the networks of each set, but every network of a baseline."""
    if name in BASELINES:
        return [pair for each in trials for pair in each.values()]
    return [(fmean(last), fmean(best)) for last, best in (zip(*each.values(), strict=True) for each in trials)]


def _shown(run: RunFiles) -> tuple[Any, list[tuple[Mapping[str, Any], Mapping[str, Any]]]]:
    """The whole images of each class that the set has room for, and every evaluation of it with each of its rows.

    Evaluations are those of the set as it is; without a set its room is None.
    """
    condensed = load(run.condensed) if run.condensed.is_file() else None
    room = None if condensed is None else tuple(ceil(count / condensed.factor**2) for count in condensed.counts)
    own = [found for found in run.evaluations().values() if condensed is None or not of_another(found, condensed)]
    return room, [(found, row) for found in own for row in found["results"]]


def _sorted(worth: Mapping[tuple[Any, ...], Any]) -> list[tuple[tuple[Any, ...], Any]]:
    """The same judges beside each other, their ways in the order of the runs."""
    judges = dict.fromkeys(key[1:] for key in worth)
    return [(key, worth[key]) for judge in judges for key in worth if key[1:] == judge]


def _spreads(pairs: Sequence[Pair]) -> tuple[str, str]:
    last, best = zip(*pairs, strict=True)
    return spread(last), spread(best)


def _draw(path: Path, names: Sequence[str], ways: Sequence[Way], worth: Any, losses: Sequence[Any]) -> None:
    """Left the accuracies by their ways, right the losses; a colour for each way."""
    from matplotlib.figure import Figure

    colours = {way: f"C{at % 10}" for at, way in enumerate(dict.fromkeys(ways))}
    panels = [name for name, there in (("accuracy", worth), ("loss", any(len(e) for e, _ in losses))) if there]
    figure = Figure(figsize=(6.4 * len(panels), 4.2), dpi=120, layout="constrained")
    for place, panel in enumerate(panels, 1):
        axes = figure.add_subplot(1, len(panels), place)
        _accuracies(axes, colours, worth) if panel == "accuracy" else _losses(axes, colours, ways, losses)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    if len(colours) > 1:
        lines = [figure.axes[-1].plot([], [], color=colour, linewidth=3)[0] for colour in colours.values()]
        words = [", ".join(f"{name}={value}" for name, value in zip(names, way, strict=True)) for way in colours]
        figure.legend(lines, words, loc="outside lower center", frameon=False, fontsize=8, ncols=2)
    figure.savefig(path, format="png")


def _accuracies(axes: Any, colours: Mapping[Way, str], worth: Any) -> None:
    """A column for each judge, in it a place for each way: every set, or baseline network, a dot, their mean a bar."""
    judges = list(dict.fromkeys(key[1:] for key in worth))
    for (way, *judge), sets in worth.items():
        at = judges.index(tuple(judge)) + 0.8 * (list(colours).index(way) + 0.5) / len(colours) - 0.4
        last = [value for value, _ in sets]
        axes.plot([at] * len(last), last, "o", color=colours[way], alpha=0.6, markersize=4)
        axes.hlines(fmean(last), at - 0.3 / len(colours), at + 0.3 / len(colours), color=colours[way], linewidth=2)
    said = "{0}\n{1}, {2}\n{3} images, {4} epochs"
    axes.set_xticks(range(len(judges)), [said.format(*judge) for judge in judges])
    networks = ", or network of a baseline" if any(key[1] in BASELINES for key in worth) else ""
    axes.set_ylabel(f"test accuracy in percent, every set{networks}")


def _losses(axes: Any, colours: Mapping[Way, str], ways: Sequence[Way], losses: Sequence[Any]) -> None:
    for way, (episodes, values) in zip(ways, losses, strict=True):
        if len(values):
            axes.plot(episodes, smooth(values, max(1, len(values) // 20 | 1)), color=colours[way], linewidth=1.3)
    if all((values > 0).all() for _, values in losses):
        axes.set_yscale("log")
    axes.set(xlabel="episode", ylabel="loss, of each method its own")
