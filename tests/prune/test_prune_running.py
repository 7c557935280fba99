"""Running scores against the scores of the whole record."""

from typing import Any

import pytest
import torch

from yoco.prune import SCORES, Recorder
from yoco.prune.running import RUNNING, Running
from yoco.registry import resolve

N, C, E = 23, 4, 30
FULL = ["dual", "dyn-unc", "lbpe", "tdds"]


def feed(*recorders: Any, epochs: int = E, first: int = 0) -> None:
    """Samples of every kind: learned at once, later, never, forgotten; and two that are very sure."""
    labels = torch.arange(N) % C
    for epoch in range(first, epochs):
        generator = torch.Generator().manual_seed(epoch)
        z = torch.randn(N, C, generator=generator)
        z[torch.arange(N), labels] += torch.linspace(-8, 4, N)
        z[-2:] = 40 * torch.eye(C)[labels[-2:]]
        for places in torch.randperm(N, generator=generator).split(9):
            for recorder in recorders:
                recorder.log(epoch, places, z[places], labels[places])


OPTIONS = [
    *[(name, {}) for name in RUNNING],
    ("el2n", {"how": "mean"}),
    ("el2n", {"how": "sum"}),
    ("forgetting", {"never_learned": "zero"}),
    ("forgetting", {"never_learned": "inf"}),
]


@pytest.mark.parametrize(("name", "options"), OPTIONS)
@pytest.mark.parametrize("epochs", ["default", 1, 7, E])
def test_a_running_score_is_that_of_the_whole_record(name: str, options: dict[str, Any], epochs: Any) -> None:
    recorder = Recorder(N)
    running = Running(N, [name] if epochs == "default" else {name: epochs})
    feed(recorder, running)
    given = {} if epochs == "default" else {"epochs": epochs}
    expected = resolve("score", SCORES, name)(recorder.dynamics(), **options, **given)
    found = running.score(name, **options)
    assert found.dtype == torch.float32
    assert found.shape == (N,)
    if name == "variability":
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
    else:
        assert torch.equal(found, expected)
    assert torch.equal(running.score(name, **options, **given), found)


def test_several_scores_run_beside_each_other_and_may_be_asked_in_between() -> None:
    recorder, running = Recorder(N), Running(N, {"aum": None, "el2n": 10, "forgetting": None})
    for first, last in ((0, 12), (12, E)):
        feed(recorder, running, first=first, epochs=last)
        for name in ("aum", "forgetting"):
            assert torch.equal(running.score(name), resolve("score", SCORES, name)(recorder.dynamics()))
        assert torch.equal(running.score("el2n"), recorder.dynamics().error[9])
    assert (running.score("forgetting") == E).any()
    assert (running.score("forgetting", never_learned="zero") < 20).all()


def test_memory_does_not_grow_with_the_epochs() -> None:
    def tensors(thing: Any) -> int:
        held = [vars(thing), *(vars(tally) for tally in thing._tallies.values()), thing._row]
        return sum(v.numel() * v.element_size() for part in held for v in part.values() if isinstance(v, torch.Tensor))

    sizes = []
    running = Running(N, list(RUNNING))
    for first, last in ((0, 2), (2, 10), (10, E)):
        feed(running, first=first, epochs=last)
        sizes.append(tensors(running))
    assert sizes[0] == sizes[1] == sizes[2]
    assert sizes[0] <= (24 * len(RUNNING) + 29) * N


def test_a_name_alone_will_do_and_variability_of_a_sure_sample_keeps_its_digits() -> None:
    running = Running(1, "variability")
    gaps = [20.0, 21.0, 22.0]
    for epoch, gap in enumerate(gaps):
        running.log(epoch, [0], [[gap, 0.0]], [0])
    expected = (1 / (1 + torch.tensor(gaps, dtype=torch.float64).exp())).std(correction=0)
    assert float(running.score("variability")) == pytest.approx(float(expected), rel=1e-5)


def test_scores_that_need_the_full_record_are_named() -> None:
    assert {*RUNNING, *FULL} == set(SCORES)
    for name in FULL:
        with pytest.raises(ValueError) as caught:
            Running(3, ["aum", name])
        assert (
            str(caught.value)
            == f"running: dual, dyn-unc, lbpe, tdds need the full record, got {name!r}; use a Recorder"
        )


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (["auk"], "running: unknown name 'auk'; did you mean 'aum'? known: aum, "),
        ([], "running: scores must name at least one, got none"),
        ({"aum": 0}, "aum: epochs must be a whole number of at least 1, got 0"),
        ({"aum": "all"}, "aum: epochs must be a whole number of at least 1, got 'all'"),
    ],
)
def test_impossible_scores_are_one_line(scores: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        Running(3, scores)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("loss", {}, "running: score must be one of aum, el2n, forgetting, got 'loss'"),
        ("aum", {"epochs": 3}, "running: aum covers 12 epochs, got epochs=3; create Running(n, {'aum': 3}) for that"),
        ("aum", {"epochs": 13}, "aum: needs the dynamics of 13 epochs, got 12"),
        ("aum", {"epochs": 0}, "aum: epochs must be a whole number of at least 1, got 0"),
        ("el2n", {}, "el2n: needs the dynamics of 20 epochs, got 12"),
        ("el2n", {"epochs": 12, "how": "max"}, "el2n: how must be last, mean or sum, got 'max'"),
        ("forgetting", {"never_learned": "no"}, "forgetting: never_learned must be max, zero or inf, got 'no'"),
        ("aum", {"top": 3}, "option of aum: unknown name 'top'; did you mean 'epochs'? known: epochs"),
    ],
)
def test_impossible_options_are_one_line(name: str, options: dict[str, Any], message: str) -> None:
    running = Running(N, ["aum", "el2n", "forgetting"])
    feed(running, epochs=12)
    with pytest.raises(ValueError) as caught:
        running.score(name, **options)
    assert str(caught.value).replace(" did you mean 'epochs'?", "") == message.replace(" did you mean 'epochs'?", "")
