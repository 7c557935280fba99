"""The mapped file of a recording: the same values, kilobytes, readable by NumPy, and after a crash."""

from pathlib import Path

import numpy as np
import pytest
import torch

from yoco import artefact
from yoco.prune import SCORES, Dynamics, Recorder
from yoco.prune.dynamics import NAMES
from yoco.registry import resolve

N, E = 7, 5


def feed(recorder: Recorder, first: int = 0, last: int = E, n: int = N) -> Recorder:
    for epoch in range(first, last):
        z = 4 * torch.randn(n, 3, generator=torch.Generator().manual_seed(epoch))
        for places in torch.arange(n).flip(0).split(4 if n < 10 else n):
            recorder.log(epoch, places, z[places], places % 3)
    return recorder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A finished recording of five epochs of seven samples."""
    feed(Recorder(N, file=tmp_path / "run.npy")).dynamics(mode="own")
    return tmp_path / "run.npy"


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("n", [1, 2, 7, 8])
def test_a_mapped_recording_is_the_one_in_memory_to_the_bit(tmp_path: Path, n: int, shift: bool) -> None:
    kept = feed(Recorder(n, shift=shift), n=n).dynamics(mode="own")
    returned = feed(Recorder(n, shift=shift, file=tmp_path / "new" / "run.npy"), n=n).dynamics(mode="own")
    opened = Dynamics.open(str(tmp_path / "new" / "run.npy"))
    for found in (returned, opened):
        assert found.meta == kept.meta
        assert (found.epochs, len(found)) == (E, n)
        assert set(found.parts) == set(kept.parts) == {*NAMES, *["shift"] * shift}
        assert all(torch.equal(part, kept.parts[name]) for name, part in found.parts.items())


def test_scores_of_a_mapped_recording_are_those_of_one_in_memory(tmp_path: Path) -> None:
    kept, mapped = (feed(Recorder(N, shift=True, file=file)).dynamics() for file in (None, tmp_path / "run.npy"))
    few = {"lbpe": {"top": 2}, "dyn-unc": {"window": 3}, "dual": {"window": 3}, "tdds": {"window": 3}}
    for name in SCORES:
        score = resolve("score", SCORES, name)
        options = {"epochs": 4, **few.get(name, {})}
        assert torch.equal(score(kept, **options), score(mapped, **options))


def test_hundred_epochs_of_four_hundred_samples_are_under_a_megabyte(tmp_path: Path) -> None:
    feed(Recorder(400, file=tmp_path / "run.npy"), last=100, n=400).dynamics()
    assert 21 * 400 * 100 < (tmp_path / "run.npy").stat().st_size < 21 * 400 * 100 + 1000 < 1e6


def test_no_epoch_is_held_in_memory(tmp_path: Path) -> None:
    recorder = feed(Recorder(N, file=tmp_path / "run.npy"))
    assert not recorder._rows


def test_numpy_alone_reads_it(path: Path) -> None:
    found = np.load(path, mmap_mode="r", allow_pickle=False)
    assert found.shape == (E,)
    assert found["log_p"].shape == (E, N)
    np.testing.assert_array_equal(found["log_p"], Dynamics.open(path).log_p.numpy())


def test_what_is_changed_in_memory_stays_off_the_disk(path: Path) -> None:
    before = path.read_bytes()
    Dynamics.open(path).error.zero_()
    assert path.read_bytes() == before


def test_it_can_be_saved_as_the_other_kind_of_file(path: Path, tmp_path: Path) -> None:
    one = Dynamics.open(path)
    one.save(tmp_path / "run.safetensors")
    again = Dynamics.load(tmp_path / "run.safetensors")
    assert again.meta == one.meta
    assert all(torch.equal(part, one.parts[name]) for name, part in again.parts.items())


@pytest.mark.parametrize("torn", [0, 1, 40, 146])
def test_a_recording_that_was_cut_short_gives_its_finished_epochs(tmp_path: Path, torn: int) -> None:
    whole = feed(Recorder(N)).dynamics()
    recorder = feed(Recorder(N, file=tmp_path / "run.npy"), last=3)
    recorder.log(3, [0], torch.zeros(1, 3), [0])
    with (tmp_path / "run.npy").open("ab") as file:
        file.write(b"\x01" * torn)
    found = Dynamics.open(tmp_path / "run.npy")
    assert found.meta == {"epochs": 3, "interrupted": True}
    assert all(torch.equal(part, whole.parts[name][:3]) for name, part in found.parts.items())


def test_more_epochs_can_follow_a_first_look(tmp_path: Path) -> None:
    recorder = feed(Recorder(N, file=tmp_path / "run.npy"), last=2)
    early = recorder.dynamics(text="x" * 5000)
    feed(recorder, 2)
    assert Dynamics.open(tmp_path / "run.npy").meta == {"epochs": E, "interrupted": True}
    assert (tmp_path / "run.npy").stat().st_size < 2000
    late = recorder.dynamics(text="")
    assert (early.epochs, late.epochs) == (2, E)
    assert late.meta["text"] == ""
    assert torch.equal(early.error, late.error[:2])
    assert torch.equal(late.error, feed(Recorder(N)).dynamics().error)


def test_a_disk_that_fails_leaves_the_epochs_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = feed(Recorder(N, file=tmp_path / "run.npy"), last=2)
    monkeypatch.setattr(recorder._tape, "_at", lambda epoch: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        feed(recorder, 2, 3)
    with pytest.raises(ValueError, match=r"^recorder: epoch 2 is missing because of an earlier error; start again$"):
        recorder.dynamics()
    assert Dynamics.open(tmp_path / "run.npy").epochs == 2


def test_nothing_is_overwritten(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"^recorder: file must be a new one, got .*run.npy, which exists; name"):
        Recorder(N, file=path)
    assert path.read_bytes() == before


def opening(path: Path) -> str:
    with pytest.raises(ValueError) as caught:
        Dynamics.open(path)
    assert str(caught.value).startswith(f"open: {path} ")
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"open: {path} ")


def test_truncated_files_are_one_line_at_any_length(path: Path) -> None:
    whole = path.read_bytes()
    end = len(whole) - len(b'{"tape": ') - whole[::-1].index(b'{"tape": '[::-1])
    for length in (*range(0, end, 7), end - 1):
        path.write_bytes(whole[:length])
        opening(path)
    assert opening(path) == f"is truncated: must have {end} bytes for 5 epochs, got {end - 1}"
    for length in range(end + 9, len(whole)):
        path.write_bytes(whole[:length])
        assert opening(path).startswith("is damaged after its epochs (")


def test_foreign_files_are_one_line(tmp_path: Path, path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"^open: no file at .*none.npy$"):
        Dynamics.open(tmp_path / "none.npy")
    foreign = tmp_path / "foreign.npy"
    artefact.write(foreign, "training dynamics", 1, {"error": torch.zeros(2, 2)}, {})
    assert opening(foreign).startswith("is damaged or not a .npy file (")
    np.savez(tmp_path / "foreign.npz", a=np.zeros(3))
    assert opening(tmp_path / "foreign.npz").startswith("is damaged or not a .npy file (")
    np.save(foreign, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert opening(foreign) == "must hold a recording, got another .npy file"
    for array in (np.zeros((2, 3)), np.zeros(3, "f4,f4"), np.zeros(2, [("log_p", "<f4", (2, 2))]), np.zeros(2, "f4,?")):
        np.save(foreign, array)
        assert opening(foreign) == "must hold a recording, got another .npy file"
    np.save(foreign, np.zeros(2, [("log_p", "<f4", (4,)), ("right", "?", (4,))]))
    assert opening(foreign) == "must hold training dynamics, got a recording of log_p, right"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"version": 1', b'"version": 9'))
    assert opening(path) == "has format version 9, this yoco reads up to 1; upgrade yoco"
    path.write_bytes(whole.replace(b"\x93NUMPY\x01", b"\x93NUMPY\x03"))
    assert opening(path) == "is damaged or not a .npy file (not of version 1.0)"


def test_a_recording_without_a_finished_epoch_is_one_line(tmp_path: Path) -> None:
    recorder = Recorder(N, file=tmp_path / "run.npy")
    recorder.log(0, [0], torch.zeros(1, 3), [0])
    assert opening(tmp_path / "run.npy") == "must hold a finished epoch, got none"


def test_values_that_are_not_finite_are_refused(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    first = whole.index(b"\n") + 1
    whole[first : first + 4] = np.float32(np.nan).tobytes()
    path.write_bytes(bytes(whole))
    with pytest.raises(ValueError, match=r"^dynamics: log_p must be finite, got nan or infinity$"):
        Dynamics.open(path)
