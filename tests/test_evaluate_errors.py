"""What an evaluation refuses, each mistake in one line."""

from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import Any

import pytest

from yoco.condensed import CondensedSet
from yoco.data import Whitening
from yoco.data.source import Source, Splits
from yoco.evaluate import evaluate

QUICK: dict[str, Any] = {"networks": "mlp:width=8", "progress": False, "device": "cpu"}

MISTAKES = [
    ({"epochs": 3, "same_compute": True}, "give only one of epochs and same_compute, got epochs=3 and same_compute"),
    ({"epochs": 0}, "epochs must be at least 1, got 0"),
    ({"jobs": 0}, "jobs must be at least 1, got 0"),
    ({"full_epochs": -1}, "full_epochs must be at least 1, got -1"),
    ({"seeds": 0}, "seeds must be a count of at least 1, or different numbers, got 0"),
    ({"seeds": (2, 2)}, "seeds must be a count of at least 1, or different numbers, got (2, 2)"),
    ({"networks": ()}, "networks must name at least one, got none"),
    ({"full_epochs": 3}, "full_epochs can only be used with the baseline full, got 3 without it"),
    ({"baselines": "random"}, "baselines must be a list of names, got 'random'"),
]


@pytest.mark.parametrize(("asked", "message"), MISTAKES)
def test_wrong_numbers_are_one_line(tiny: Splits, tiny_set: CondensedSet, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        evaluate(tiny_set, tiny, **{**QUICK, **asked})
    assert str(caught.value) == f"evaluate: {message}"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"baselines": ("ful",)}, "baseline: unknown name 'ful'; did you mean 'full'?"),
        ({"protocol": "idx"}, "protocol: unknown name 'idx'; did you mean 'idc'?"),
        ({"networks": "convnett"}, "network: unknown name 'convnett'; did you mean 'convnet'?"),
        ({"device": "gpu"}, "device: must be auto or one of"),
    ],
)
def test_unknown_names_are_one_line(tiny: Splits, tiny_set: CondensedSet, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        evaluate(tiny_set, tiny, **{**QUICK, "epochs": 1, **asked})
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def other(tiny: Splits, **changes: Any) -> Splits:
    return Splits(*(replace(half, **changes) for half in tiny))


def test_a_set_that_does_not_fit_the_data_is_one_line(tiny: Splits, tiny_set: CondensedSet) -> None:
    wide = Splits(*(replace(half, images=half.images.expand(-1, 3, -1, -1), mean=(), std=()) for half in tiny))
    zca = replace(tiny_set, space="zca")
    others = replace(zca, config={"whitening": {"eps": 0.1, "checksum": "0123456789"}})
    white = Splits(*(Whitening.fit(tiny.train)(half) for half in tiny))
    own = tiny.train.checksum[:8]
    cases: list[tuple[CondensedSet | Source, Splits | None, str]] = [
        (tiny_set, None, "the set must have the 10 classes of digits, got 3"),
        (tiny_set, wide, "the images must be 3x8x8 like those of digits, got 1x8x8; give the data in that size"),
        (tiny.train, wide, "the images must be 3x8x8 like those of digits, got 1x8x8; give the data in that size"),
        (zca, tiny, "a set in ZCA space must record how it was whitened, got one that does not"),
        (
            others,
            tiny,
            f"the set was whitened by a fit on training images with checksum 01234567, got {own} of digits;"
            " give the same data, in the same size",
        ),
        (
            replace(tiny_set, source={}),
            None,
            "data must be given, as the set does not record what it was made from, got none",
        ),
        (
            tiny_set,
            other(tiny, classes=("1", "0", "2")),
            "the classes of the set must be in the order of digits, got '0' in another position",
        ),
    ]
    for examples, data, message in cases:
        with pytest.raises(ValueError) as caught:
            evaluate(examples, data, epochs=1, **QUICK)
        assert str(caught.value) == f"evaluate: {message}"
    plain: list[tuple[CondensedSet | Source, Splits]] = [(white.train, tiny), (tiny_set, white)]
    for examples, whitened in plain:
        with pytest.raises(ValueError, match=r"^data digits: images must not be whitened, got whitened ones; give"):
            evaluate(examples, whitened, epochs=1, **QUICK)


def test_a_class_at_another_place_is_said_beside_strange_ones(tiny: Splits, tiny_set: CondensedSet) -> None:
    data, mine = other(tiny, classes=("ant", "cat", "dog")), replace(tiny_set, classes=("cat", "dog", "fox"))
    with pytest.raises(ValueError, match=r"in the order of digits, got 'cat' in another position$"):
        evaluate(mine, data, epochs=1, **QUICK)
    assert evaluate(replace(mine, classes=("a", "cat", "b")), data, epochs=1, seeds=1, **QUICK).results


def test_names_that_the_data_have_none_of_are_other_classes(tiny: Splits, tiny_set: CondensedSet) -> None:
    data, mine = other(tiny, classes=("crow", "owl", "tit")), replace(tiny_set, classes=("cat", "dog", "fox"))
    with pytest.raises(
        ValueError, match=r"^evaluate: the set must have the classes of digits, crow to tit, got cat to"
    ):
        evaluate(replace(mine, source={"name": "birds"}), data, epochs=1, **QUICK)
    assert evaluate(mine, data, epochs=1, seeds=1, **QUICK).same_data  # which may go by other names


def test_numbers_of_other_classes_are_no_places(tiny: Splits, tiny_set: CondensedSet) -> None:
    later, rule = ("5", "6", "7"), "evaluate: the set must have the classes of digits,"
    for mine, data, said in (
        (replace(tiny_set, classes=later), tiny, "0 to 2, got 5 to 7"),
        (replace(tiny.train, classes=later), tiny, "0 to 2, got 5 to 7"),
        (replace(tiny.train, classes=("01", "02", "03")), tiny, "0 to 2, got 01 to 03"),
        (tiny_set, other(tiny, classes=later), "5 to 7, got 0 to 2"),
    ):
        with pytest.raises(ValueError, match=rf"^{rule} {said}; give its data$"):
            evaluate(mine, data, epochs=1, **QUICK)
    for classes in (("ant", "cat", "dog"), ("1", "2", "3"), ("01", "02", "03")):
        assert evaluate(tiny_set, other(tiny, classes=classes), epochs=1, seeds=1, **QUICK).results


def test_the_same_numbers_are_the_same_classes(tiny: Splits, tiny_set: CondensedSet) -> None:
    padded = ("00", "01", "02")
    for mine, data in ((tiny_set, other(tiny, classes=padded)), (replace(tiny_set, classes=padded), tiny)):
        assert evaluate(mine, data, epochs=1, seeds=1, **QUICK).results
    with pytest.raises(ValueError, match=r"in the order of digits, got '0' in another position$"):
        evaluate(tiny_set, other(tiny, classes=("01", "00", "02")), epochs=1, **QUICK)


def test_a_process_that_is_ended_is_said(tiny: Splits, tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    class Ended:
        def result(self) -> None:
            raise BrokenProcessPool("a process was ended")

        def done(self) -> bool:
            return False

    monkeypatch.setattr(ProcessPoolExecutor, "submit", lambda *words: Ended())
    with pytest.raises(ValueError, match=r"^evaluate: one of the 2 worker processes died, perhaps for lack of memory"):
        evaluate(tiny_set, tiny, epochs=1, seeds=2, jobs=2, **QUICK)
