"""Sets in other forms: NumPy archives, folders of PNGs, and the files that papers published."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from yoco.condensed import CondensedSet
from yoco.convert.origin import Origin
from yoco.convert.sniff import form_of
from yoco.disk import at_home, same_file
from yoco.registry import resolve
from yoco.verb import make_callable

__all__ = ["FORMATS", "TARGETS", "Origin", "convert"]

FORMATS = {
    "safetensors": "yoco.convert.own:read",
    "npz": "yoco.convert.npz:read",
    "png": "yoco.convert.png:read",
    "idc": "yoco.convert.idc:read",
    "dream": "yoco.convert.idc:read",
    "mtt": "yoco.convert.mtt:read",
    "dsa": "yoco.convert.dsa:read",
    "kip": "yoco.convert.kip:read",
}
"""form -> function(origin: Origin) -> CondensedSet."""

TARGETS = {
    "safetensors": "yoco.convert.own:write",
    "npz": "yoco.convert.npz:write",
    "png": "yoco.convert.png:write",
}
"""form -> function(condensed: CondensedSet, target: Path) -> None."""

OPTIONS: Mapping[str, tuple[object, tuple[str, ...]]] = {
    "data": (None, ("npz", "png", "idc", "dream", "mtt", "dsa", "kip")),
    "factor": (2, ("idc", "dream")),
    "space": (None, ("mtt", "kip")),
    "experiment": (0, ("dsa",)),
}
"""option -> its default, and the forms that it says something about."""


def convert(
    source: str | Path,
    target: str | Path,
    *,
    form: str | None = None,
    data: str | None = None,
    factor: int = 2,
    space: str | None = None,
    experiment: int = 0,
) -> CondensedSet:
    """Read a set from `source` in any known form, write it in the form that the name of `target` says, and return it.

    source: .safetensors; .npz; a folder with one folder of PNGs for each class; or a file of IDC, DREAM or YOCO
    (data.pt), of MTT or DATM (images_best.pt, with labels_best.pt beside it, and lr_best.pt if there), of DC, DSA or DM
    (res_*.pt), of KIP (.npz).
    target: .safetensors, .npz, or a new folder for PNGs.
    form: a name in FORMATS or `module:function`, if the name of the file does not tell; "dream" for a file of DREAM,
    which looks like one of IDC but has other settings in the pruning rules.
    data: the data set it was made from, for its published constants, which undo a normalisation, and its class names.
    factor: of an IDC file, which does not record it.
    space: "zca" or "normalised", of an MTT or KIP file. By default "zca", or "normalised" for a KIP file with nozca in
    its name; what cannot be whitened is refused, and sizes that MTT's authors did not whiten give a warning.
    experiment: which of the sets in a DC, DSA or DM file, from 0. Nothing is ever unpickled.

    Raises:
        ValueError: a file that is damaged, of another form, or wants code to be run, or is the target too; an option
            that does not apply.
        OSError: the source is not there, or the target cannot be written.
    """
    source, target = at_home(source), at_home(target)
    if not source.exists():
        raise FileNotFoundError(f"convert: no file or folder at {source}")
    if same_file(source, target):
        raise ValueError(f"convert: source and target must be different files, got {source} for both")
    name = form or form_of(source)
    read: Callable[[Origin], CondensedSet] = resolve("form", FORMATS, name)
    write: Callable[[CondensedSet, Path], None] = resolve("form", TARGETS, _target_form(target))
    _check_options(name, {"data": data, "factor": factor, "space": space, "experiment": experiment})
    made = read(Origin(source, name, data, factor, space or "zca", experiment, space_said=space is not None))
    if not made.versions:
        made = replace(made, versions=_versions())
    write(made, target)
    return made


def _target_form(target: Path) -> str:
    suffix = target.suffix.lower().removeprefix(".")
    if target.is_dir() or not suffix:
        return "png"
    if suffix not in TARGETS or suffix == "png":
        raise ValueError(f"convert: the target must end in .safetensors or .npz, or be a folder, got {target}")
    return suffix


def _check_options(form: str, given: Mapping[str, object]) -> None:
    for name, (default, forms) in OPTIONS.items():
        if given[name] != default and form in FORMATS and form not in forms:
            said = f"convert: {name} can only be used with {', '.join(forms)} files"
            raise ValueError(f"{said}, got {given[name]} for a file of form {form}")


def _versions() -> dict[str, str]:
    import torch

    import yoco

    return {"yoco": yoco.__version__, "torch": torch.__version__}


make_callable(__name__)
