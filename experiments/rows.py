"""Lines of the tables that readme.py writes."""

from statistics import mean, stdev
from typing import Any

import result

WHOLE = "whole"
"""The way of the set that is not pruned."""


def head(first: str, sizes: list[Any]) -> list[str]:
    """The first two lines of a table. first: the title of its first column, or of several with bars between them."""
    columns = " | ".join(f"{ipc} per class" for ipc in sizes)
    return [f"| {first} | {columns} |", "|---" * (first.count("|") + 1 + len(sizes)) + "|"]


def line(rows: list[dict[str, Any]], name: str, way: str, sizes: list[Any], by: str = "way") -> str:
    """One way at all sizes."""
    found = {row["ipc"]: result.plus(row, "last") for row in rows if row[by] == way}
    return f"| {name} | {' | '.join(found.get(ipc, '-') for ipc in sizes)} |"


def spread_of(content: dict[str, Any]) -> str:
    """How many networks stand behind a number, of several rankings how many of each, and how all were trained."""
    counts = sorted({len(row["last"]) for row in content["rows"]})
    many = " or ".join(map(str, counts))
    whose = "of one network" if counts == [1] else f"mean and standard deviation of {many} networks{kinds_of(content)}"
    watched = content["dynamics"]["epochs"] if "dynamics" in content else content.get("score_epochs")
    ranked = f"; dynamics of {watched:,} epochs" if watched else ""
    return f"Last accuracy in per cent, {whose}, {content['epochs']} epochs, in {content['computed_in']}{ranked}."


def kinds_of(content: dict[str, Any]) -> str:
    """Of how many rankings and seeds of networks the pruned sets are, where there are several rankings."""
    pruned = [row for row in content["rows"] if row.get("way") != WHOLE]
    if not pruned or not all("run" in row for row in pruned):
        return ""
    rankings, seeds = (max(len({*row[kind]}) for row in pruned) for kind in ("run", "seed"))
    if rankings == 1:
        return ""
    uncut = max((len({*row["seed"]}) for row in content["rows"] if row.get("way") == WHOLE), default=seeds)
    rest = f"; the whole set by {uncut}" if uncut != seeds else ""
    return f" ({rankings} rankings, each judged by {seeds} seed{'' if seeds == 1 else 's'} of networks{rest})"


def gain(rows: list[dict[str, Any]], way: str, base: str) -> dict[str, float] | None:
    """Points of a way above another in the mean over all sizes, and their standard error over the rankings.

    Trainings pair by ranking and seed. Those of one ranking are averaged first, as the ranking is the same for all of
    them. None where fewer than two rankings were judged at all sizes in both ways.
    """
    mine, others = over_sizes(rows, way), over_sizes(rows, base)
    rankings: dict[int, list[float]] = {}
    for run, seed in sorted(mine.keys() & others.keys()):
        rankings.setdefault(run, []).append(mine[run, seed] - others[run, seed])
    above = [mean(values) for values in rankings.values()]
    if len(above) < 2:
        return None
    error = stdev(above) / len(above) ** 0.5
    return {"points": round(mean(above), 3), "standard_error": round(error, 3), "rankings": len(above)}


def over_sizes(rows: list[dict[str, Any]], way: str) -> dict[tuple[int, int], float]:
    """(run, seed) -> the mean over all sizes, of those that were judged at all of them."""
    found: dict[tuple[int, int], list[float]] = {}
    for row in (row for row in rows if row["way"] == way):
        for run, seed, last in zip(row["run"], row["seed"], row["last"], strict=True):
            found.setdefault((run, seed), []).append(last)
    sizes = len({row["ipc"] for row in rows})
    return {pair: mean(values) for pair, values in found.items() if len(values) == sizes}


def listed(words: list[Any]) -> str:
    """1, 2 and 5."""
    *first, last = map(str, words)
    return f"{', '.join(first)} and {last}" if first else last


def thread_count(number: int) -> str:
    """One or many."""
    return "one thread" if number == 1 else f"{number} threads"
