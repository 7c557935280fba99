"""Pictures, curves and a table of a run, or of several beside each other: read from folders, never computed anew."""

from pathlib import Path

from yoco.condensed import load
from yoco.disk import at_home, replace_file
from yoco.report import text
from yoco.report.comparison import compare
from yoco.report.images import sheet
from yoco.report.plots import curves, drawable, layer_curves
from yoco.report.reading import RunFiles
from yoco.report.tables import table
from yoco.verb import make_callable

__all__ = ["compare", "curves", "layer_curves", "report", "sheet", "table"]


def report(folder: str | Path, out: str | Path | None = None) -> list[Path]:
    """Draw what the folder of a run holds; the paths of what was written.

    images.png: the cells by class; curves.png: the loss, and the accuracy where it was measured; report.md: what the
    set is, how it was made, the table of accuracies, and both pictures. A run that has not come to its end gives what
    is there so far. out: another folder than that of the run.

    Raises:
        ValueError: the folder holds no run, or a file of it is damaged.
        OSError: the place cannot be written.
    """
    files = RunFiles(Path(folder))
    place = at_home(out) if out is not None else files.folder
    made = load(files.condensed) if files.condensed.is_file() else None
    rows, evaluations, config = files.metrics(), files.evaluations(), files.config()
    written = []
    if made is not None:
        sheet(made, path=place / "images.png")
        written.append(place / "images.png")
    if drawable(rows):
        curves(rows, path=place / "curves.png")
        written.append(place / "curves.png")
    words = text.page(files.folder.resolve().name, made, config, rows, evaluations, [path.name for path in written])
    replace_file(place / "report.md", lambda temporary: temporary.write_text(words, encoding="utf-8"))
    return [*written, place / "report.md"]


make_callable(__name__)
