"""CIFAR-10, CIFAR-100 and SVHN, read by torchvision from $YOCO_DATA, ~/.cache/yoco or Debian's folder."""

from contextlib import suppress
from typing import Any

import numpy as np
import torch

from yoco.data.mnist import DIGITS
from yoco.data.pixels import as_pixels
from yoco.data.places import for_downloads, roots
from yoco.data.source import Source, Splits
from yoco.data.splits import pair

CIFAR = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
"""Mean and std of CIFAR-10. IDC, YOCO, DREAM and MTT use them for CIFAR-100 as well, and so does this library; DC, DSA
and DM take (0.5071, 0.4866, 0.4409) and (0.2673, 0.2564, 0.2762) there."""

SVHN = ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970))
"""Mean and std of SVHN."""


def cifar10(download: bool = False) -> Splits:
    """CIFAR-10: 50,000 and 10,000 photographs, uint8 [n, 3, 32, 32].

    Raises:
        ValueError: the files are missing or damaged.
    """
    return _cifar("cifar10", "CIFAR10", download)


def cifar100(download: bool = False) -> Splits:
    """CIFAR-100 with its 100 fine labels: 50,000 and 10,000 photographs, uint8 [n, 3, 32, 32].

    Raises:
        ValueError: the files are missing or damaged.
    """
    return _cifar("cifar100", "CIFAR100", download)


def svhn(download: bool = False) -> Splits:
    """SVHN: 73,257 and 26,032 house numbers, uint8 [n, 3, 32, 32].

    Raises:
        ValueError: the files are missing or damaged.
    """
    halves = (_open("svhn", "SVHN", download, split=split) for split in ("train", "test"))
    return pair(*(_source("svhn", half.data, half.labels, DIGITS, *SVHN) for half in halves))


def _cifar(name: str, kind: str, download: bool) -> Splits:
    halves = (_open(name, kind, download, train=train) for train in (True, False))
    return pair(*(_source(name, half.data, half.targets, half.classes, *CIFAR) for half in halves))


def _source(
    name: str, images: Any, labels: Any, classes: Any, mean: tuple[float, ...] = (), std: tuple[float, ...] = ()
) -> Source:
    at = torch.from_numpy(np.asarray(labels, dtype=np.int64))
    return Source(name, as_pixels(images, name), at, tuple(classes), mean, std)


def _open(name: str, kind: str, download: bool, **half: Any) -> Any:
    from torchvision import datasets

    for root in roots():
        with suppress(OSError, RuntimeError):
            return getattr(datasets, kind)(str(root), download=False, **half)
    if not download:
        places = ", ".join(map(str, roots()))
        rule = f"missing or damaged in {places}; set YOCO_DATA to the folder that holds it, or add --download"
        raise ValueError(f"data {name}: {rule}")
    try:
        return getattr(datasets, kind)(str(for_downloads(name)), download=True, **half)
    except (OSError, RuntimeError) as error:
        raise ValueError(f"data {name}: the download failed ({error})") from error
