"""NumPy archives: `images` and `labels` for anybody, and beside them all that gives the very same set back."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from yoco.artefact import python_number
from yoco.condensed import KIND, TENSORS, VERSION, CondensedSet, assembled
from yoco.convert.archive import Arrays, arrays, need
from yoco.convert.origin import Origin
from yoco.convert.pixels import space_of
from yoco.disk import write_npz


def write(condensed: CondensedSet, target: Path) -> None:
    """Write images (float32 [n, C, H, W], decoded), labels (int64 [n]), classes, and soft_labels and scores if any.

    cells, factor, size and header (JSON) give the set back without loss; `images` is not read then.

    Raises:
        OSError: the place cannot be written; what stood there is as it was.
    """
    kept = {name: part.numpy() for name in TENSORS if (part := getattr(condensed, name)) is not None}
    content = {**condensed.header, "kind": KIND, "version": VERSION}
    header = json.dumps(content, sort_keys=True, ensure_ascii=False, default=python_number)
    shape = {"factor": np.array(condensed.factor), "size": np.array(condensed.size)}
    arrays = {"images": condensed.decode().numpy(), "classes": np.array(condensed.classes), **shape, **kept}
    write_npz(target, header=np.array(header), **arrays)


def read(origin: Origin) -> CondensedSet:
    """The set that `write` wrote; of any other archive its images and labels, as a set of factor 1.

    images: uint8, or float in [0, 1]; [n, C, H, W], [n, H, W, C] or [n, H, W]; labels: whole numbers [n]; classes:
    their names, if there; soft_labels and scores, if there.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or its content breaks a rule.
    """
    found = arrays(origin.path)
    return _ours(origin, found) if "header" in found else _foreign(origin, found)


def _ours(origin: Origin, found: Arrays) -> CondensedSet:
    if origin.data:
        origin.refuse("data must be left out, as the file records its own", origin.data)
    try:
        header = json.loads(str(found["header"]))
        kind, version = header["kind"], int(header["version"])
    except (ValueError, TypeError, KeyError):
        raise ValueError(f"convert: {origin.path} has a header that was not written by yoco") from None
    if kind != KIND or version > VERSION:
        origin.refuse(f"must hold a {KIND} of format version {VERSION} or less", f"a {kind} of version {version}")
    need(found, ("cells", "labels"), origin.path)
    try:
        tensors = {name: torch.from_numpy(found[name]) for name in TENSORS if name in found}
        return assembled(header, tensors)
    except (TypeError, ValueError) as error:
        raise ValueError(f"convert: {origin.path}: {error}") from error


def _foreign(origin: Origin, found: Arrays) -> CondensedSet:
    need(found, ("images", "labels"), origin.path)
    images, labels = _images(origin, found["images"]), found["labels"]
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) != len(images):
        origin.refuse(f"labels must be whole numbers [{len(images)}]", f"{labels.dtype} {list(labels.shape)}")
    origin.check_labels(int(labels.min()), int(labels.max()))
    parts: dict[str, Any] = {}
    if "classes" in found:
        names = found["classes"].ravel().tolist()
        parts["classes"] = tuple(n.decode("utf-8", "replace") if isinstance(n, bytes) else str(n) for n in names)
    for name in ("soft_labels", "scores"):
        if name in found:
            parts[name] = torch.from_numpy(found[name].astype(np.float32))
    space = space_of(images, origin.path) if images.is_floating_point() else "unit"
    return origin.condensed(images, torch.from_numpy(labels.astype(np.int64)), space=space, method="unknown", **parts)


def _images(origin: Origin, images: np.ndarray[Any, Any]) -> Tensor:
    """uint8 or float32 [n, C, H, W]."""
    if images.ndim not in (3, 4) or not len(images) or (images.dtype != np.uint8 and images.dtype.kind != "f"):
        rule = "images must be uint8 or float, [n, C, H, W], [n, H, W, C] or [n, H, W] with n > 0"
        origin.refuse(rule, f"{images.dtype} {list(images.shape)}")
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[3] in (1, 3, 4) and images.shape[1] not in (1, 3, 4):
        images = images.transpose(0, 3, 1, 2)
    return torch.from_numpy(np.array(images, dtype=np.uint8 if images.dtype == np.uint8 else np.float32, order="C"))
