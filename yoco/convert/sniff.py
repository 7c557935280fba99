"""Whose file it is, told by its name, and for .npz by the shape of its labels."""

from pathlib import Path

from yoco.convert.archive import arrays


def form_of(source: Path) -> str:
    """The name in FORMATS of the form of a file or folder.

    Raises:
        ValueError: neither its name nor its content tells, or it is the folder of a run.
    """
    if source.is_dir():
        if (source / "condensed.safetensors").is_file() and not any(source.glob("*/*.png")):
            raise ValueError(f"convert: {source} is a folder, name a file in it, such as condensed.safetensors")
        return "png"
    suffix = source.suffix.lower()
    if suffix == ".safetensors":
        return "safetensors"
    if suffix == ".npz":
        return "kip" if _one_hot(source) else "npz"
    starts = {"data": "idc", "images": "mtt", "res_": "dsa"}
    found = [form for start, form in starts.items() if source.name.lower().startswith(start)]
    if suffix not in (".pt", ".pth") or not found:
        raise ValueError(f"convert: the form is not clear from the file name, got {source}; add --form idc, mtt or dsa")
    return found[0]


def _one_hot(source: Path) -> bool:
    """Whether an archive that is not ours has a row of label values for each image, as those of KIP."""
    found = arrays(source, ("header", "labels"))
    labels = found.get("labels")
    return "header" not in found and labels is not None and labels.ndim == 2 and labels.shape[1] > 1
