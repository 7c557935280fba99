"""Files that papers published, made here in their form: order of decoding, pixel spaces, and what is refused."""

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from yoco.condensed import CondensedSet, load
from yoco.convert import convert
from yoco.prune.asked import ask
from yoco.prune.training import Training

CIFAR = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
DC_CIFAR100 = ((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762))


def pixels(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def normalised(images: Tensor, constants: tuple[tuple[float, ...], tuple[float, ...]]) -> Tensor:
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in constants)
    return (images - mean) / std


def res(path: Path, *pairs: Any) -> Path:
    """A file as DC, DSA and DM write it: NumPy numbers beside the images."""
    torch.save({"data": [list(pair) for pair in pairs], "accs_all_exps": {"ConvNet": [np.float64(0.5)]}}, path)
    return path


def slow_cells(images: np.ndarray, factor: int) -> list[np.ndarray]:
    """Tile rows, then tile columns, then the images of the class; missing pixels are 0.5."""
    height, width = (-(-side // factor) for side in images.shape[2:])
    cells = []
    for row in range(factor):
        for column in range(factor):
            for image in images:
                cell = np.full((image.shape[0], height, width), 0.5, np.float32)
                for y in range(height):
                    for x in range(width):
                        v, u = row * height + y, column * width + x
                        if v < image.shape[1] and u < image.shape[2]:
                            cell[:, y, x] = image[:, v, u]
                cells.append(cell)
    return cells


@pytest.mark.parametrize(("factor", "side", "given"), [(2, 8, {}), (3, 8, {"factor": 3}), (1, 6, {"factor": 1})])
def test_idc_cells_stand_in_the_order_of_decoding(
    factor: int, side: int, given: dict[str, Any], tmp_path: Path
) -> None:
    images, labels = pixels(6, 3, side, side), torch.tensor([0, 0, 0, 1, 1, 1])
    torch.save([images, labels], tmp_path / "data.pt")
    convert(tmp_path / "data.pt", tmp_path / "set.safetensors", **given)
    made = load(tmp_path / "set.safetensors")
    expected = [cell for label in range(2) for cell in slow_cells(images[labels == label].numpy(), factor)]
    np.testing.assert_array_equal(made.cells.numpy(), np.stack(expected))
    assert made.labels.tolist() == [0] * (3 * factor**2) + [1] * (3 * factor**2)
    assert (made.factor, made.size, made.space, made.method) == (factor, (side, side), "unit", "idc")
    assert made.classes == ("0", "1")
    np.testing.assert_allclose(made.mean, np.stack(expected).mean(axis=(0, 2, 3)), atol=1e-5)


def test_a_file_of_dream_is_said_to_be_one_and_has_its_settings(tmp_path: Path) -> None:
    torch.save([pixels(20, 3, 8, 8), torch.arange(20) // 2], tmp_path / "data.pt")
    for form, epochs in (("dream", 200), ("idc", 100)):
        made = convert(tmp_path / "data.pt", tmp_path / "x.npz", form=form, data="cifar10")
        assert made.method == form
        assert ask("lbpe", made, Training(), {}).options["epochs"] == epochs


def test_idc_pixels_beyond_the_interval_are_kept_and_told(tmp_path: Path) -> None:
    torch.save([pixels(2, 1, 4, 4) * 1.5 - 0.25, torch.arange(2)], tmp_path / "data.pt")
    with pytest.warns(
        UserWarning, match=r"pixels go beyond \[0, 1\], from -0\.\d+ to 1\.\d+; kept as they are"
    ) as caught:
        made = convert(tmp_path / "data.pt", tmp_path / "set.npz")
    assert len(caught) == 1
    assert "\n" not in str(caught[0].message)
    assert made.space == "unbounded"
    assert float(made.cells.min()) < 0
    assert float(made.cells.max()) > 1


def test_idc_of_a_named_set_takes_its_constants(tmp_path: Path) -> None:
    torch.save([pixels(10, 3, 4, 4), torch.arange(10)], tmp_path / "data.pt")
    made = convert(tmp_path / "data.pt", tmp_path / "set.npz", data="cifar10")
    assert (made.mean, made.std) == CIFAR
    assert (made.classes[3], made.source["name"]) == ("cat", "cifar10")
    unknown = convert(tmp_path / "data.pt", tmp_path / "set.npz", data="imagenet10")
    assert (unknown.source["name"], unknown.classes[3]) == ("imagenet10", "3")


@pytest.mark.parametrize("name", ["images_best.pt", "images_5000.pt"])
def test_mtt_is_whitened_unless_said_otherwise(name: str, tmp_path: Path) -> None:
    images = normalised(pixels(10, 3, 4, 4), CIFAR)
    torch.save(images, tmp_path / name)
    torch.save(torch.arange(10), tmp_path / name.replace("images", "labels"))
    white = convert(tmp_path / name, tmp_path / "set.npz")
    assert torch.equal(white.cells, images)
    assert (white.space, white.mean, white.std) == ("zca", (0.0,) * 3, (1.0,) * 3)
    assert white.whitening == {"eps": 0.1}
    plain = convert(tmp_path / name, tmp_path / "set.npz", space="normalised", data="cifar10")
    assert (plain.space, plain.mean, plain.std, plain.whitening) == ("unit", *CIFAR, {})
    np.testing.assert_allclose(plain.cells.numpy(), pixels(10, 3, 4, 4).numpy(), atol=1e-6)


def test_normalised_zeros_and_ones_come_back_as_such(tmp_path: Path) -> None:
    images = torch.zeros(10, 3, 4, 4)
    images[5:] = 1
    torch.save(normalised(images, CIFAR), tmp_path / "images_best.pt")
    torch.save(torch.arange(10), tmp_path / "labels_best.pt")
    made = convert(tmp_path / "images_best.pt", tmp_path / "x.npz", space="normalised", data="cifar10")
    assert made.space == "unit"
    np.testing.assert_allclose(made.cells.numpy(), images.numpy(), atol=1e-6)


def test_dsa_is_made_plain_exactly(tmp_path: Path) -> None:
    raw = torch.randn(10, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2
    source = res(tmp_path / "res_DSA_CIFAR10_ConvNet_1ipc.pt", (raw * 0, torch.arange(10)), (raw, torch.arange(10)))
    made = convert(source, tmp_path / "x.npz", experiment=1)
    mean, std = (np.array(values).reshape(1, 3, 1, 1) for values in CIFAR)
    np.testing.assert_array_equal(made.cells.numpy(), (raw.double().numpy() * std + mean).astype(np.float32))
    assert (made.space, made.method, made.source["name"]) == ("unbounded", "dsa", "cifar10")
    first = convert(source, tmp_path / "x.npz")
    assert first.space == "unit"
    assert first.cells[0, :, 0, 0].tolist() == pytest.approx(CIFAR[0])


def test_dsa_took_other_constants_for_cifar100(tmp_path: Path) -> None:
    images, labels = pixels(100, 3, 4, 4), torch.arange(100)
    source = res(tmp_path / "result.pt", (normalised(images, DC_CIFAR100), labels))
    made = convert(source, tmp_path / "x.npz", form="dsa", data="cifar100")
    np.testing.assert_allclose(made.cells.numpy(), images.numpy(), atol=1e-6)
    assert (made.mean, made.std, made.method) == (*DC_CIFAR100, "dsa")
    torch.save(normalised(images, CIFAR), tmp_path / "images_best.pt")
    torch.save(labels, tmp_path / "labels_best.pt")
    other = convert(tmp_path / "images_best.pt", tmp_path / "x.npz", space="normalised", data="cifar100")
    np.testing.assert_allclose(other.cells.numpy(), images.numpy(), atol=1e-6)


def test_dsa_files_of_an_older_numpy_are_read(tmp_path: Path) -> None:
    source = res(tmp_path / "new.pt", (pixels(10, 1, 4, 4), torch.arange(10)))
    old = tmp_path / "res_DC_MNIST_ConvNet_1ipc.pt"
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(old, "w") as after:
        for item in before.namelist():
            after.writestr(item, before.read(item).replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    made = convert(old, tmp_path / "x.npz")
    assert (made.method, made.source["name"], made.mean) == ("dc", "mnist", (0.1307,))


@pytest.mark.parametrize("learned", [False, True])
def test_kip_labels_are_the_largest_and_stay_as_soft_ones(learned: bool, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    labels = np.eye(4)[[1, 0, 3, 2, 2]] - 1 / 4 + learned * generator.normal(0, 0.01, (5, 4))
    images = generator.normal(0, 1, (5, 6, 7, 3))
    np.savez(tmp_path / "kip.npz", images=images, labels=labels)
    made = convert(tmp_path / "kip.npz", tmp_path / "set.safetensors")
    assert (made.space, made.method, made.size, made.classes) == ("zca", "kip", (6, 7), ("0", "1", "2", "3"))
    assert made.whitening == {}
    assert made.labels.tolist() == [1, 0, 3, 2, 2]
    np.testing.assert_array_equal(made.cells.numpy(), images.transpose(0, 3, 1, 2).astype(np.float32))
    assert made.soft_labels is not None
    np.testing.assert_allclose(made.soft_labels.numpy(), labels + 1 / 4, atol=1e-6)


def test_kip_normalised_and_with_plain_labels(tmp_path: Path) -> None:
    images = pixels(10, 1, 4, 4)
    white = normalised(images, ((0.1307,), (0.3081,))).permute(0, 2, 3, 1).numpy()
    np.savez(tmp_path / "kip.npz", images=white, labels=np.eye(10))
    made = convert(tmp_path / "kip.npz", tmp_path / "x.npz", space="normalised", data="mnist")
    np.testing.assert_allclose(made.cells.numpy(), images.numpy(), atol=1e-6)
    assert made.soft_labels is not None
    assert torch.equal(made.soft_labels, torch.eye(10))


def test_code_in_a_file_is_named_and_never_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "owned"),)

    for new in (True, False):
        torch.save([Evil(), torch.arange(2)], tmp_path / "data.pt", _use_new_zipfile_serialization=new)
        with pytest.raises(ValueError) as caught:
            convert(tmp_path / "data.pt", tmp_path / "x.npz")
        rule = "must hold only tensors and plain values, as its code is never run, got references to posix.mkdir"
        assert str(caught.value) == f"convert: {tmp_path / 'data.pt'} {rule}"
    assert not (tmp_path / "owned").exists()


def test_numpy_numbers_are_allowed_in_dsa_files_alone(tmp_path: Path) -> None:
    torch.save([pixels(2, 1, 4, 4), np.float64(1)], tmp_path / "data.pt")
    with pytest.raises(ValueError, match=r"got references to numpy\.(_core|core)\.multiarray\.scalar, numpy\.dtype"):
        convert(tmp_path / "data.pt", tmp_path / "x.npz")


def test_truncated_files_are_one_line(tmp_path: Path) -> None:
    for name, content in (("data.pt", [pixels(2, 1, 4, 4), torch.arange(2)]), ("images_best.pt", pixels(2, 1, 4, 4))):
        torch.save(content, tmp_path / name)
        torch.save(torch.arange(2), tmp_path / "labels_best.pt")
        raw = (tmp_path / name).read_bytes()
        for length in (0, 10, len(raw) // 2, len(raw) - 10):
            (tmp_path / name).write_bytes(raw[:length])
            with pytest.raises(ValueError) as caught:
                convert(tmp_path / name, tmp_path / "x.npz")
            assert str(caught.value) == f"convert: {tmp_path / name} is damaged or not a torch.save file"


A, TWO = pixels(2, 3, 4, 4), torch.arange(2)
BAD_IDC = [
    (A, {}, "must hold [images, labels], got Tensor"),
    ([A, TWO, TWO], {}, "must hold [images, labels], got list"),
    ([A[0], TWO], {}, "images must be float [n, C, H, W] with n > 0, got torch.float32 [3, 4, 4]"),
    ([A[:0], TWO[:0]], {}, "images must be float [n, C, H, W] with n > 0, got torch.float32 [0, 3, 4, 4]"),
    ([A.long(), TWO], {}, "images must be float [n, C, H, W] with n > 0, got torch.int64 [2, 3, 4, 4]"),
    (["a", TWO], {}, "images must be float [n, C, H, W] with n > 0, got str"),
    ([A, TWO[:1]], {}, "labels must be whole numbers [2], got torch.int64 [1]"),
    ([A, TWO.float()], {}, "labels must be whole numbers [2], got torch.float32 [2]"),
    ([A, TWO - 1], {}, "labels must be at least 0 and below 100000, got -1"),
    ([A, TWO * 100_000], {}, "labels must be at least 0 and below 100000, got 100000"),
    ([A / 0, TWO], {}, "pixels must be finite, got nan or infinity"),
    ([A, TWO], {"factor": 0}, "factor must be in 1..4, got 0"),
    ([A, TWO], {"factor": 5}, "factor must be in 1..4, got 5"),
    ([A, TWO], {"data": "mnist"}, "images of mnist must have 1 channels, got 3"),
    ([A, TWO], {"experiment": 1}, "experiment can only be used with dsa files, got 1 for a file of form idc"),
    ([A, TWO], {"space": "normalised"}, "space can only be used with mtt, kip files"),
]


@pytest.mark.parametrize(("content", "given", "message"), BAD_IDC, ids=[row[2][:40] for row in BAD_IDC])
def test_an_idc_file_of_another_shape_is_one_line(
    content: Any, given: dict[str, Any], message: str, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "data.pt")
    with pytest.raises(ValueError) as caught:
        convert(tmp_path / "data.pt", tmp_path / "set.npz", **given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "set.npz").exists()


def refused(source: Path, match: str, kind: type[Exception] = ValueError, **given: Any) -> None:
    with pytest.raises(kind, match=match) as caught:
        convert(source, source.with_name("x.npz"), **given)
    assert "\n" not in str(caught.value)


def test_bad_mtt_files_are_one_line(tmp_path: Path) -> None:
    torch.save(A, tmp_path / "images_best.pt")
    torch.save(A, tmp_path / "other.pt")
    refused(tmp_path / "images_best.pt", "no file at .*labels_best.pt", FileNotFoundError)
    refused(tmp_path / "other.pt", "the file name must contain 'images', so that its labels are found", form="mtt")
    torch.save(TWO, tmp_path / "labels_best.pt")
    refused(tmp_path / "images_best.pt", "the data set must be named to undo the normalisation", space="normalised")
    refused(tmp_path / "images_best.pt", "space must be zca or normalised, got grey", space="grey")
    known = "data with published constants: unknown name 'cifar'; did you mean 'cifar10'"
    refused(tmp_path / "images_best.pt", known, space="normalised", data="cifar")
    channels = "images of mnist must have 1 channels, got 3"
    refused(tmp_path / "images_best.pt", channels, space="normalised", data="mnist")


def test_bad_dsa_files_are_one_line(tmp_path: Path) -> None:
    source = res(tmp_path / "res_DM_CIFAR10_ConvNet_1ipc.pt", (A, TWO), (A,))
    refused(source, r"experiment must be in 0\.\.1, got 2", experiment=2)
    refused(source, r"experiment must be in 0\.\.1, got -1", experiment=-1)
    refused(source, r"an experiment must be \[images, labels\], got list", experiment=1)
    assert isinstance(convert(source, tmp_path / "x.npz"), CondensedSet)
    refused(source.rename(tmp_path / "res_mine.pt"), "the data set must be named to undo the normalisation")
    torch.save([A, TWO], tmp_path / "res_a.pt")
    refused(tmp_path / "res_a.pt", "must hold a dict with a list `data` of experiments, got list", data="cifar10")
    torch.save({"data": []}, tmp_path / "res_a.pt")
    refused(tmp_path / "res_a.pt", "list `data` of experiments, got dict", data="cifar10")


def test_bad_kip_files_are_one_line(tmp_path: Path) -> None:
    source, images = tmp_path / "kip.npz", np.zeros((3, 4, 4, 1))
    np.savez(source, images=images[0], labels=np.eye(3))
    refused(source, r"images must be float \[n, H, W, C\] with n > 0, got float64 \[4, 4, 1\]")
    np.savez(source, images=images, labels=np.eye(2))
    refused(source, r"labels must be numbers \[3, classes\], got float64 \[2, 2\]")
    np.savez(source, images=images, labels=np.eye(3))
    refused(source, "labels of mnist must have 10 classes, got 3", data="mnist")
    np.savez(source, images=np.zeros((3, 1, 28, 28)), labels=np.eye(3))
    refused(source, r"images must be \[n, H, W, C\] with 1 or 3 channels, got \[3, 1, 28, 28\]")
    np.savez(source, images=images, labels=np.eye(3))
    np.savez(source, images=images, labels=np.arange(3))
    refused(source, r"labels must be numbers \[3, classes\], got int64 \[3\]", form="kip")
    np.savez(source, labels=np.eye(3))
    refused(source, "must hold images and labels, got .* without images")
