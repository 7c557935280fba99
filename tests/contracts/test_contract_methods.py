"""What every condensation method must keep, on digits of 8x8 pixels."""

import os
import signal
from collections.abc import Iterator
from dataclasses import fields, replace
from math import isfinite, isnan
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from other_device import both

import yoco
from yoco.condense import METHODS, Interrupted, Progress, Stop, condense, settings_of
from yoco.condense.method import Task
from yoco.data import Splits
from yoco.networks import Network
from yoco.rng import Rng

SMALL: dict[str, dict[str, Any]] = {
    "idc": {"episodes": 4, "inner": 2, "network_images": 64, "real_batch": 8, "pretrain": 1},
    "mdc": {"episodes": 4, "inner": 1, "interval": 1, "network_images": 64, "real_batch": 8, "pretrain": 1},
    "pdd": {"episodes": 4, "base": "idc:inner=2,network_images=64,real_batch=8,pretrain=1", "taught": 2},
    "dc": {"episodes": 4, "outer": 2, "inner": 2, "real_batch": 8},
    "dsa": {"episodes": 4, "outer": 2, "inner": 2, "real_batch": 8},
    "dm": {"episodes": 4, "real_batch": 8},
    "mtt": {"episodes": 4, "count": 2, "expert_epochs": 3, "max_start": 2, "student_steps": 2},
    "datm": {"episodes": 4, "count": 2, "expert_epochs": 3, "max_start": 2, "student_steps": 2, "threshold": 9.0},
    "frepo": {"episodes": 4, "pool": 2, "life": 2, "real_batch": 20, "network_batch": 4},
    "readout": {"episodes": 4, "pool": 2, "life": 2, "real_batch": 20, "network_batch": 8, "network_steps": 2},
    "rded": {"episodes": 4, "pool": 8, "crops": 2},
    "best-crops": {"episodes": 4, "pool": 8, "crops": 2},
    "k-means": {"episodes": 4},
    "herding": {"episodes": 4},
    "random": {"episodes": 0},
    "idm": {"episodes": 4, "real_batch": 8, "network_batch": 16, "interval": 2, "pool_start": 2, "pool_limit": 3},
    "accdd": {"episodes": 4, "inner": 2, "early": 2, "early_epochs": 1, "network_images": 64, "real_batch": 8},
    "dream": {"episodes": 4, "inner": 3, "interval": 2, "network_images": 64, "real_batch": 8, "pretrain": 1},
    "datadam": {"episodes": 4, "real_batch": 8},
    "m3d": {"episodes": 4, "updates": 2, "real_batch": 8},
    "sre2l": {"episodes": 4, "squeeze": 0, "teacher": "convnet:width=8,depth=2,norm=batch"},
    "cafe": {"episodes": 4, "real_batch": 8, "window": 2, "still": 1.0, "inner": 3, "query": 16},
}
CHOOSING = ("rded", "best-crops", "k-means", "herding", "random")
"""Methods that take real images as they are: they descend no loss."""
PACED = sorted(name for name in METHODS if SMALL[name]["episodes"])
"""Methods with episodes."""
NETWORK = "convnet:width=8,depth=2"


@pytest.fixture(params=sorted(METHODS))
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def run(tiny: Splits, method: str) -> Any:
    def run(**changes: Any) -> yoco.CondensedSet:
        options = {"ipc": 2, "seed": 0, "progress": False, **SMALL[method], **changes}
        network = {} if "teacher" in options else {"network": NETWORK}
        return condense(tiny, method, **options, **network)

    return run


class Whole(NamedTuple):
    """A run with the settings of `SMALL`, made once for all tests that only look at it.

    losses: of its episodes; before, after: the state of the global generator.
    """

    made: yoco.CondensedSet
    losses: list[float]
    before: torch.Tensor
    after: torch.Tensor


@pytest.fixture(scope="module")
def wholes() -> dict[str, Whole]:
    """Those that were made, by method."""
    return {}


@pytest.fixture
def whole(run: Any, method: str, wholes: dict[str, Whole]) -> Whole:
    if method not in wholes:
        losses: list[float] = []
        torch.random.default_generator.manual_seed(11)
        before = torch.random.get_rng_state()
        made = run(callbacks=(lambda progress: losses.append(progress.loss),))
        wholes[method] = Whole(made, losses, before, torch.random.get_rng_state())
    return wholes[method]


@pytest.fixture
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def same(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    return one is other if one is None or other is None else torch.equal(one, other)


def test_every_method_has_small_settings() -> None:
    assert set(SMALL) == set(METHODS)


def test_losses_are_finite_and_cells_in_range(whole: Whole, method: str) -> None:
    assert len(whole.losses) == SMALL[method]["episodes"]
    assert all(isnan(loss) if method in CHOOSING else isfinite(loss) and loss != 0 for loss in whole.losses)
    assert whole.made.cells.min() >= 0
    assert whole.made.cells.max() <= 1
    if whole.made.soft_labels is not None:
        torch.testing.assert_close(whole.made.soft_labels.sum(1), torch.ones(len(whole.made)))


def test_whitened_pixels_are_learned_and_never_cut(run: Any, tiny: Splits, tmp_path: Path) -> None:
    run(space="zca", factor=2, out=tmp_path)
    made = yoco.load(tmp_path / "condensed.safetensors")
    assert (made.space, made.mean, made.std) == ("zca", (0.0,), (1.0,))
    assert made.whitening == {"eps": 0.1, "checksum": tiny.train.checksum}
    assert made.cells.amin((1, 2, 3)).lt(-0.01).all()
    how: dict[str, Any] = {"epochs": 1, "seeds": 1, "networks": NETWORK, "progress": False}
    assert yoco.evaluate(made, tiny, **how).same_data


def test_another_seed_gives_other_cells(run: Any, whole: Whole) -> None:
    assert not torch.equal(whole.made.cells, run(seed=1).cells)


def test_episodes_change_the_cells(run: Any, whole: Whole, method: str) -> None:
    """Those without any episode have nothing to change: what they start with is their answer."""
    assert torch.equal(whole.made.cells, run(episodes=0).cells) == (SMALL[method]["episodes"] == 0)


@pytest.mark.parametrize("method", PACED, indirect=True)
def test_resumes_after_each_episode_to_the_same_bits(run: Any, whole: Whole, method: str, tmp_path: Path) -> None:
    episodes: list[int] = []

    def interrupt(progress: Progress) -> None:
        episodes.append(progress.episode)
        os.kill(os.getpid(), signal.SIGINT)

    for _ in range(1, SMALL[method]["episodes"]):
        with pytest.raises(Interrupted):
            run(out=tmp_path, callbacks=(interrupt,))
        assert (tmp_path / "checkpoint.pt").is_file()
    assert episodes == [*range(1, SMALL[method]["episodes"])]
    resumed = run(out=tmp_path)
    assert torch.equal(resumed.cells, whole.made.cells)
    assert same(resumed.soft_labels, whole.made.soft_labels)
    assert resumed.config.get("learned") == whole.made.config.get("learned")
    assert not list(tmp_path.glob("checkpoint*"))


def test_global_generator_is_untouched(whole: Whole) -> None:
    assert torch.equal(whole.after, whole.before)


@pytest.mark.usefixtures("float64")
def test_runs_in_float64(tiny: Splits, method: str) -> None:
    task = Task(tiny.train, 1, NETWORK)
    chosen: Any = replace(settings_of(method, "digits", 1, None), **SMALL[method])
    synthetic, memory = chosen.synthetic(task, Rng(0)), chosen.memory(task, Rng(1))
    losses = list(chosen.episode(task, synthetic, memory, Rng(2))) if chosen.episodes else []
    assert {loss.dtype for loss in losses} == (set() if method in CHOOSING else {torch.float64})
    assert synthetic.cells.dtype == torch.float64


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_computes_what_the_cpu_does(run: Any) -> None:
    """Up to rounding, which is coarser there; what is chosen may differ where two are nearly as good."""
    losses: dict[str, list[float]] = {"cpu": [], "cuda": []}
    made = {
        device: run(device=device, callbacks=(lambda progress, found=found: found.append(progress.loss),))
        for device, found in losses.items()
    }
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=0.05, abs=1e-6)
    assert (made["cuda"].cells - made["cpu"].cells).abs().mean() < 0.02


def test_a_device_apart_computes_what_the_cpu_does_also_after_a_stop(run: Any, method: str, tmp_path: Path) -> None:
    """All tensors of a run are on its device, also those of a checkpoint, and its set is on the CPU."""
    losses: list[float] = []

    def halt(progress: Progress) -> None:
        losses.append(progress.loss)
        if progress.episode == 2:
            raise Stop

    def halves(device: str) -> yoco.CondensedSet:
        run(device=device, out=tmp_path / device, callbacks=(halt,))
        return run(device=device, out=tmp_path / device, callbacks=(halt,))

    plain, made = both(halves)
    half = len(losses) // 2
    assert losses[half:] == pytest.approx(losses[:half], rel=0, abs=0, nan_ok=True)
    assert half == SMALL[method]["episodes"]
    assert (made.cells.device, made.checksum) == (torch.device("cpu"), plain.checksum)


@pytest.mark.parametrize("method", PACED, indirect=True)
def test_runs_in_bfloat16(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, plain = set(), Network._precision
    monkeypatch.setattr(Network, "_precision", lambda self, x: (seen.add(self.autocast), plain(self, x))[1])
    made, start = run(episodes=1, bf16=True), run(episodes=0)
    assert torch.bfloat16 in seen
    assert made.config["autocast"] == "torch.bfloat16"
    assert torch.isfinite(made.cells).all()
    assert not torch.equal(made.cells, start.cells)


def test_seed_decides_every_bit_of_what_is_saved_with_its_provenance_and_only_read_once_it_is_finished(
    run: Any, whole: Whole, method: str, tmp_path: Path
) -> None:
    made = run(out=tmp_path)
    loaded = yoco.load(tmp_path / "condensed.safetensors")
    for found in (made, loaded):
        assert torch.equal(found.cells, whole.made.cells)
        assert same(found.soft_labels, whole.made.soft_labels)
    assert loaded.method == method
    assert loaded.seed == 0
    names = {f.name for f in fields(settings_of(method, "digits", 1, None))}  # type: ignore[arg-type]
    assert names <= set(loaded.config)
    assert loaded.config["episodes_done"] == SMALL[method]["episodes"]
    assert loaded.source["name"] == "digits"
    episodes: list[int] = []
    again = run(out=tmp_path, callbacks=(lambda progress: episodes.append(progress.episode),))
    assert episodes == []
    assert torch.equal(again.cells, made.cells)


@pytest.mark.parametrize("ipc", [1, 3])
def test_any_size(run: Any, method: str, ipc: int) -> None:
    made = run(ipc=ipc, episodes=min(1, SMALL[method]["episodes"]))
    assert set(made.counts) == {ipc * made.factor**2}


@pytest.mark.slow
@pytest.mark.parametrize("method", sorted({*METHODS} - {"random", "rded", "sre2l"}), indirect=True)
def test_beats_a_random_real_subset(method: str) -> None:
    """RDED does not: whole digits are worth as much as the crops that a teacher finds easiest; nor does SRe2L.

    The labels of DATM's start are those of a network that is not sure of them, which takes some time to mend.
    """
    made = condense("digits", method, ipc=1, episodes=300 if method == "datm" else 60, progress=False)
    result = yoco.evaluate(made, "digits", epochs=300, seeds=3, baselines=("random",), progress=False).to_dict()
    last = {row["name"]: row["last_mean"] for row in result["results"]}
    assert last["condensed"] > last["random"] + 3
