"""Settings that several methods share: names of data, mirror images, and what estimates know of new networks."""

import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import SGD

from yoco.condense import Interrupted, Progress, Stop, Task, condense, settings_of
from yoco.condense.methods.random import Random
from yoco.condense.synthetic import start
from yoco.data import Splits
from yoco.data.arrays import from_arrays
from yoco.rng import Rng
from yoco.run import Run

GLYPHS = ("digits", "emnist", "kmnist", "mnist", "svhn")
MIRRORING = ("dm", "dsa", "datadam", "idm", "mtt", "datm", "frepo")


@pytest.mark.parametrize("method", MIRRORING)
def test_no_digit_and_no_letter_is_mirrored(method: str) -> None:
    shape = (1, 28, 28)
    for data in GLYPHS:
        words: Any = settings_of(method, data, 10, shape)
        assert "flip" not in words.augment.split("_")
    for data in ("cifar10", "fashion-mnist"):
        words = settings_of(method, data, 10, shape)
        assert words.augment == "color_crop_cutout_flip_scale_rotate"


@pytest.mark.parametrize("method", ["idc", "mdc", "dream", "accdd"])
def test_what_inner_steps_cannot_do_is_said_at_once(method: str) -> None:
    for settings, line in (
        ({"cutmix": 1.5}, "augment: cutmix probability must be from 0 to 1, got 1.5"),
        ({"first": True, "start": "k-means"}, f"{method}: first needs start real or mix, got k-means"),
    ):
        with pytest.raises(ValueError, match=line):
            settings_of(method, "cifar10", 10, (3, 32, 32), **settings)


def test_mirror_images_double_no_set_of_digits_or_letters() -> None:
    doubled = [data for data in (*GLYPHS, "fashion-mnist", "cifar10") if settings_of("frepo", data, 1, None).flip]  # type: ignore[attr-defined]
    assert doubled == ["cifar10"]


def test_numbers_of_numpy_are_pythons_own_so_that_checkpoints_are_read(tiny: Splits, tmp_path: Path) -> None:
    how: dict[str, Any] = {"ipc": 1, "network": "mlp:width=4", "progress": False}
    how |= {"lr_image": np.float64(2.0), "momentum_image": np.float32(0.5), "real_batch": np.int64(4)}
    settings: Any = settings_of("dm", "digits", 1, (1, 8, 8), **{name: how[name] for name in [*how][3:]})
    assert [type(value) for value in (settings.lr_image, settings.real_batch)] == [float, int]

    def stop(progress: Progress) -> None:
        if progress.episode == 2:
            signal.raise_signal(signal.SIGINT)

    whole = condense(tiny, "dm", episodes=np.int64(3), **how)
    with pytest.raises(Interrupted):
        condense(tiny, "dm", episodes=np.int64(3), out=tmp_path / "run", callbacks=(stop,), **how)
    assert (tmp_path / "run/checkpoint.pt").is_file()
    assert torch.equal(condense(tiny, "dm", episodes=3, out=tmp_path / "run", **how).cells, whole.cells)


@pytest.mark.parametrize(
    ("method", "how"),
    [
        ("dc", {"outer": 1, "real_batch": 8}),
        ("mdc", {"inner": 1, "network_images": 64, "real_batch": 8, "pretrain": 0}),
    ],
)
def test_a_size_of_numpy_goes_on_as_well(tiny: Splits, tmp_path: Path, method: str, how: dict[str, Any]) -> None:
    def stop(progress: Progress) -> None:
        if progress.episode == 1:
            raise Stop

    quick: dict[str, Any] = {"episodes": 2, "network": "convnet:width=4,depth=2", "progress": False, **how}
    numbers: dict[str, Any] = {"ipc": np.int64(1), "seed": np.int64(7), "minutes": np.float64(60.0)}
    condense(tiny, method, out=tmp_path, callbacks=(stop,), **numbers, **quick)
    assert (tmp_path / "checkpoint.pt").is_file()
    again, whole = (condense(tiny, method, ipc=1, seed=7, out=out, **quick) for out in (tmp_path, None))
    assert again.config["episodes_done"] == 2
    assert torch.equal(again.cells, whole.cells)
    assert type(Task(tiny.train, np.int64(2)).per_class) is int
    assert type(settings_of("pdd", "cifar10", np.int64(1), None).episodes) is int


def test_what_another_process_finished_meanwhile_is_only_read(
    tiny: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how: dict[str, Any] = {"ipc": 1, "out": tmp_path, "progress": False}
    made, answers = condense(tiny, "random", **how), iter([False, True])
    monkeypatch.setattr(Run, "finished", property(lambda _: next(answers)))
    monkeypatch.setattr("yoco.condense.run_episodes", None)
    assert torch.equal(condense(tiny, "random", **how).cells, made.cells)


def test_tiny_imagenet_has_one_name_for_all_methods() -> None:
    shape, data = (3, 64, 64), "tiny-imagenet"
    found: dict[str, Any] = {
        name: settings_of(name, data, 50, shape) for name in ("mtt", "datm", "frepo", "dream", "sre2l")
    }
    assert (found["mtt"].student_steps, found["mtt"].student_batch, found["mtt"].lr_image) == (20, 300, 1e4)
    assert (found["datm"].min_start, found["datm"].max_start) == (40, 70)
    assert not found["frepo"].flip
    assert (found["dream"].network_images, found["dream"].lr_image) == (1000, 1e-6)


def test_accdd_has_idcs_settings_for_imagenet_100() -> None:
    """But for its own numbers of steps and networks."""
    shape, names = (3, 224, 224), ("lr_image", "lr_network", "weight_decay", "real_batch", "factor", "metric")
    ours, theirs = (settings_of(name, "imagenet-100", 10, shape) for name in ("accdd", "idc"))
    assert [getattr(ours, name) for name in names] == [getattr(theirs, name) for name in names]
    assert (ours.episodes, ours.early_epochs) == (10_000, 10)  # type: ignore[attr-defined]


@pytest.mark.parametrize("method", ["dc", "dsa"])
def test_a_thousand_networks_have_as_many_steps_as_are_asked_for(method: str) -> None:
    found: Any = settings_of(method, "cifar10", 10, None, outer=3)
    assert (found.episodes, found.outer, found.inner) == (3000, 3, 50)
    usual: Any = settings_of(method, "cifar10", 10, None)
    assert (usual.episodes, usual.outer, usual.inner) == (10_000, 10, 50)
    assert settings_of(method, "digits", 10, None, outer=7).outer == 7  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=rf"^{method}: outer must be at least 1, got 0$"):
        settings_of(method, "cifar10", 10, None, outer=0)


@pytest.mark.parametrize(("side", "factor"), [(9, 4), (5, 4), (4, 3)])
@pytest.mark.parametrize("kind", ["noise", "real", "mix", "k-means"])
def test_every_tile_has_some_room(side: int, factor: int, kind: str) -> None:
    images, labels = torch.rand(40, 1, side, side, generator=Rng(0).generator()), torch.arange(40) % 2
    source = from_arrays(images, labels)
    message = rf"^condense: factor must leave a pixel for each cell of {side}x{side} images, got {factor}$"
    with pytest.raises(ValueError, match=message):
        start(kind, source, 1, factor, Rng(0))
    assert len(start(kind, source, 1, 2, Rng(0)).cells) == 8


def test_a_task_is_the_same_whatever_is_kept_with_it(tiny: Splits) -> None:
    task = Task(tiny.train, 1)
    task.shared["x"] = 1
    assert replace(task, network_name="mlp").shared is task.shared
    assert Task(tiny.train, 1).shared == {}


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("idc", {"lr_image": -1.0}, "condense: lr_image must be at least 0, got -1"),
        ("frepo", {"lr": float("nan")}, "condense: lr must be at least 0, got nan"),
        ("idc", {"weight_decay": -1e-3}, "condense: weight_decay must be at least 0, got -0.001"),
        ("dm", {"momentum_image": -2.0}, "condense: momentum_image must be at least 0, got -2"),
        ("idc", {"reference_side": 0}, "idc: reference_side must be at least 1, got 0"),
        ("idc", {"shrink": "area", "start": "real"}, "idc: shrink area needs start mix or k-means, got real"),
        ("dream", {"shrink": "area", "start": "noise"}, "dream: shrink area needs start mix or k-means, got noise"),
        ("idc", {"shrink": "foo", "factor": 1}, "idc: shrink must be one of nearest, area, got 'foo'"),
        ("mdc", {"pretrain": -1}, "mdc: pretrain must be at least 0, got -1"),
    ],
)
def test_impossible_values_are_said_before_any_step(method: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        settings_of(method, "digits", 1, None, **changes)
    assert str(caught.value) == message


@pytest.mark.parametrize(("method", "lr"), [("dc", 0.1), ("dsa", 0.1), ("dm", 1.0), ("idm", 0.2), ("m3d", 2.0)])
def test_the_optimizer_of_the_pixels(tiny: Splits, method: str, lr: float) -> None:
    chosen: Any = settings_of(method, "cifar10", 2, None)
    synthetic = chosen.synthetic(Task(tiny.train, 2), Rng(0))
    found = chosen.optimizer(synthetic)
    assert found.state_dict() == SGD([synthetic.cells], lr=lr, momentum=0.5).state_dict()
    assert found.param_groups[0]["params"][0] is synthetic.cells


EXPERTS: dict[str, Any] = {"episodes": 4, "count": 2, "expert_epochs": 3, "max_start": 2, "student_steps": 2}


@pytest.mark.parametrize(
    ("method", "changes", "keys", "expected"),
    [
        ("mtt", {**EXPERTS, "lr_image": 3.0, "lr_lr": 2.0}, ("lr", "momentum"), [(3.0, 0.5), (2.0, 0.5)]),
        (
            "datm",
            {**EXPERTS, "threshold": 9.0, "lr_image": 3.0, "lr_lr": 2.0, "lr_labels": 4.0},
            ("lr", "momentum"),
            [(3.0, 0.5), (2.0, 0.5), (4.0, 0.9)],
        ),
        ("frepo", {"episodes": 7, "lr": 0.3}, ("lr", "steps", "final"), [(0.3, 7, 0.1)]),
        ("readout", {"episodes": 7, "lr": 0.3}, ("lr", "steps", "final"), [(0.3, 7, 0.1)]),
        ("sre2l", {"episodes": 7, "squeeze": 2, "lr_image": 0.3}, ("highest", "steps"), [(0.3, 5)]),
        ("cafe", {"lr_image": 0.3}, ("lr", "momentum"), [(0.3, 0.5)]),
    ],
)
def test_optimizers_of_their_own(
    tiny: Splits, method: str, changes: dict[str, Any], keys: tuple[str, ...], expected: list[Any]
) -> None:
    chosen: Any = settings_of(method, "digits", 2, None, **changes)
    task = Task(tiny.train, 2, "convnet:width=4,depth=2")
    groups = chosen.optimizer(chosen.synthetic(task, Rng(0))).param_groups
    assert [tuple(group[key] for key in keys) for group in groups] == expected


@pytest.mark.parametrize("method", ["dc", "dsa", "dm"])
def test_pixels_are_clamped_after_an_update(tiny: Splits, method: str) -> None:
    task = Task(tiny.train, 2, "convnet:width=4,depth=2")
    chosen: Any = settings_of(method, "digits", 2, None, real_batch=8)
    synthetic, memory = chosen.synthetic(task, Rng(1)), chosen.memory(task, Rng(2))
    episode = chosen.episode(task, synthetic, memory, Rng(0))
    next(episode)
    with torch.no_grad():
        synthetic.cells[0], synthetic.cells[1] = 2, -2
    assert next(episode, None) is None
    cells = synthetic.cells.detach()
    assert (cells[0].min(), cells[1].max()) == (1, 0)


@pytest.mark.parametrize("minutes", [0.0, -1.0, float("nan")])
def test_a_time_budget_is_above_nothing(tiny: Splits, minutes: float) -> None:
    with pytest.raises(ValueError, match=rf"^condense: minutes must be above 0, got {minutes:g}$"):
        condense(tiny, ipc=1, minutes=minutes)


@dataclass(frozen=True)
class Half:
    """A method that lacks most."""

    episodes: int = 1

    def optimizer(self, synthetic: Any) -> None:
        """Nothing."""


@dataclass(frozen=True, kw_only=True)
class Doubled(Random):
    """Its network would hide the one that is asked for."""

    network: str = "mlp"


@dataclass(frozen=True, kw_only=True)
class Placed(Random):
    """A setting of it is nothing that the file of a set can hold."""

    folder: Path = Path("there")


class Plain:
    """No dataclass."""


def test_a_path_is_the_words_of_it() -> None:
    found: Any = settings_of("mtt", "digits", 1, None, experts=Path("some") / "experts")
    assert found.experts == str(Path("some") / "experts")


def test_what_is_no_method_is_said_in_one_line(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_method.py").write_text("class My(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    parts = "published, synthetic, optimizer, memory, episode"
    for name, message in (
        ("Half", f"must have {parts}, got a class without published, synthetic, memory, episode"),
        ("Doubled", "settings must not be named like options of condense, got network"),
        ("Plain", f"must be a frozen dataclass, got {Plain!r}"),
        ("MIRRORING", f"must be a frozen dataclass, got {MIRRORING!r}"),
    ):
        with pytest.raises(ValueError) as caught:
            settings_of(f"{__name__}:{name}", "digits", 1, None)
        assert str(caught.value) == f"method {__name__}:{name}: {message}"
    with pytest.raises(ValueError, match=r"^method: 'broken_method:My' cannot be imported \(invalid syntax"):
        settings_of("broken_method:My", "digits", 1, None)


def test_a_setting_that_no_set_can_keep_is_refused_ahead_of_the_run(
    tiny: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yoco.condense.run_episodes", None)  # no episode
    rule = "must be a number, a string, or a list or mapping of these, got"
    with pytest.raises(ValueError, match=rf"^condense: setting folder of {__name__}:Placed: {rule} \w*Path$"):
        condense(tiny, f"{__name__}:Placed", ipc=1, progress=False)
    kept: Any = settings_of(f"{__name__}:Placed", "digits", 1, None, folder="there")
    assert kept.folder == "there"
