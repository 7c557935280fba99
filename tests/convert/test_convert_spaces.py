"""Whether a published file is whitened, where the file does not say it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from yoco.cli import run
from yoco.convert import convert

NOT_WHITENED = [(10, 50), (100, 10), (200, 1), (200, 10), (200, 50)]


def mtt(folder: Path, classes: int, each: int) -> Path:
    """A file as MTT writes it, with small images."""
    torch.save(torch.zeros(classes * each, 3, 2, 2), folder / "images_best.pt")
    torch.save(torch.arange(classes).repeat_interleave(each), folder / "labels_best.pt")
    return folder / "images_best.pt"


@pytest.mark.parametrize(("classes", "each"), NOT_WHITENED)
def test_a_set_that_mtt_did_not_whiten_is_doubted(classes: int, each: int, tmp_path: Path) -> None:
    source = mtt(tmp_path, classes, each)
    message = r"images_best\.pt: taken as whitened, as DATM's are; MTT's own set of this size is not: add --space norm"
    with pytest.warns(UserWarning, match=message) as caught:
        made = convert(source, tmp_path / "x.npz")
    assert len(caught) == 1
    assert made.space == "zca"


def test_a_set_is_not_doubted_where_the_space_is_said_or_the_size_is_another(tmp_path: Path) -> None:
    source = mtt(tmp_path, 10, 50)
    assert convert(source, tmp_path / "x.npz", space="zca").space == "zca"
    assert convert(source, tmp_path / "x.npz", space="normalised", data="cifar10").space == "unit"
    assert run(["convert", str(source), str(tmp_path / "x.npz"), "--space", "zca"]) == 0
    for classes, each in ((10, 1), (10, 10), (100, 1), (100, 50)):
        assert convert(mtt(tmp_path, classes, each), tmp_path / "x.npz").space == "zca"


def test_grey_sets_of_kip_are_not_whitened(tmp_path: Path) -> None:
    np.savez(tmp_path / "kip.npz", images=np.zeros((10, 4, 4, 1)), labels=np.eye(10))
    rule = "grey sets of KIP were normalised, not whitened: add --space normalised and --data, got zca"
    with pytest.raises(ValueError) as caught:
        convert(tmp_path / "kip.npz", tmp_path / "x.npz")
    assert str(caught.value) == f"convert: {tmp_path / 'kip.npz'}: {rule}"
    assert convert(tmp_path / "kip.npz", tmp_path / "x.npz", space="zca").space == "zca"  # one of somebody's own
    made = convert(tmp_path / "kip.npz", tmp_path / "x.npz", space="normalised", data="mnist")
    assert made.cells.shape == (10, 1, 4, 4)
