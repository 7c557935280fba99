"""The embedded data set: scikit-learn's 1797 handwritten digits of 8x8 pixels."""

import numpy as np
import torch

from yoco.data.source import Source, Splits
from yoco.data.splits import pair


def digits(download: bool = False) -> Splits:
    """1347 training and 450 test images, uint8 [n, 1, 8, 8]; a fixed split with the same share of each class.

    Grey levels 0..16 become round(level / 16 * 255). `download` changes nothing: the images come with scikit-learn.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    pixels = torch.from_numpy(np.round(bunch.images / 16 * 255).astype(np.uint8))[:, None]
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    names = tuple(str(digit) for digit in range(10))
    halves = train_test_split(np.arange(len(labels)), test_size=0.25, random_state=0, stratify=bunch.target)
    train, test = (Source("digits", pixels[np.sort(half)], labels[np.sort(half)], names) for half in halves)
    return pair(train, test)
