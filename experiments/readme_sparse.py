"""The README's tables of sparse networks."""

from typing import Any

import result
from rows import listed


def lobs_table(content: dict[str, Any]) -> list[str]:
    """Test errors by network, share and solver."""
    lines = ["| network | kept | solver | dense | pruned | retrained |", "|---" * 6 + "|"]
    for row in content["rows"]:
        cells = " | ".join(result.plus(row, value) for value in ("dense", "pruned", "retrained"))
        lines.append(f"| {row['network']} | {100 * row['kept']:g} % | {row['way']} | {cells} |")
    return [
        *lines,
        "",
        f"Test error in per cent, mean and standard deviation of {len(content['seeds'])} networks (epochs of training:",
        f"{epochs_of(content)}); second moments of {content['images']:,} images;",
        f"{content['steps']} steps of retraining. All solvers leave the same number of zeros in each layer, shared",
        f"out by the curves of `exact`. Trained in {content['computed_in']}.",
    ]


def condensed_calibration(content: dict[str, Any]) -> list[str]:
    """The figure, and the accuracies behind it."""
    shares = sorted({row["sparsity"] for row in content["rows"]})
    lines = ["![accuracy against sparsity](experiments/results/condensed_calibration.png)", ""]
    lines += [
        f"| network | images | {' | '.join(f'{100 * s:g} % zeros' for s in shares)} |",
        "|---" * (len(shares) + 2) + "|",
    ]
    for network in dict.fromkeys(row["network"] for row in content["rows"]):
        for source, images in content["sources"].items():
            rows = [row for row in content["rows"] if (row["network"], row["source"]) == (network, source)]
            found = {row["sparsity"]: f"{tenths(row, 'pruned')} → {tenths(row, 'retrained')}" for row in rows}
            lines.append(f"| {network} | {source} ({images:,}) | {' | '.join(found.get(s, '-') for s in shares)} |")
    return [
        *lines,
        "",
        f"Test accuracy in per cent after pruning by `exact` (dashed) and after about {content['steps']} steps of",
        f"retraining, both on these images alone; mean and standard deviation of {len(content['seeds'])} networks,",
        f"trained in {content['computed_in']} (epochs: {epochs_of(content)}). The set is one of IDC.",
    ]


def epochs_of(content: dict[str, Any]) -> str:
    """How long each of the dense networks was trained."""
    return ", ".join(f"{network} {count}" for network, count in content["epochs"].items())


def tenths(row: dict[str, Any], kind: str) -> str:
    """Mean and, of several, deviation, as `result.plus`, to a tenth."""
    single = len(row[kind]) == 1
    return f"{row[f'{kind}_mean']:.1f}" + ("" if single else f" ± {row[f'{kind}_std']:.1f}")


def npb_table(content: dict[str, Any]) -> list[str]:
    """Accuracy, FLOPs, nodes, paths and seconds by network, sparsity and rule."""
    lines = ["| network | zeros | masks | accuracy | FLOPs | nodes | log10 paths | seconds |", "|---" * 8 + "|"]
    for row in content["rows"]:
        masks = method_of(content["ways"][row["way"]])
        paths = f"{row['log10_paths_mean']:.1f}" if all(row["nodes"]) else "none"
        lines.append(
            f"| {row['network']} | {100 * row['sparsity']:g} % | {masks} | {result.plus(row, 'accuracy')} |"
            f" {row['flops_mean'] / 1e6:.2f} M | {row['nodes_mean']:.0f} | {paths} |"
            f" {row['seconds_mean']:.2f} |"
        )
    early = sum(int(content["epochs"] * share) == 0 for share in (2 / 3, 5 / 6))  # drops ahead of the first epoch
    first = content.get("first_lr", content["lr"] * 0.2**early)
    return [
        *lines,
        "",
        f"Test accuracy in per cent after training with the masks for so many epochs: {content['epochs']}",
        f"(the papers: 100 and more) from step size {first:g} on, in {content['computed_in']}.",
        f"Networks of each kind: {len(content['seeds'])}; with one, a few points may be noise, most of all of a ResNet",
        "that is trained so briefly. Seconds to find the masks.",
    ]


def method_of(how: dict[str, Any]) -> str:
    """The name of the method that makes the masks: `random` with a layout has the name of that layout."""
    name, options = str(how["at_init"]), how.get("options", {})
    return str(options.get("layout", name)) if name == "random" else name


def solver_speed(content: dict[str, Any]) -> list[str]:
    """Seconds, MiB and error of every solver on every layer."""
    lines = ["| inputs x outputs | solver | seconds | MiB | error |", "|---" * 5 + "|"]
    for row in content["rows"]:
        size = f"{row['d']:,} x {row['m']}"
        lines.append(
            f"| {size} | {row['solver']} | {row['seconds']:.2f} | {row['megabytes']:.0f} | {row['error']:.4f} |"
        )
    largest = max(row["d"] for row in content["rows"])
    there = {row["solver"] for row in content["rows"] if row["d"] == largest}
    others = list(dict.fromkeys(row["solver"] for row in content["rows"] if row["solver"] not in there))
    return [
        *lines,
        "",
        f"{100 * content['sparsity']:g} % zeros, from {content['samples']:,} inputs on; threads: {content['threads']}.",
        "MiB above the peak memory while the inputs were drawn, which is several times theirs: what fits into",
        "that counts nothing. Error of the outputs next to their square. Literal: the procedure that L-OBS released,",
        "sample by sample and weight by weight.",
        *([f"Not run on the largest layer: {listed(others)}."] if others else []),
    ]
