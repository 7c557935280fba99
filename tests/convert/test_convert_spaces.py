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
    message = r"images_best\.pt: assumed whitened, like DATM's; MTT's own set of this size is not: add --space norm"
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


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def of_imagenet(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Plain images, and the same normalised."""
    plain = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in IMAGENET)
    return plain, (plain - mean) / std


def test_tiny_imagenet_of_mtt_is_made_plain_as_the_warning_says(tmp_path: Path) -> None:
    source, (plain, images) = mtt(tmp_path, 200, 1), of_imagenet(200, 3, 4, 4)
    torch.save(images, source)
    made = convert(source, tmp_path / "x.npz", space="normalised", data="tiny-imagenet")
    assert (made.space, made.mean, made.std, made.source["name"]) == ("unit", *IMAGENET, "tiny-imagenet")
    assert made.classes == tuple(map(str, range(200)))
    np.testing.assert_allclose(made.cells.numpy(), plain.numpy(), atol=1e-6)


def test_tiny_imagenet_of_dm_is_known_by_the_name_of_the_file(tmp_path: Path) -> None:
    plain, images = of_imagenet(200, 3, 4, 4)
    source = tmp_path / "res_DM_TinyImageNet_ConvNetD4_1ipc.pt"
    torch.save({"data": [[images, torch.arange(200)]]}, source)
    made = convert(source, tmp_path / "x.npz")
    assert (made.method, made.source["name"], made.mean, made.std) == ("dm", "tiny-imagenet", *IMAGENET)
    np.testing.assert_allclose(made.cells.numpy(), plain.numpy(), atol=1e-6)


def test_images_too_large_to_be_whitened_are_not_taken_as_such(tmp_path: Path) -> None:
    source, (plain, images) = mtt(tmp_path, 10, 1), of_imagenet(10, 3, 128, 128)
    torch.save(images, source)
    rule = "images of this size were not whitened: add --space normalised and --data, got [10, 3, 128, 128]"
    with pytest.raises(ValueError) as caught:
        convert(source, tmp_path / "x.npz")
    assert str(caught.value) == f"convert: {source}: {rule}"
    assert convert(source, tmp_path / "x.npz", space="zca").space == "zca"
    made = convert(source, tmp_path / "x.npz", space="normalised", data="ImageNette")
    assert (made.space, made.std, made.source["name"]) == ("unit", IMAGENET[1], "imagenette")
    np.testing.assert_allclose(made.cells.numpy(), plain.numpy(), atol=1e-6)


def test_grey_sets_of_kip_are_not_whitened(tmp_path: Path) -> None:
    np.savez(tmp_path / "kip.npz", images=np.zeros((10, 4, 4, 1)), labels=np.eye(10))
    rule = "grey sets of KIP were normalised, not whitened: add --space normalised and --data, got zca"
    with pytest.raises(ValueError) as caught:
        convert(tmp_path / "kip.npz", tmp_path / "x.npz")
    assert str(caught.value) == f"convert: {tmp_path / 'kip.npz'}: {rule}"
    assert convert(tmp_path / "kip.npz", tmp_path / "x.npz", space="zca").space == "zca"  # one of somebody's own
    made = convert(tmp_path / "kip.npz", tmp_path / "x.npz", space="normalised", data="mnist")
    assert made.cells.shape == (10, 1, 4, 4)
