"""The page that says what a run made."""

from collections.abc import Mapping, Sequence
from typing import Any

from yoco.condensed import CondensedSet
from yoco.report.images import COLUMNS, headline
from yoco.report.plots import spent
from yoco.report.reading import Evaluations, of_another
from yoco.report.tables import accuracies, markdown


def page(
    name: str,
    condensed: CondensedSet | None,
    config: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    evaluations: Evaluations,
    pictures: Sequence[str],
) -> str:
    """The report of a run, as Markdown; name: of its folder; pictures: those that were drawn."""
    parts = [f"# {name if condensed is None else headline(condensed)}"]
    parts.append("There is no condensed set yet." if condensed is None else markdown(("", ""), _facts(condensed)))
    if evaluations:
        others = [name for name, found in evaluations.items() if condensed and of_another(found, condensed)]
        elsewhere = [name for name, found in evaluations.items() if found.get("same_data") is False]
        note = "Test accuracy in percent, mean ± standard deviation over seeds; `best` is chosen by the test data."
        if others:
            note += f" Of another set than the one shown, or of an earlier state of it: {', '.join(others)}."
        if elsewhere:
            note += f" On other data than the set was made from: {', '.join(elsewhere)}."
        parts += ["## Accuracy", accuracies(evaluations, named=bool(others or elsewhere)), note]
    if "images.png" in pictures and condensed is not None:
        parts += ["## Images", "![the cells of each class](images.png)", _caption(condensed)]
    if "curves.png" in pictures:
        parts += ["## Curves", f"{spent(rows)}.", "![loss and accuracy over the episodes](curves.png)"]
    if config:
        settings = [(f"`{key}`", f"`{value}`") for key, value in config.items()]
        parts += ["## Settings", markdown(("setting", "value"), settings)]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _facts(condensed: CondensedSet) -> list[tuple[str, str]]:
    """What there is to know about a set, in words."""
    c, h, w = condensed.cells.shape[1:]
    size = f"{condensed.size[0]}x{condensed.size[1]}"
    cells = f"{len(condensed):,} of {c}x{h}x{w}"
    facts = [
        ("classes", f"{len(condensed.classes)}: {_list(condensed.classes)}"),
        (
            "training images",
            f"{len(condensed):,} of {size}" if condensed.factor == 1 else _decoded(condensed, cells, size),
        ),
        ("order in a class", condensed.order),
        ("pixels", {"unit": "in [0, 1]", "unbounded": "may leave [0, 1]", "zca": "whitened (ZCA)"}[condensed.space]),
        ("storage", _storage(condensed)),
        ("seed", "" if condensed.seed is None else str(condensed.seed)),
        ("checksum of the data", str(condensed.source.get("checksum", ""))[:16]),
        ("versions", ", ".join(f"{part} {version}" for part, version in condensed.versions.items())),
    ]
    return [(key, value) for key, value in facts if value]


def _decoded(condensed: CondensedSet, cells: str, size: str) -> str:
    f = condensed.factor
    return f"{cells}, each enlarged to {size} (factor {f}: {f * f} cells in the room of one image)"


def _storage(condensed: CondensedSet) -> str:
    words = condensed.storage
    images = condensed.source.get("images")
    if isinstance(images, int) and images > 0:
        share = len(condensed) / condensed.factor**2 / images
        words += f"; the room of {100 * share:.3g} % of the {images:,} images it was made from"
    return words


def _list(names: Sequence[str]) -> str:
    return ", ".join(names if len(names) <= 12 else [*names[:11], "…"])


def _caption(condensed: CondensedSet) -> str:
    f = condensed.factor
    images = max(condensed.counts) / f**2
    which = f"the first {COLUMNS} of {images:g} images" if images > COLUMNS else "each image"
    words = f"A row for each class; a column for {which} of the budget, the first ones first"
    return f"{words}." if f == 1 else f"{words}, each with its {f * f} cells."
