"""What pruning kept of a condensed set, as a table."""

from yoco.condensed import CondensedSet
from yoco.prune.selection import table


def report(result: CondensedSet) -> str:
    """A Markdown table of a pruned or ranked set: for each class what there was, what is kept and its scores; bytes.

    Raises:
        ValueError: the set was neither pruned nor ranked.
    """
    steps = [entry for entry in result.history if entry.get("step") in ("prune", "rank")]
    if not steps:
        raise ValueError("report: the set must have been pruned or ranked, got one that was not")
    return table(steps[-1], result.classes)
