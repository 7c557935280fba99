"""PDD: published settings, those of the base and its experts' windows, the command line, and impossible ones."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest
from torch import Tensor
from torch.optim import SGD, Optimizer

import yoco
from yoco import cli
from yoco.condense import condense, settings_of
from yoco.condense.method import Task
from yoco.condense.methods.idc import IDC
from yoco.condense.methods.mtt import MTT
from yoco.condense.methods.pdd import BASES, PDD, Stages
from yoco.condense.synthetic import Synthetic, start
from yoco.data import Splits
from yoco.rng import Rng


@pytest.mark.parametrize("data", ["cifar10", "fashion-mnist", "svhn"])
def test_every_stage_is_as_long_and_as_published_for_its_images(data: str) -> None:
    found: Any = settings_of("pdd", data, 10, None)
    assert found.base_method == IDC.published(data, 2)
    assert (found.stages, found.factor, found.episodes) == (5, 2, 5 * 200_000)
    for ipc, factor, made in ((1, 1, 1), (2, 1, 2), (1, 3, 5)):
        own: Any = settings_of("pdd", data, ipc, None, factor=factor)
        assert (own.factor, own.episodes) == (factor, made * 200_000)
    few: Any = settings_of("pdd", data, 1, None)
    assert few.episodes == 4 * 200_000  # as there are four cells


@pytest.mark.parametrize(
    ("data", "ipc", "expected"),
    [
        ("cifar10", 10, (50, 2, 5, 1000.0, 1e-7, 1e-2, 0)),
        ("cifar10", 50, (30, 2, 15, 1000.0, 1e-5, 1e-2, 0)),
        ("cifar100", 10, (20, 3, 20, 1000.0, 1e-5, 1e-2, 0)),
        ("cifar100", 50, (20, 2, 20, 1000.0, 1e-5, 1e-2, 512)),
        ("tiny-imagenet", 50, (20, 2, 40, 1e4, 1e-4, 1e-2, 200)),
    ],
)
def test_published_settings_of_trajectories(data: str, ipc: int, expected: tuple[Any, ...]) -> None:
    found: Any = settings_of("pdd", data, ipc, None, base="mtt")
    m = found.base_method
    assert (m.student_steps, m.expert_steps, m.max_start, m.lr_image, m.lr_lr, m.lr_start, m.student_batch) == expected
    assert (found.stages, found.episodes, m.expert_epochs, m.count) == (5, 5 * 5000, 50, 100)


def test_what_is_asked_for_comes_before_what_is_published() -> None:
    found: Any = settings_of("pdd", "cifar100", 10, None, base="idc:lr_image=0.5,factor=3", stages=2)
    assert found.base_method == IDC(lr_image=0.5, factor=3)
    assert (found.factor, found.episodes) == (3, 2 * 100_000)
    again: Any = settings_of("pdd", "digits", 10, None, base="mtt:constant_memory=true,episodes=7")
    assert (again.episodes, again.base_method.constant_memory) == (7, True)
    assert again.base_method.lr_image == MTT.published("digits", 2).lr_image
    assert PDD(**asdict(again)) == again
    assert PDD().base_method == IDC()


@pytest.mark.parametrize(("ipc", "outer"), [(50, 2), (10, 10)])
def test_outer_steps_of_a_base_decide_on_its_episodes(ipc: int, outer: int) -> None:
    found: Any = settings_of("pdd", "cifar10", ipc, None, base=f"dc:outer={outer}")
    alone: Any = settings_of("dc", "cifar10", ipc // 5, None, outer=outer)
    assert (found.base_method.outer, found.episodes) == (outer, 5 * alone.episodes)


@pytest.mark.parametrize(
    ("base", "asked", "begun"),
    [
        ("dm", {}, (1, "real")),
        ("dm", {"factor": 2}, (2, "mix")),
        ("dm:factor=2", {}, (2, "mix")),
        ("dm:factor=2", {"factor": 1}, (1, "real")),
        ("dm:start=real", {"factor": 2}, (2, "real")),
    ],
)
def test_a_base_begins_as_the_factor_wants_it(base: str, asked: dict[str, int], begun: tuple[int, str]) -> None:
    found: Any = settings_of("pdd", "cifar10", 10, None, base=base, **asked)
    assert (found.base_method.factor, found.base_method.start) == begun


def test_the_command_line_names_the_base(tmp_path: Path) -> None:
    argv = [
        "condense",
        "--method",
        "pdd",
        "--base",
        "dm:real_batch=8",
        "--ipc",
        "2",
        "--network",
        "convnet:width=4,depth=2",
    ]
    assert cli.run([*argv, "--episodes", "2", "--taught", "1", "--out", str(tmp_path)]) == 0
    config = yoco.load(tmp_path / "condensed.safetensors").config
    assert config["base"] == "dm:real_batch=8,augment=color_crop_cutout_scale_rotate"
    assert (config["taught"], config["stages"], config["episodes_done"]) == (1, 5, 2)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"stages": 0}, "pdd: stages must be at least 1, got 0"),
        ({"taught": -1}, "pdd: taught must be at least 0, got -1"),
        ({"base": "idcc"}, f"base: unknown name 'idcc'; did you mean 'idc'? known: {', '.join(sorted(BASES))}"),
        ({"base": "idc:iner=3"}, "base idc option: unknown name 'iner'; did you mean 'inner'? known: .*"),
        ({"base": "idc:inner=x"}, "base idc: inner must be a whole number, got 'x'"),
        ({"base": "idc:inner=0"}, "idc: inner must be at least 1, got 0"),
        ({"base": "idc:inner=1,"}, "base idc: options must read key=value,key=value, got 'inner=1,'"),
    ],
)
def test_impossible_settings(settings: dict[str, Any], line: str) -> None:
    for data in ("digits", "cifar10"):
        with pytest.raises(ValueError, match=f"^{line.replace('?', '.')}$"):
            settings_of("pdd", data, 10, None, **settings)


def test_impossible_bases(tiny: Splits) -> None:
    with pytest.raises(ValueError, match=r"^pdd: base must not set episodes, which pdd sets, got 'idc:episodes=3'$"):
        PDD(base="idc:episodes=3")
    frepo = PDD(base="yoco.condense.methods.frepo:FRePo", factor=1)
    line = r"^pdd: base must learn only cells and single numbers, got regressed, targets$"
    with pytest.raises(ValueError, match=line):
        frepo.synthetic(Task(tiny.train, 3), Rng(0))


@dataclass(frozen=True, kw_only=True)
class Fading:
    """Says nothing of a factor."""

    episodes: int = 6
    lr: float = 0.5

    @classmethod
    def published(cls, data: str, per_class: int, shape: tuple[int, int, int] | None = None) -> Self:
        return cls()

    def synthetic(self, task: Task, rng: Rng) -> Synthetic:
        return start("noise", task.real, task.per_class, 1, rng)

    def optimizer(self, synthetic: Synthetic) -> Optimizer:
        return SGD([synthetic.cells], lr=self.lr)

    def memory(self, task: Task, rng: Rng) -> None:
        """Nothing."""

    def episode(self, task: Task, synthetic: Synthetic, memory: None, rng: Rng) -> Iterator[Tensor]:
        for label in task.classes:
            yield synthetic.of(label).images.square().mean()


def test_a_base_need_not_have_a_factor(tiny: Splits) -> None:
    found: Any = settings_of("pdd", "digits", 3, None, base=f"{__name__}:Fading:lr=0.25", stages=3)
    assert (found.factor, found.episodes, found.base_method) == (1, 6, Fading(lr=0.25))
    how: dict[str, Any] = {"base": f"{__name__}:Fading", "stages": 3, "episodes": 3, "taught": 1}
    made = condense(tiny, "pdd", ipc=3, network="mlp:width=4", device="cpu", progress=False, **how)
    assert (made.factor, made.counts, made.config["episodes_done"]) == (1, (3, 3, 3), 3)
    with pytest.raises(ValueError, match=rf"^pdd: factor must be 1 with the base {__name__}:Fading, got 2$"):
        condense(tiny, "pdd", ipc=3, factor=2, progress=False, **how)


@dataclass(frozen=True, kw_only=True)
class Doubling(Fading):
    """One field follows from another."""

    twice: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "twice", 2 * self.lr)


def test_a_base_may_have_what_cannot_be_asked_for() -> None:
    found: Any = settings_of("pdd", "digits", 3, None, base=f"{__name__}:Doubling:lr=0.25", stages=3)
    assert (found.base, found.base_method.twice) == (f"{__name__}:Doubling:lr=0.25", 0.5)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("Stages", "must be a frozen dataclass, got <class "),
        ("BASES", "must be a frozen dataclass, got {"),
        ("Task", "must have published, synthetic, optimizer, memory, episode, got a class without published, "),
    ],
)
def test_a_base_is_a_method(name: str, line: str) -> None:
    with pytest.raises(ValueError) as caught:
        settings_of("pdd", "digits", 3, None, base=f"{__name__}:{name}")
    assert str(caught.value).startswith(f"base {__name__}:{name}: {line}")


@pytest.mark.parametrize(
    ("epochs", "steps", "first", "last", "stages", "windows"),
    [
        (50, 2, 0, 5, 5, [(0, 5), (5, 10), (10, 15), (15, 20), (20, 25)]),
        (50, 2, 0, 15, 5, [(0, 15), (8, 23), (16, 31), (24, 39), (32, 47)]),
        (50, 2, 3, 8, 2, [(3, 8), (8, 13)]),
        (21, 2, 0, 20, 3, [(0, 20), (0, 20), (0, 20)]),
        (50, 2, 0, 5, 1, [(0, 5)]),
    ],
)
def test_segments_begin_later_where_experts_are_followed(
    epochs: int, steps: int, first: int, last: int, stages: int, windows: list[tuple[int, int]]
) -> None:
    base = f"mtt:expert_epochs={epochs},expert_steps={steps},min_start={first},max_start={last}"
    method = PDD(base=base, factor=1, stages=stages)
    found = [method.at(stage, stages) for stage in range(stages)]
    assert [(each.min_start, each.max_start) for each in found] == windows
    assert all(each.max_start - 1 + steps <= epochs for each in found)


def test_segments_have_the_room_of_the_stages_that_are_made(tiny: Splits) -> None:
    pdd = PDD(base="mtt:max_start=20,expert_steps=3", factor=1, stages=5, episodes=6)
    stages = Stages(pdd, Task(tiny.train, 3, "mlp:width=4"), Rng(0))
    found = [(stages.base.min_start, stages.base.max_start)]
    for stage in (1, 2):
        stages.enter(stage, None)
        found.append((stages.base.min_start, stages.base.max_start))
    assert found == [(0, 20), (14, 34), (28, 48)]
