"""The files that images were: a source names them, whatever is done with it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from yoco.classes import only
from yoco.data import Splits, load

NAMES = ("1.png", "2.png", "deep/3.png", "4, b.png", "caf\udce9.png")
SAID = {*NAMES[:4], "caf\\udce9.png"}


@pytest.fixture
def halves(tmp_path: Path) -> Splits:
    """A folder of two classes, each image of one shade of its own."""
    for k, name in enumerate(NAMES):
        for shade, label in ((k, "cat"), (100 + k, "dog")):
            path = tmp_path / "pets" / label / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((6, 6, 3), shade, np.uint8)).save(path)
    return load(tmp_path / "pets")


def test_each_image_has_the_name_of_its_file(halves: Splits, tmp_path: Path) -> None:
    assert {*halves.train.files, *halves.test.files} == {f"{label}/{name}" for label in ("cat", "dog") for name in SAID}
    for half in halves:
        for file, image in zip(half.files, half.images, strict=True):
            path = tmp_path / "pets" / file.replace("\\udce9", "\udce9")
            assert np.array_equal(np.asarray(Image.open(path)).transpose(2, 0, 1), image.numpy())


def test_names_stay_with_their_images(halves: Splits, tmp_path: Path) -> None:
    for half in (*halves, *load(halves, grey=True), *load(tmp_path / "pets", size=4), *only(halves, ("dog", "cat"))):
        at = torch.tensor([len(half) - 1, 0])
        assert half.take(at).files == half.files_of(at) == (half.files[-1], half.files[0])
        kept = torch.arange(len(half)) != 1
        assert half.take(kept).files == (half.files[0], *half.files[2:])
        assert half.to("cpu").files == half.files
        assert [file.split("/")[0] for file in half.files] == [half.classes[label] for label in half.labels]


def test_arrays_have_no_files(halves: Splits) -> None:
    made = load((halves.train.images.numpy(), halves.train.labels.numpy()))
    assert made.train.files == made.train.files_of(torch.tensor([0])) == ()
    with pytest.raises(ValueError, match=r"^data pets: files must be none, or one for each image, got 1$"):
        replace(halves.train, files=("one",))
