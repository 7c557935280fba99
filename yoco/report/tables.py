"""Tables of accuracies, as Markdown."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from yoco.disk import at_home
from yoco.report.conditions import protocols
from yoco.report.reading import RunFiles, evaluation

TRAINED = ("trained on", "network", "protocol", "images", "epochs")
HEAD = (*TRAINED, "last", "best")


def table(*places: str | Path) -> str:
    """One table of all results of evaluations: of these JSON files, and of all that lie in these folders of runs.

    Accuracies are in percent, mean ± standard deviation over the seeds, after the last epoch and at the best one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file is damaged, a folder holds no run, or there is no result at all.
    """
    found: dict[str, Mapping[str, Any]] = {}
    paths = [at_home(place) for place in places]
    names = [path.name for path in paths]
    for place in paths:
        if place.is_dir():
            called = place.name if names.count(place.name) == 1 and place.name else place.as_posix()
            found |= {f"{called}/{name}": result for name, result in RunFiles(place).evaluations().items()}
        else:
            found[str(place)] = evaluation(place)
    if not found:
        raise ValueError(
            f"table: needs the result of an evaluation, got none in {', '.join(map(str, places)) or 'nothing'}"
        )
    return accuracies(found)


def accuracies(results: Mapping[str, Mapping[str, Any]], named: bool = False) -> str:
    """The table of results by name; with several results, or where it is asked for, the first column says which."""
    several = named or len(results) > 1
    found = [(name, result, row) for name, result in results.items() for row in result["results"]]
    said = protocols([(result, row) for _, result, row in found])
    lines = [
        ((name,) if several else ()) + (*trained(row, protocol), spread(row["last"]), spread(row["best"]))
        for (name, _, row), protocol in zip(found, said, strict=True)
    ]
    return markdown((("evaluation",) if several else ()) + HEAD, lines, numbers=4)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: int = 0) -> str:
    """A Markdown table; the last `numbers` columns stand at the right."""
    rules = [*["---"] * (len(head) - numbers), *["---:"] * numbers]
    lines = [head, rules, *([" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def trained(row: Mapping[str, Any], protocol: str) -> tuple[str, ...]:
    """What networks were trained on and how, in words: the cells under `TRAINED`."""
    return str(row["name"]), str(row["network"]), protocol, f"{row['images']:,}", f"{row['epochs']:,}"


def spread(values: Sequence[float]) -> str:
    """Mean and sample standard deviation (over n - 1); of one value the value alone."""
    return f"{fmean(values):.2f} ± {stdev(values):.2f}" if len(values) > 1 else f"{values[0]:.2f}"
