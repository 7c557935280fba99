"""Names to objects, each mistake in one line."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from yoco.registry import declared, join_options, resolve, split_options, typed_options, unknown
from yoco.rng import Rng

if TYPE_CHECKING:
    from yoco.networks import Network

TABLE = {"rng": "yoco.rng:Rng", "gone": "yoco.nowhere:Thing"}


def test_a_nickname_and_a_path_give_the_object() -> None:
    assert resolve("thing", TABLE, "rng") is Rng
    assert resolve("thing", TABLE, "yoco.rng:Rng") is Rng


def test_ones_own_module_is_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_registered_paper.py").write_text("class Mine:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert resolve("method", {}, "my_registered_paper:Mine").__name__ == "Mine"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rgn", "thing: unknown name 'rgn'; did you mean 'rng'? known: gone, rng"),
        ("zzzz", "thing: unknown name 'zzzz'; known: gone, rng"),
        ("yoco.rng:Rgn", "thing: 'yoco.rng:Rgn' cannot be imported (module 'yoco.rng' has no attribute 'Rgn')"),
        ("yoco.nothing:X", "thing: 'yoco.nothing:X' cannot be imported (No module named 'yoco.nothing')"),
        (":X", "thing: must read module:Name, got ':X'"),
        ("yoco.rng:", "thing: must read module:Name, got 'yoco.rng:'"),
        (".rng:Rng", "thing: must read module:Name, got '.rng:Rng'"),
    ],
)
def test_mistakes_are_one_line(name: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        resolve("thing", TABLE, name)
    assert str(caught.value) == message


def test_a_wrong_table_is_our_own_mistake_and_not_the_users() -> None:
    with pytest.raises(ModuleNotFoundError):
        resolve("thing", TABLE, "gone")


def test_unknown_of_an_empty_table_says_so() -> None:
    assert str(unknown("thing", "a", {})) == "thing: unknown name 'a'; known: "


def test_options_after_a_name_come_back_with_their_types() -> None:
    def thing(width: int = 1, share: float = 0.5, word: str = "x", on: bool = False) -> None: ...

    options = {"width": 3, "share": 1e-07, "word": "a_b", "on": True}
    for base in ("rng", "yoco.rng:Rng"):
        name = join_options(base, options)
        assert name == f"{base}:width=3,share=1e-07,word=a_b,on=true"
        found, texts = split_options("thing", name)
        assert (found, typed_options("thing", thing, texts)) == (base, options)
        assert split_options("thing", join_options(base, {})) == (base, {})


@pytest.mark.parametrize(
    ("name", "base", "options"),
    [
        ("convnet", "convnet", {}),
        ("a.b:Name", "a.b:Name", {}),
        ("a.b:Name:x=1", "a.b:Name", {"x": "1"}),
        (r"convnet:file=C:\w.pt,width=3", "convnet", {"file": r"C:\w.pt", "width": "3"}),
        ("a:B:x=k:v=1", "a:B", {"x": "k:v=1"}),
        (":x=1", ":x=1", {}),
    ],
)
def test_options_follow_the_first_colon_that_has_them(name: str, base: str, options: dict[str, str]) -> None:
    assert split_options("thing", name) == (base, options)


class Thing:
    def __init__(self, like: "Network | None" = None, width: int = 1, share: float = 0.5, on: bool = False) -> None: ...


class Plain:
    def __init__(self, width: int = 1, share: float | None = None, on: bool = False) -> None: ...


def plain(like: "any thing" = None, *, width: int = 1, share: float = 0.5, on: bool = False) -> None: ...  # noqa: F722


@pytest.mark.parametrize(
    "made", [Thing, Plain, plain, partial(Thing, width=2), partial(Plain, on=True), partial(plain)]
)
def test_types_that_cannot_be_read_are_those_of_the_defaults(made: Any) -> None:
    options = {"width": "3", "share": "1", "on": "true"}
    assert typed_options("thing", made, options) == {"width": 3, "share": 1.0, "on": True}
    with pytest.raises(ValueError, match=r"^thing: width must be a whole number, got 'x'$"):
        typed_options("thing", made, {"width": "x"})


@dataclass
class Partly:
    like: "Network | None" = None
    share: float | None = None
    on: "bool | None" = None


def partly(like: "Network | None" = None, share: float | None = None, on: "bool | None" = None) -> None: ...


def test_a_type_that_cannot_be_read_takes_no_other_away() -> None:
    for made in (Partly, partly, partial(partly)):
        assert typed_options("thing", made, {"share": "0.5", "on": "true"}) == {"share": 0.5, "on": True}
    assert declared(Partly) == {"share": float | None, "on": bool | None}


def test_a_class_or_function_itself_is_told_its_name() -> None:
    def inner() -> None:
        """Nobody can name it."""

    for wrong, said in (
        (Rng, f"{Rng!r}; name it 'yoco.rng:Rng'"),
        (unknown, f"{unknown!r}; name it 'yoco.registry:unknown'"),
        (inner, repr(inner)),
        (3, "3"),
    ):
        with pytest.raises(ValueError) as caught:
            resolve("thing", TABLE, wrong)  # type: ignore[arg-type]
        assert str(caught.value) == f"thing: must be a name, or module:Name, got {said}"
    with pytest.raises(ValueError, match=r"got type; name it 'yoco\.rng:Rng'$"):
        split_options("thing", Rng)  # type: ignore[arg-type]


def shaped(
    widths: tuple[int, ...] = (8,),
    side: Literal[8, 16] = 8,
    way: Literal["up", False] | None = None,
    most: Literal["all"] | int = 3,
    place: Path | float | None = None,
    sides=(8,),
    free=None,
) -> None: ...


def test_words_say_what_is_declared_or_are_refused() -> None:
    words = {"side": "16", "way": "false", "most": "all", "place": "0.5", "free": "x"}
    found = typed_options("thing", shaped, words)
    assert found == {"side": 16, "way": False, "most": "all", "place": 0.5, "free": "x"}
    assert [type(value) for value in found.values()] == [int, bool, str, float, str]
    assert typed_options("thing", shaped, {"most": "7"}) == {"most": 7}
    kinds = "must be declared as bool, int, float, str, Path or Literal to be given in a word, got tuple"
    for key, text, line in (
        ("widths", "16", f"{kinds}[int, ...]"),
        ("sides", "16", kinds),
        ("side", "12", "must be one of 8, 16, got '12'"),
        ("way", "True", "must be one of up, false, got 'True'"),
        ("most", "some", "must be a whole number, got 'some'"),
    ):
        with pytest.raises(ValueError) as caught:
            typed_options("thing", shaped, {key: text})
        assert str(caught.value) == f"thing: {key} {line}"


def test_options_without_a_default_are_said_to_lack_it() -> None:
    def thing(first: int, second: int, width: int, *, depth: int, side: int = 1) -> None: ...

    for key in ("width", "depth"):
        with pytest.raises(ValueError, match=rf"^thing: options must have defaults, got {key} without one$"):
            typed_options("thing", thing, {key: "3"}, given=2)
    with pytest.raises(ValueError, match=r"^thing option: unknown name 'first'; known: side$"):
        typed_options("thing", thing, {"first": "3"}, given=2)
