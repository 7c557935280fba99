"""Every score against literal NumPy on the logits themselves; directions, options, and what must not matter."""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from yoco.prune import SCORES, Dynamics, Recorder
from yoco.prune.scores import (
    aum,
    confidence,
    correctness,
    el2n,
    forgetting,
    lbpe,
    loss,
    margin,
    mean_confidence,
    variability,
)
from yoco.prune.windows import dual, dyn_unc, tdds
from yoco.registry import resolve

E, N, C, T = 24, 13, 4, 17
ORDER = torch.randperm(N, generator=torch.Generator().manual_seed(8))


def labels() -> Tensor:
    return torch.arange(N) % C


def run() -> Tensor:
    """Logits [E, N, C] of a training that learns most samples: the first never, the second at once, to the end."""
    z = torch.randn(E, N, C, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for epoch in range(E):
        z[epoch, torch.arange(N), labels()] += 0.15 * epoch
    z[:, 0, 0] = -9
    z[:, 1, 1] = 9
    return z


def recorded(logits: Tensor, order: Tensor | None = None, batch: int = N) -> Dynamics:
    """The dynamics of these logits, the samples in this order, shown in another order and in batches in every epoch."""
    order = torch.arange(N) if order is None else order
    recorder = Recorder(N, shift=True)
    for epoch, z in enumerate(logits):
        shown = torch.randperm(N, generator=torch.Generator().manual_seed(epoch + batch))
        for places in shown.split(batch):
            recorder.log(epoch, places, z[order][places], labels()[order][places])
    return recorder.dynamics()


@cache
def made(batch: int = 0) -> Dynamics:
    """The dynamics of `run`; with a size of batches, reordered."""
    return recorded(run(), ORDER, batch) if batch else recorded(run())


def sample(i: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Logits and probabilities [E, C] of one sample, and its label."""
    z = run()[:, i].numpy()
    p = np.exp(z - z.max(1, keepdims=True))
    return z, p / p.sum(1, keepdims=True), int(labels()[i])


def error(p: np.ndarray, y: int) -> float:
    return np.sqrt(sum((q - (c == y)) ** 2 for c, q in enumerate(p)))


def right(z: np.ndarray, y: int) -> bool:
    return all(z[y] > z[c] for c in range(C) if c != y)


def other(values: np.ndarray, y: int) -> float:
    return max(values[c] for c in range(C) if c != y)


def literal_forgetting(z: np.ndarray, y: int, never: float) -> float:
    count, ever, last = 0, False, False
    for e in range(len(z)):
        now = right(z[e], y)
        count, ever, last = count + (last and not now), ever or now, now
    return count if ever else never


def literal_windows(p: np.ndarray, y: int, window: int, difficulty: bool) -> float:
    worth = []
    for first in range(len(p) - window + 1):
        some = [p[e, y] for e in range(first, first + window)]
        mean = sum(some) / window
        std = np.sqrt(sum((q - mean) ** 2 for q in some) / (window - 1))
        worth.append(std * (1 - mean) if difficulty else std)
    return sum(worth) / len(worth)


def literal_tdds(p: np.ndarray, window: int, decay: float) -> float:
    score = 0.0
    for k in range(len(p) - window + 1):
        moves = []
        for j in range(k, k + window - 1):
            moves.append(sum(abs(p[j + 1, c] * (np.log(p[j + 1, c]) - np.log(p[j, c]))) for c in range(C)))
        mean = sum(moves) / len(moves)
        norm = np.sqrt(sum((a - mean) ** 2 for a in moves))
        score += norm * decay * (1 - decay) ** (len(p) - window - k)
    return score


LITERAL: list[tuple[str, dict[str, Any], Callable[[np.ndarray, np.ndarray, int], float]]] = [
    ("el2n", {"how": "last"}, lambda z, p, y: error(p[-1], y)),
    ("el2n", {"how": "mean"}, lambda z, p, y: sum(error(q, y) for q in p) / len(p)),
    ("el2n", {"how": "sum"}, lambda z, p, y: sum(error(q, y) for q in p)),
    ("forgetting", {}, lambda z, p, y: literal_forgetting(z, y, len(z))),
    ("forgetting", {"never_learned": "zero"}, lambda z, p, y: literal_forgetting(z, y, 0)),
    ("forgetting", {"never_learned": "inf"}, lambda z, p, y: literal_forgetting(z, y, np.inf)),
    ("aum", {}, lambda z, p, y: -sum(u[y] - other(u, y) for u in z) / len(z)),
    ("margin", {}, lambda z, p, y: -sum(q[y] - other(q, y) for q in p)),
    ("correctness", {}, lambda z, p, y: 1 - sum(right(u, y) for u in z) / len(z)),
    ("confidence", {}, lambda z, p, y: 1 - sum(q[y] for q in p) / len(p)),
    ("variability", {}, lambda z, p, y: np.sqrt(sum((q[y] - np.mean(p[:, y])) ** 2 for q in p) / len(p))),
    ("loss", {}, lambda z, p, y: sum(-np.log(q[y]) for q in p) / len(p)),
    ("dyn-unc", {}, lambda z, p, y: literal_windows(p, y, 10, False)),
    ("dyn-unc", {"window": 4}, lambda z, p, y: literal_windows(p, y, 4, False)),
    ("dual", {}, lambda z, p, y: literal_windows(p, y, 10, True)),
    ("dual", {"window": 2}, lambda z, p, y: literal_windows(p, y, 2, True)),
    ("tdds", {}, lambda z, p, y: literal_tdds(p, 10, 0.9)),
    ("tdds", {"window": 3, "decay": 0.3}, lambda z, p, y: literal_tdds(p, 3, 0.3)),
    ("tdds", {"window": 5, "decay": 1.0}, lambda z, p, y: literal_tdds(p, 5, 1.0)),
]


@pytest.mark.parametrize("epochs", [T, E])
@pytest.mark.parametrize(("name", "options", "formula"), LITERAL)
def test_a_score_is_its_formula(
    name: str, options: dict[str, Any], formula: Callable[[np.ndarray, np.ndarray, int], float], epochs: int
) -> None:
    found = resolve("score", SCORES, name)(made(), epochs=epochs, **options)
    expected = []
    for i in range(N):
        z, p, y = sample(i)
        expected.append(formula(z[:epochs], p[:epochs], y))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, rtol=2e-5, atol=2e-6)


def test_without_a_number_the_paper_decides_how_many_epochs() -> None:
    for name in SCORES:
        score = resolve("score", SCORES, name)
        published = {"lbpe": 100, "el2n": 20, "dual": 30, "tdds": 90}.get(name)
        assert inspect.signature(score).parameters["epochs"].default == published
        if published is None:
            assert torch.equal(score(made()), score(made(), epochs=E))
    assert torch.equal(el2n(made()), made().error[19])


FEW = {"lbpe": {"epochs": 9, "top": 3}, "el2n": {"epochs": T}, "dual": {"epochs": E}, "tdds": {"epochs": E}}


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("batch", [1, 4, N])
def test_batches_and_the_order_of_samples_do_not_matter(name: str, batch: int) -> None:
    score, options = resolve("score", SCORES, name), FEW.get(name, {})
    found, expected = score(made(batch), **options), score(made(), **options)[ORDER]
    if name in ("forgetting", "correctness"):
        assert torch.equal(found, expected)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", sorted(set(SCORES) - {"variability", "dyn-unc", "dual", "tdds"}))
def test_larger_is_harder(name: str) -> None:
    found = resolve("score", SCORES, name)(made(), **FEW.get(name, {}))
    assert found[0] == found.max()
    assert found[1] == found.min()


def test_scores_of_change_are_small_for_samples_that_do_not_change() -> None:
    z = run()
    z[:, 1] = z[0, 1]
    for score in (variability, dyn_unc, dual, tdds):
        found = score(recorded(z), epochs=E)
        assert float(found[1]) < 1e-12
        assert float(found[2]) > 1e-4


def test_never_learned_samples_are_the_most_forgotten_unless_asked_otherwise() -> None:
    dynamics = made()
    assert float(forgetting(dynamics)[0]) == E
    assert float(forgetting(dynamics, epochs=5)[0]) == 5
    assert float(forgetting(dynamics, never_learned="zero")[0]) == 0
    assert float(forgetting(dynamics, never_learned="inf")[0]) == torch.inf
    assert all(float(forgetting(dynamics, never_learned=word)[1]) == 0 for word in ("max", "zero", "inf"))


def test_an_infinite_score_stays_infinite_in_a_mean_over_runs() -> None:
    easy = recorded(torch.eye(C, dtype=torch.float64)[labels()].expand(E, N, C))
    runs = torch.stack([forgetting(made(), never_learned="inf"), forgetting(easy, never_learned="inf")])
    assert runs.mean(0)[0] == torch.inf
    assert torch.isfinite(torch.stack([forgetting(made()), forgetting(easy)]).mean(0)).all()


def test_a_sample_that_is_wrong_at_first_was_not_forgotten_then() -> None:
    recorder = Recorder(1)
    for epoch, z in enumerate([[[0.0, 0.0]], [[1.0, 0.0]]]):
        recorder.log(epoch, [0], z, [0])
    assert float(forgetting(recorder.dynamics())) == 0


@pytest.mark.parametrize("gap", [20.0, 40.0, 60.0])
def test_sure_samples_keep_their_order(gap: float) -> None:
    recorder = Recorder(2)
    for epoch in range(3):
        recorder.log(epoch, [0, 1], torch.tensor([[gap, 0.0], [gap + 0.1, 0.0]]), [0, 0])
    dynamics = recorder.dynamics()
    assert bool((dynamics.margin == 1).all())
    for score in (confidence, loss, aum):
        found = score(dynamics)
        assert found[0] > found[1], score.__name__
    assert float(confidence(dynamics)[0]) == pytest.approx(np.exp(-gap), rel=1e-5)


def test_mean_confidence_is_the_mean_probability() -> None:
    expected = [np.mean(sample(i)[1][:T, sample(i)[2]]) for i in range(N)]
    found = mean_confidence(made(), T)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)
    assert mean_confidence(made()).max() <= 1
    torch.testing.assert_close(mean_confidence(made()), 1 - confidence(made()))


def test_epochs_after_the_first_ones_do_not_count() -> None:
    whole = made()
    cut = Dynamics(**{name: part[:T] for name, part in whole.parts.items()})
    for name in SCORES:
        score = resolve("score", SCORES, name)
        options = {**FEW.get(name, {}), "epochs": T}
        assert torch.equal(score(whole, **options), score(cut, **options))
        assert not torch.equal(score(whole, **options), score(whole, **{**options, "epochs": E}))


def test_help_is_one_sentence_and_says_the_larger_end() -> None:
    assert {name for name, _, _ in LITERAL} == set(SCORES) - {"lbpe"}
    for name in SCORES:
        text = inspect.getdoc(resolve("score", SCORES, name)) or ""
        first = text.split("\n\n")[0]
        assert first.endswith(").")
        assert "\n" not in first
        assert ". " not in first
        assert "paper's own direction" in text or "large = " in text or "negated" in text


@pytest.mark.parametrize(
    ("score", "options", "message"),
    [
        (lbpe, {"epochs": 9, "top": 2}, "lbpe: needs the dynamics of 9 epochs, got 8"),
        (lbpe, {}, "lbpe: needs the dynamics of 100 epochs, got 8"),
        (lbpe, {"epochs": 4, "top": 5}, "lbpe: top must be in 1..epochs = 1..4, got 5"),
        (lbpe, {"epochs": 4, "top": 0}, "lbpe: top must be in 1..epochs = 1..4, got 0"),
        (lbpe, {"epochs": 4, "top": 1, "by": "luck"}, "lbpe: by must be accuracy or loss, got 'luck'"),
        (el2n, {}, "el2n: needs the dynamics of 20 epochs, got 8"),
        (el2n, {"epochs": 2, "how": "max"}, "el2n: how must be last, mean or sum, got 'max'"),
        (
            forgetting,
            {"never_learned": "none"},
            "forgetting: never_learned must be max, zero or inf, got 'none'",
        ),
        (dual, {}, "dual: needs the dynamics of 30 epochs, got 8"),
        (dual, {"epochs": 8}, "dual: window must be in 2..epochs = 2..8, got 10"),
        (dyn_unc, {"window": 1}, "dyn-unc: window must be in 2..epochs = 2..8, got 1"),
        (dyn_unc, {"window": 2.0}, "dyn-unc: window must be in 2..epochs = 2..8, got 2.0"),
        (tdds, {}, "tdds: needs the dynamics of 90 epochs, got 8"),
        (tdds, {"epochs": 8, "window": 2}, "tdds: window must be in 3..epochs = 3..8, got 2"),
        (tdds, {"epochs": 8, "window": 4, "decay": 0}, "tdds: decay must be above 0 and at most 1, got 0"),
        (tdds, {"epochs": 8, "window": 4, "decay": 1.5}, "tdds: decay must be above 0 and at most 1, got 1.5"),
        (
            tdds,
            {"epochs": 8, "window": 4},
            "tdds: needs the shift of every epoch, got dynamics without it; record with Recorder(n, shift=True)",
        ),
        *[
            (score, {"epochs": 0}, f"{score.__name__}: epochs must be a whole number of at least 1, got 0")
            for score in (lbpe, el2n, forgetting, aum, margin, correctness, confidence, variability, loss, dual, tdds)
        ],
        (dyn_unc, {"epochs": 0}, "dyn-unc: epochs must be a whole number of at least 1, got 0"),
        (aum, {"epochs": 2.5}, "aum: epochs must be a whole number of at least 1, got 2.5"),
        (aum, {"epochs": True}, "aum: epochs must be a whole number of at least 1, got True"),
        (mean_confidence, {"epochs": 9}, "confidence: needs the dynamics of 9 epochs, got 8"),
    ],
)
def test_impossible_options_are_one_line(
    score: Callable[..., Tensor], options: dict[str, object], message: str
) -> None:
    short = Dynamics(**{name: part[:8] for name, part in made().parts.items() if name != "shift"})
    with pytest.raises(ValueError) as caught:
        score(short, **options)
    assert str(caught.value) == message
