"""Outcome: everything that was measured on one sparse network, as a table and as JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any

from yoco.sparsify.certificate import Certificate
from yoco.sparsify.masks import Count
from yoco.sparsify.measure import Measure, Row
from yoco.sparsify.pruned import Pruned, Report
from yoco.sparsify.sparse import Size

COLUMNS = {
    "layer": "{}",
    "weights": "{:,}",
    "zeros": "{:,}",
    "sparsity": "{:.2%}",
    "dense_flops": "{:,}",
    "flops": "{:,}",
    "effective": "{:,}",
    "predicted": "{:.4g}",
    "measured": "{:.4g}",
    "ridge": "{:.0e}",
}
"""Column -> how a value is written."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Everything that was measured on one sparse network.

    accuracy: in percent, by stage: dense, pruned, retrained or trained. seconds: by stage.
    shrunk: the total of the network without its dead channels.
    """

    pruned: Pruned
    measure: Measure
    accuracy: Mapping[str, float]
    seconds: Mapping[str, float]
    size: Size | None = None
    shrunk: Row | None = None
    certificate: Certificate | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def biases(self) -> Count | None:
        """Kept and all biases of the layers that were pruned, if these could lose some."""
        known = {row.layer for row in self.measure.rows}
        counts = [count for name, count in self.pruned.masks.by_layer().items() if name not in known]
        return Count(sum(count.kept for count in counts), sum(count.total for count in counts)) if counts else None

    def rows(self) -> list[dict[str, Any]]:
        """What is known of each layer, and the total."""
        found, used = [], self.measure.on_paths()
        for row in (*self.measure.rows, self.measure.total):
            weighed = {"zeros": row.zeros, "sparsity": row.sparsity, "effective": used.get(row.layer)}
            found.append({**asdict(row), **weighed})
        for known in found[:-1]:
            known |= asdict(self.pruned.layers.get(known["layer"], Report()))
            known |= asdict(self.certificate.layers[known["layer"]]) if self.certificate else {}
        return found

    def json(self) -> dict[str, Any]:
        """All of it, for json.dump."""
        found: dict[str, Any] = {name: dict(getattr(self, name)) for name in ("settings", "accuracy", "seconds")}
        found |= {"layers": self.rows(), "bytes": self.size._asdict() if self.size else None}
        if self.biases:
            found["biases"] = {"zeros": self.biases.total - self.biases.kept, "all": self.biases.total}
        if self.shrunk:
            found["shrunk"] = {"weights": self.shrunk.weights, "dense_flops": self.shrunk.dense_flops}
        if effective := self.measure.effective:
            found["effective"] = {name: getattr(effective, name) for name in ("nodes", "all_nodes", "weights")}
            paths = effective.log10_paths
            found["effective"]["log10_paths"] = paths if isfinite(paths) else None
        if self.certificate:
            bounds = {norm: self.certificate.bound(norm) for norm in ("frobenius", "spectral")}
            found["outputs"] = {"moved": self.certificate.moved, "bound": bounds}
        return found

    def markdown(self) -> str:
        """The accuracies, a table of the layers, and what else was measured."""
        stages = ", ".join(f"{stage} {value:.2f} %" for stage, value in self.accuracy.items())
        head = " | ".join(name.replace("_", " ") for name in COLUMNS)
        lines = [f"test accuracy: {stages}", "", f"| {head} |", "| --- " + "| ---: " * (len(COLUMNS) - 1) + "|"]
        return "\n".join([*lines, *(_line(row) for row in self.rows()), "", *self._sentences()])

    def _sentences(self) -> list[str]:
        said = [f"file: {self.size.file:,} bytes, dense {self.size.dense:,}"] if self.size else []
        if self.biases:
            gone = self.biases.total - self.biases.kept
            said.append(f"biases, which the table does not count: {gone:,} of {self.biases.total:,} are zero")
        if self.shrunk:
            weights, flops = f"{self.shrunk.weights:,} weights", f"{self.shrunk.dense_flops:,} dense flops"
            said.append(f"without dead channels: {weights}, {flops}")
        if self.measure.effective:
            said.append(str(self.measure.effective))
        if self.certificate:
            bounds = [(norm, self.certificate.bound(norm)) for norm in ("spectral", "frobenius")]
            words = ", ".join(f"{'none' if bound is None else f'{bound:.4g}'} ({norm})" for norm, bound in bounds)
            said.append(f"outputs moved by {self.certificate.moved:.4g} (root mean square); at most: {words}")
            said.append("errors: predicted on the images that the solver saw, measured on images of the training half")
        return said


def _line(row: Mapping[str, Any]) -> str:
    words = [form.format(row[name]) if row.get(name) is not None else "" for name, form in COLUMNS.items()]
    return f"| {' | '.join(words)} |"
