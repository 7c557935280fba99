"""Folders of PNGs: pixels, names, order, and what is refused."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from yoco.condensed import CondensedSet
from yoco.convert import convert


def coloured(classes: tuple[str, ...], count: int = 2) -> CondensedSet:
    pixels = torch.rand(count * len(classes), 3, 6, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(len(classes)).repeat_interleave(count)
    parts = {"mean": (0.5,) * 3, "std": (0.2,) * 3, "method": "made", "classes": classes}
    return CondensedSet(cells=pixels, labels=labels, factor=1, size=(6, 5), **parts)  # type: ignore[arg-type]


def test_pngs_are_the_decoded_images(saved: Path, rich: CondensedSet, tmp_path: Path) -> None:
    convert(saved, tmp_path / "out/pngs")
    folder = tmp_path / "out/pngs"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["pngs"]
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {"zero", "eins", "δύο"}
    assert sorted(path.name for path in (folder / "eins").iterdir()) == [f"{n:04d}.png" for n in range(12)]
    seventh = np.asarray(Image.open(folder / "eins/0007.png"))
    np.testing.assert_array_equal(seventh, (rich.decode()[12 + 7, 0] * 255).round().numpy().astype(np.uint8))


def test_pngs_come_back_as_whole_images_in_the_order_of_the_labels(saved: Path, tmp_path: Path) -> None:
    whole = convert(saved, tmp_path / "pngs")
    back = convert(tmp_path / "pngs", tmp_path / "back.npz")
    assert (back.factor, back.size, back.cells.dtype) == (1, (8, 8), torch.uint8)
    assert back.classes == whole.classes
    assert back.labels.tolist() == whole.labels.tolist()
    assert float((back.decode() - whole.decode()).abs().max()) <= 1 / 510 + 1e-6


@pytest.mark.parametrize("linked", [False, True])
def test_an_empty_folder_is_filled_and_stays_what_it_is(saved: Path, tmp_path: Path, linked: bool) -> None:
    place = tmp_path / "pngs"
    place.mkdir(mode=0o750)
    named = tmp_path / "link" if linked else place
    if linked:
        named.symlink_to(place)
    before = place.stat()
    convert(saved, named)
    assert (place.stat().st_ino, place.stat().st_mode) == (before.st_ino, before.st_mode)
    assert named.is_symlink() == linked
    assert {path.name for path in place.iterdir()} == {"zero", "eins", "δύο", "classes.txt"}


def test_the_working_folder_can_be_the_target(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    convert(saved, ".", form="safetensors")
    assert (tmp_path / "here/eins/0000.png").is_file()


def test_endings_in_capitals_are_read_too(tmp_path: Path) -> None:
    coloured(("a", "b"), 3).save(tmp_path / "set.safetensors")
    convert(tmp_path / "set.safetensors", tmp_path / "pngs")
    (tmp_path / "pngs/a/0001.png").rename(tmp_path / "pngs/a/0001.PNG")
    assert convert(tmp_path / "pngs", tmp_path / "back.npz").counts == (3, 3)


def test_images_stand_upright(tmp_path: Path) -> None:
    whole = coloured(("a", "b"))
    whole.save(tmp_path / "set.safetensors")
    convert(tmp_path / "set.safetensors", tmp_path / "pngs")
    for path in (tmp_path / "pngs").rglob("*.png"):
        with Image.open(path) as image:
            turned, exif = image.transpose(Image.Transpose.ROTATE_90), Image.Exif()
        exif[0x0112] = 6  # what is seen has been turned back
        turned.save(path, exif=exif)
    assert torch.equal(convert(tmp_path / "pngs", tmp_path / "back.safetensors").cells, whole.quantised().cells)


def test_colours_survive_a_folder(tmp_path: Path) -> None:
    whole = coloured(("a", "b"))
    whole.save(tmp_path / "set.safetensors")
    convert(tmp_path / "set.safetensors", tmp_path / "pngs")
    back = convert(tmp_path / "pngs", tmp_path / "back.safetensors")
    assert torch.equal(back.cells, whole.quantised().cells)


def test_without_a_list_folders_go_by_number_or_by_the_named_data(tmp_path: Path) -> None:
    for name, classes in (("numbers", tuple(map(str, range(12)))), ("words", ("b", "a"))):
        coloured(classes).save(tmp_path / f"{name}.safetensors")
        convert(tmp_path / f"{name}.safetensors", tmp_path / name)
        (tmp_path / name / "classes.txt").unlink()
    assert convert(tmp_path / "numbers", tmp_path / "x.npz").classes == tuple(map(str, range(12)))
    assert convert(tmp_path / "words", tmp_path / "x.npz").classes == ("a", "b")
    things = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    coloured(things[::-1]).save(tmp_path / "things.safetensors")
    convert(tmp_path / "things.safetensors", tmp_path / "things")
    assert convert(tmp_path / "things", tmp_path / "x.npz").classes == things[::-1]
    (tmp_path / "things/classes.txt").unlink()
    assert convert(tmp_path / "things", tmp_path / "x.npz", data="cifar10").classes == things


def test_names_that_no_folder_can_have_are_made_plain(tmp_path: Path) -> None:
    coloured(("T-shirt/top", ".hidden")).save(tmp_path / "set.safetensors")
    convert(tmp_path / "set.safetensors", tmp_path / "pngs")
    assert convert(tmp_path / "pngs", tmp_path / "x.npz").classes == ("T-shirt_top", "_hidden")
    coloured(("a/b", "a:b")).save(tmp_path / "set.safetensors")
    with pytest.raises(ValueError, match="convert: class folder names must differ in more than case, got"):
        convert(tmp_path / "set.safetensors", tmp_path / "others")
    assert not (tmp_path / "others").exists()


def test_a_folder_with_something_in_it_is_left_alone(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pngs"
    folder.mkdir()
    convert(saved, folder)
    before = sorted(folder.rglob("*"))
    with pytest.raises(ValueError) as caught:
        convert(saved, folder)
    assert str(caught.value) == f"convert: the target must be an empty or a new folder, got {folder}"
    assert sorted(folder.rglob("*")) == before


def test_whitened_pixels_are_no_picture(saved: Path, rich: CondensedSet, tmp_path: Path) -> None:
    replace(rich, space="zca").save(saved)
    with pytest.raises(ValueError, match=r"got a set in ZCA space; write .npz"):
        convert(saved, tmp_path / "pngs")


def test_bad_folders_are_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "pngs"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
    Image.new("L", (4, 4)).save(folder / "a/0.png")

    def refused(match: str) -> None:
        with pytest.raises(ValueError, match=match) as caught:
            convert(folder, tmp_path / "x.npz")
        assert "\n" not in str(caught.value)

    refused("a class needs PNGs, got none in b")
    Image.new("L", (5, 4)).save(folder / "b/0.png")
    refused("images must be of one size, got 4x4 and 5x4")
    (folder / "b/0.png").write_bytes(b"no picture")
    refused("b/0.png cannot be read as a PNG")
    Image.new("I;16", (4, 4)).save(folder / "b/0.png")
    refused(r"needs 8 bits a channel, got mode I(;16)?\)$")  # the shorter of an older Pillow
    Image.new("RGB", (4, 4)).save(folder / "b/0.png")
    assert convert(folder, tmp_path / "x.npz").cells.shape == (2, 3, 4, 4)
    (folder / "classes.txt").write_text("a\nc\n")
    refused(r"classes.txt must match the folders, got a difference in \['b', 'c'\]")
    refused_folder = tmp_path / "empty"
    refused_folder.mkdir()
    with pytest.raises(ValueError, match="needs a folder for each of at least two classes, got 0"):
        convert(refused_folder, tmp_path / "x.npz")


def test_a_class_without_images_comes_back(tmp_path: Path) -> None:
    whole = coloured(("a", "b", "c"))
    whole.take(torch.tensor([0, 1, 4, 5])).save(tmp_path / "set.safetensors")
    convert(tmp_path / "set.safetensors", tmp_path / "pngs")
    back = convert(tmp_path / "pngs", tmp_path / "back.npz")
    assert (back.classes, back.counts, back.labels.tolist()) == (("a", "b", "c"), (2, 0, 2), [0, 0, 2, 2])
    for place in [*(tmp_path / "pngs").rglob("*.png")]:
        place.unlink()
    with pytest.raises(ValueError, match=r"a class needs PNGs, got none in a$"):
        convert(tmp_path / "pngs", tmp_path / "x.npz")


def test_a_list_of_classes_may_come_from_any_editor(saved: Path, tmp_path: Path) -> None:
    convert(saved, tmp_path / "pngs")
    listing = tmp_path / "pngs/classes.txt"
    listing.write_bytes(b"\xef\xbb\xbf" + "zero\r\n\r\neins\r\nδύο\r\n \r\n".encode())
    assert convert(tmp_path / "pngs", tmp_path / "x.npz").classes == ("zero", "eins", "δύο")
    listing.write_bytes("zero\neins\nδύο\n".encode("cp1253"))
    with pytest.raises(ValueError) as caught:
        convert(tmp_path / "pngs", tmp_path / "y.npz")
    assert str(caught.value) == f"convert: {tmp_path / 'pngs'}: classes.txt must be in UTF-8, got the byte 0xe4"


def test_the_folder_of_a_run_is_no_folder_of_pngs(saved: Path, tmp_path: Path) -> None:
    for name in ("experts", "teacher"):
        (tmp_path / "run" / name).mkdir(parents=True)
    saved.rename(tmp_path / "run/condensed.safetensors")
    said = rf"^convert: {tmp_path / 'run'} is a folder, name a file in it, such as condensed\.safetensors$"
    with pytest.raises(ValueError, match=said):
        convert(tmp_path / "run", tmp_path / "x.npz")
    for name in ("experts", "teacher"):
        Image.new("L", (4, 4)).save(tmp_path / "run" / name / "0.png")
    assert convert(tmp_path / "run", tmp_path / "x.npz").classes == ("experts", "teacher")


def test_hidden_files_are_left_alone_and_grey_with_alpha_is_grey(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / "set" / name).mkdir(parents=True)
        Image.new("LA", (4, 4), (9, 128)).save(tmp_path / "set" / name / "0.png")
        (tmp_path / "set" / name / "._0.png").write_bytes(b"of another system")
    made = convert(tmp_path / "set", tmp_path / "set.safetensors")
    assert made.cells.shape == (2, 1, 4, 4)
    assert (made.decode() * 255).round().unique().tolist() == [9]


def test_pixels_that_are_cut_off_are_told(tmp_path: Path) -> None:
    whole = coloured(("a", "b"))
    cells = whole.cells.clone()
    cells[0, 0, 0, :3], cells[3, 2, 5, :3] = 1.5, -0.25
    replace(whole, cells=cells, space="unbounded").save(tmp_path / "set.safetensors")
    said = r": 1\.67 % of the pixels are outside \[0, 1\] and are clipped; \.npz keeps them$"
    with pytest.warns(UserWarning, match="^convert: " + re.escape(str(tmp_path / "pngs")) + said) as caught:
        convert(tmp_path / "set.safetensors", tmp_path / "pngs")
    assert len(caught) == 1
    assert convert(tmp_path / "pngs", tmp_path / "x.npz").decode()[0, 0, 0, :3].tolist() == [1.0] * 3
    replace(whole, space="unbounded").save(tmp_path / "set.safetensors")
    convert(tmp_path / "set.safetensors", tmp_path / "others")
