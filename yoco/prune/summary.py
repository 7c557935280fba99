"""What pruning kept, as a table."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from yoco.condensed import CondensedSet


def report(result: CondensedSet) -> str:
    """A Markdown table of a pruned or ranked set: for each class what there was, what is kept and its scores; bytes.

    Raises:
        ValueError: the set was neither pruned nor ranked.
    """
    steps = [entry for entry in result.history if entry.get("step") in ("prune", "rank")]
    if not steps:
        raise ValueError("report: the set must have been pruned or ranked, got one that was not")
    last = steps[-1]
    lines = ["| class | had | kept | scores of the kept |", "|---|---|---|---|"]
    for c, name in enumerate(result.classes):
        mine = None if result.scores is None else result.scores[result.labels == c]
        lines.append(f"| {_cell(name)} | {last['had'][c]} | {result.counts[c]} | {_range(mine)} |")
    lines.append(f"| all | {sum(last['had'])} | {len(result)} | {_range(result.scores)} |")
    lines += ["", f"rule {last['rule']}, {_size(last)}{_made(last['scores'])}"]
    if last["short"]:
        names = ", ".join(repr(name) for name in last["short"])
        lines.append(f"fewer than an equal share in {names}: all of it is kept, and the others fill up")
    before, after = last["bytes"][0], result.nbytes
    lines.append(f"{before:,} bytes before, {after:,} after ({100 * after / before:.1f} %)")
    return "\n".join(lines)


def _cell(name: str) -> str:
    return name.replace("|", "\\|")


def _range(scores: Tensor | None) -> str:
    if scores is None or not len(scores):
        return "-"
    return f"{float(scores.min()):.4g} .. {float(scores.max()):.4g}"


def _size(entry: Mapping[str, Any]) -> str:
    if entry["step"] == "rank":
        return "all cells, best first"
    return ", ".join(f"{kind}={value}" for kind, value in entry["budget"].items())


def _made(scores: Mapping[str, Any] | None) -> str:
    if not scores:
        return ""
    shown = [f"{name}={value}" for name, value in sorted(scores.items()) if name not in ("score", "recipe")]
    return f"; score {scores['score']}" + (f" ({', '.join(shown)})" if shown else "")
