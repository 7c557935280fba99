"""Time and peak memory of every rule that chooses among clustered features, beside a plain version of it.

    python experiments/prune_benchmark.py     # about half an hour, on one thread

Every measurement is a process of its own: it makes the data, runs the rule once on a few samples to load what that
needs, and takes the peak memory so far as the baseline; what the peak rises above it is the rule's. A run that was
stopped goes on: every measurement is kept in the run's folder.
"""

import argparse
import json
import os
from typing import Any

import apart
import command_line
import result
import torch

from yoco.prune import Budget, Choice, Items, find
from yoco.prune.quotas import apply
from yoco.rng import Rng

ROWS = 1000
RULES = (
    *("random", "easy", "hard", "window", "stratified", "beta"),
    *("herding", "k-center", "medoids", "moderate", "d2", "facility-location", "graph-cut", "craig", "gradmatch"),
)
QUOTAS = {"none": "all at once", "equal": "class by class"}
LEFT_OUT = {("gradmatch", "none")}
"""Its active set of thousands of gradients takes many minutes: class by class alone."""


def main() -> None:
    """Measure what is not measured yet, write the table."""
    options = read_options()
    torch.set_num_threads(1)
    if options.one:
        print(json.dumps(measured(json.loads(options.one))))
        return
    rows = [row_of(rule, options) for rule in options.rules]
    content = {
        "data": "Gaussian clusters",
        "checksum": rows[0]["equal"]["checksum"],
        "protocol": "time",
        "seeds": [0],
        "threads": torch.get_num_threads(),
        **{name: getattr(options, name) for name in ("n", "dim", "keep", "classes", "plain_n")},
        "rows": rows,
    }
    print("\n".join(table({**content, "cores": os.cpu_count()})))
    print(f"written to {result.write(options.name, folder=options.results, **content)}")


def row_of(rule: str, options: argparse.Namespace) -> dict[str, Any]:
    """All measurements of one rule."""
    from plain_rules import MOST, PLAIN

    row = {"rule": rule, **{q: kept(options, rule=rule, quota=q) for q in QUOTAS if (rule, q) not in LEFT_OUT}}
    if rule in PLAIN:
        few = min(options.n, options.plain_n, MOST.get(rule, options.plain_n))
        ours, plain = (kept(options, rule=rule, quota="none", n=few, plain=plain) for plain in (False, True))
        both = set(ours["indices"]) & set(plain["indices"])
        row |= {"small": ours, "plain": plain, "same": round(len(both) / len(ours["indices"]), 4)}
    return {
        key: {k: v for k, v in part.items() if k != "indices"} if isinstance(part, dict) else part
        for key, part in row.items()
    }


def kept(options: argparse.Namespace, **changes: Any) -> dict[str, Any]:
    """One measurement, in a process of its own unless an earlier run made it."""
    how = {name: getattr(options, name) for name in ("n", "dim", "keep", "classes")} | {"plain": False} | changes
    path = options.out / f"{'-'.join(str(value) for _, value in sorted(how.items()))}.json"
    return apart.kept(__file__, how, path)


def measured(how: dict[str, Any]) -> dict[str, Any]:
    """Seconds, MiB above the baseline, and what was chosen."""
    items = made(how["n"], how["dim"], how["classes"])
    total = Budget(keep=how["keep"]).total(how["n"], how["classes"])
    chosen(how, made(2 * how["classes"], how["dim"], how["classes"]), how["classes"])
    indices, spent = apart.timed(lambda: chosen(how, items, total))
    return {
        **spent,
        "checksum": result.digest(items.features),
        "indices": indices.tolist(),
    }


def chosen(how: dict[str, Any], items: Items, total: int) -> torch.Tensor:
    """The answer of the rule, or of the plain one."""
    if how["plain"]:
        from plain_rules import PLAIN

        return PLAIN[how["rule"]](items, total)
    answer = apply(find(how["rule"]), items, total, how["quota"], Rng(0))
    return answer.indices if isinstance(answer, Choice) else answer


def made(n: int, dim: int, classes: int) -> Items:
    """One Gaussian cluster for each class, errors of a network that is right more often than not, scores as forgetting.

    It is filled in row by row, so that making it takes no more memory than holding it.
    """
    rng = Rng(0).child("benchmark")
    draw = rng.generator()
    centres = torch.randn(classes, dim, generator=draw)
    labels = torch.arange(n) % classes
    features, errors = torch.empty(n, dim), torch.empty(n, classes)
    for first in range(0, n, ROWS):
        part = slice(first, first + ROWS)
        features[part] = centres[labels[part]] + torch.randn(len(labels[part]), dim, generator=draw)
        target = torch.eye(classes)[labels[part]]
        errors[part] = (2 * target + torch.randn(len(target), classes, generator=draw)).softmax(1) - target
    confidence = 1 - errors.gather(1, labels[:, None]).abs().squeeze(1)
    scores = (20 * (1 - confidence) * torch.rand(n, generator=draw)).floor()
    return Items(scores, labels, classes, features, errors, confidence)


def table(content: dict[str, Any]) -> list[str]:
    """Markdown, of a result."""
    rows = content["rows"]
    titles = [f"{title}, {unit}" for title in (*QUOTAS.values(), "few", "few, plain") for unit in ("s", "MiB")]
    lines = [f"| rule | {' | '.join(titles)} | same |", "|---" * (len(titles) + 2) + "|"]
    for row in rows:
        cells = [cell(row.get(part)) for part in (*QUOTAS, "small", "plain")]
        same = f"{100 * row['same']:.4g} %" if "same" in row else "-"
        lines.append(f"| {row['rule']} | {' | '.join(cells)} | {same} |")
    few = {row["rule"]: row["small"]["n"] for row in rows if "small" in row}
    usual = max(few.values(), default=content["plain_n"])
    less = "".join(f", of {name} {n:,}" for name, n in few.items() if n != usual)
    apart = ", ".join(row["rule"] for row in rows if "none" not in row)
    return [
        *lines,
        "",
        f"{100 * content['keep']:g} % of {content['n']:,} samples with {content['dim']} features in",
        f"{content['classes']} classes;",
        f"few: of {usual:,}{less}. Seconds, and MiB of peak memory above",
        f"those of holding the data; {content['threads']} of {content['cores']} cores. Plain: the rule as one",
        "would write it first, with whole matrices. Same: the share of the choice that both have in common.",
        *([f"Not run all at once, where its active set would be of thousands of gradients: {apart}."] if apart else []),
    ]


def cell(part: dict[str, Any] | None) -> str:
    """Seconds and MiB."""
    return "- | -" if part is None else f"{part['seconds']:.3g} | {part['megabytes']:.0f}"


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=50_000, help="samples")
    parser.add_argument("--dim", type=int, default=512, help="features of each")
    parser.add_argument("--keep", type=float, default=0.1, help="share that is kept")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--plain-n", type=int, default=2_000, help="samples for the plain versions, at most")
    parser.add_argument("--rules", nargs="+", choices=RULES, default=list(RULES), metavar="RULE")
    command_line.add_places(parser, "runs/prune-benchmark", "prune_benchmark")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    return options


if __name__ == "__main__":
    main()
