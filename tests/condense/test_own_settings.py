"""Settings of a method of one's own: what they may be, how they may be named, and what follows from them."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any

import pytest

from yoco.condense import METHODS, check, condense, settings_of
from yoco.condense.loop import NOTED
from yoco.condense.method import STEPS
from yoco.condense.methods.random import Random
from yoco.data import Splits
from yoco.registry import resolve


class Word(StrEnum):
    """Looks like a word."""

    LEFT = "left"


class Number(IntEnum):
    """Looks like a number."""

    ONE = 1


@dataclass(frozen=True)
class Inner:
    """Settings within settings."""

    rate: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Anything(Random):
    """Its setting may be anything, and its power below 0."""

    value: Any = None
    lr_power: float = -0.5
    momentum_image: float = 0.5


@pytest.mark.parametrize(
    "value",
    [None, True, 2, 0.5, float("inf"), "word", (), (1, ("a", None)), [1.5, [2]], {"a": (1, 2), "b": {"c": False}}],
)
def test_what_a_setting_may_be(tiny: Splits, tmp_path: Path, value: Any) -> None:
    made = condense(tiny, f"{__name__}:Anything", ipc=1, progress=False, out=tmp_path, value=value)
    assert made.config["value"] == value


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (Word.LEFT, "Word"),
        (Number.ONE, "Number"),
        ((1, [Number.ONE]), "Number"),
        ({"a": {"b": Word.LEFT}}, "Word"),
        ({Word.LEFT: 1}, "Word"),
        (Inner(), "Inner"),
        (OrderedDict(a=1), "OrderedDict"),
        ({1, 2}, "set"),
    ],
)
def test_what_only_looks_like_a_word_or_a_number_is_refused(value: Any, kind: str) -> None:
    with pytest.raises(ValueError) as caught:
        settings_of(f"{__name__}:Anything", "digits", 1, None, value=value)
    rule = "must be a number, a string, or a list or mapping of these"
    assert str(caught.value) == f"condense: setting value of {__name__}:Anything: {rule}, got {kind}"


def test_words_are_text() -> None:
    with pytest.raises(ValueError, match=r"^condense: setting experts of mtt: must be text, got 'caf\\udce9'$"):
        settings_of("mtt", "digits", 1, None, experts="caf\udce9")


def test_keys_of_more_than_one_kind_are_refused() -> None:
    with pytest.raises(ValueError, match=rf"^condense: setting value of {__name__}:Anything: '<' not supported "):
        settings_of(f"{__name__}:Anything", "digits", 1, None, value={"a": 1, 2: 3})


def test_only_step_sizes_that_are_known_may_not_be_negative() -> None:
    chosen: Any = settings_of(f"{__name__}:Anything", "digits", 1, None, lr_power=-2.0)
    assert chosen.lr_power == -2.0
    with pytest.raises(ValueError, match=r"^condense: momentum_image must be at least 0, got -1$"):
        settings_of(f"{__name__}:Anything", "digits", 1, None, momentum_image=-1.0)


def test_all_step_sizes_of_the_methods_here_are_known() -> None:
    names = {f.name for method in METHODS for f in fields(resolve("method", METHODS, method))}
    assert {name for name in names if name.startswith(("lr", "momentum", "weight_decay"))} == {*STEPS}


@dataclass(frozen=True, kw_only=True)
class Derived(Random):
    """One field follows from another."""

    rate: float = 0.5
    twice: float = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "twice", 2 * self.rate)


def test_what_follows_from_settings_is_noted_and_cannot_be_asked_for(tiny: Splits) -> None:
    made = condense(tiny, f"{__name__}:Derived", ipc=1, progress=False, rate=2.0)
    assert (made.config["rate"], made.config["twice"]) == (2.0, 4.0)
    with pytest.raises(ValueError, match=rf"^setting of {__name__}:Derived: unknown name 'twice'; "):
        condense(tiny, f"{__name__}:Derived", ipc=1, progress=False, twice=4.0)


class Parts:
    """What a method can do, which is nothing here."""

    published: Callable[..., Any] = print
    synthetic: Callable[..., Any] = print
    optimizer: Callable[..., Any] = print
    memory: Callable[..., Any] = print
    episode: Callable[..., Any] = print


@dataclass(kw_only=True)
class Thawed(Parts):
    """Not frozen."""

    episodes: int = 1


@dataclass(frozen=True, kw_only=True)
class Counted(Parts):
    """Its number of episodes follows from a setting, and cannot be asked for."""

    rounds: int = 2

    @property
    def episodes(self) -> int:
        """Ten in a round."""
        return 10 * self.rounds


@dataclass(frozen=True, kw_only=True)
class Set(Parts):
    """Its number of episodes is no setting either."""

    episodes: int = field(init=False, default=3)


@dataclass(frozen=True, kw_only=True)
class Slow(Random):
    """Its seconds would hide those of the run."""

    seconds: float = 1.0


def test_what_a_method_must_be_is_said_in_one_line() -> None:
    asks: tuple[Callable[..., object], ...] = (lambda method: settings_of(method, "digits", 1, None), check)
    for name, message in (
        ("Thawed", f"must be a frozen dataclass, got {Thawed!r}"),
        ("Counted", "must have a field episodes, got rounds"),
        ("Set", "must have a field episodes, got none"),
        ("Slow", "settings must not be named like what every set records, got seconds"),
    ):
        for ask in asks:
            with pytest.raises(ValueError) as caught:
                ask(f"{__name__}:{name}")
            assert str(caught.value) == f"method {__name__}:{name}: {message}"


def test_what_is_noted_beside_settings_is_known(tiny: Splits) -> None:
    how: dict[str, Any] = {"ipc": 1, "network": "convnet:width=4,depth=2", "progress": False, "space": "zca"}
    how |= {"episodes": 1, "count": 2, "expert_epochs": 3, "max_start": 2, "student_steps": 2}
    made = condense(tiny, "mtt", **how)
    settings = {f.name for f in fields(resolve("method", METHODS, "mtt"))}
    assert {*made.config} - settings - {"ipc", "network"} == {*NOTED}
