"""Lines of the tables that readme.py writes."""

from typing import Any

import result


def head(first: str, sizes: list[Any]) -> list[str]:
    """The first two lines of a table."""
    columns = " | ".join(f"{ipc} per class" for ipc in sizes)
    return [f"| {first} | {columns} |", "|---" * (len(sizes) + 1) + "|"]


def line(rows: list[dict[str, Any]], name: str, way: str, sizes: list[Any], by: str = "way") -> str:
    """One way at all sizes."""
    found = {row["ipc"]: result.plus(row, "last") for row in rows if row[by] == way}
    return f"| {name} | {' | '.join(found.get(ipc, '-') for ipc in sizes)} |"


def spread_of(content: dict[str, Any]) -> str:
    """How many networks stand behind a number."""
    counts = sorted({len(row["last"]) for row in content["rows"]})
    many = " or ".join(map(str, counts))
    whose = "of one network" if counts == [1] else f"mean and standard deviation of {many} networks"
    return f"Last accuracy in per cent, {whose}, {content['epochs']} epochs."


def thread_count(number: int) -> str:
    """One or many."""
    return "one thread" if number == 1 else f"{number} threads"
