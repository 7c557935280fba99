"""D2 against messages over a whole matrix and a search through all samples."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from yoco.prune.budget import Budget
from yoco.prune.d2 import D2, d2
from yoco.prune.rules import Items
from yoco.rng import Rng


def some(n: int, size: int, seed: int = 0) -> Tensor:
    return torch.randn(n, size, generator=Rng(seed).generator())


def scores_of(kind: str, n: int = 40) -> Tensor:
    real = torch.rand(n, generator=Rng(1).generator())
    return {"real": real, "tied": (4 * real).floor(), "negative": -3 * real, "zero": 0 * real}[kind]


def literal(
    scores: Tensor,
    x: Tensor,
    total: int,
    *,
    k: int,
    gamma: float,
    forward: float,
    power: int,
    mutual: bool = False,
    follow: Sequence[int] = (),
) -> list[int]:
    """The order of choice; follow: one that decides which of those comes next that are worth the same but for 1e-9."""
    h, s = x.double().numpy(), scores.double().numpy()
    s = s - min(0, s.min())
    n = len(h)
    apart = np.array([[np.sqrt(((p - q) ** 2).sum()) for q in h] for p in h])
    around = [sorted((j for j in range(n) if j != i), key=lambda j, i=i: (apart[i, j], j))[:k] for i in range(n)]
    if mutual:
        around = [[j for j in range(n) if j in around[i] or i in around[j]] for i in range(n)]
    worth = np.array([s[i] + sum(np.exp(-forward * apart[i, j] ** power) * s[j] for j in around[i]) for i in range(n)])
    chosen: list[int] = []
    while len(chosen) < total:
        best = max((i for i in range(n) if i not in chosen), key=lambda i: (worth[i], -i))
        other = follow[len(chosen)] if follow else best
        best = other if other not in chosen and worth[other] >= worth[best] - 1e-9 else best
        chosen.append(best)
        for j in around[best]:
            worth[j] -= np.exp(-gamma * apart[best, j] ** power) * worth[best]
    return chosen


@pytest.mark.parametrize("mode", ["paper", "repo"])
@pytest.mark.parametrize("kind", ["real", "tied", "negative", "zero"])
@pytest.mark.parametrize(("neighbours", "gamma"), [(1, 0.0), (5, 0.1), (12, 2.0), (99, 0.1)])
def test_d2_is_its_formula(mode: str, kind: str, neighbours: int, gamma: float) -> None:
    x, scores = some(40, 3), scores_of(kind)
    items = Items(scores, torch.zeros(40).long(), 1, features=x)
    rule = D2(mode=mode, neighbours=neighbours, gamma=gamma)  # type: ignore[arg-type]
    found = rule(items, Budget(n=40), Rng(0))
    assert found.dtype == torch.long
    own = {"power": 2} if mode == "paper" else {"power": 1, "mutual": True}
    how = {"k": neighbours, "gamma": gamma, "forward": 1, **own}
    cancelled = gamma == 0 and kind == "tied"  # halves of a pair leave nothing of each other, or what rounding leaves
    assert found.tolist() == literal(scores, x, 40, **how, follow=found.tolist() if cancelled else ())


def test_in_the_released_code_whose_neighbour_a_sample_is_are_its_neighbours_too() -> None:
    items = Items(torch.ones(3), torch.zeros(3).long(), 1, features=torch.tensor([[0.0], [1.0], [2.1]]))
    own, both = (D2(mode=mode, neighbours=1)(items, Budget(n=3), Rng(0)).tolist() for mode in ("paper", "repo"))
    assert own == literal(items.scores, items.features, 3, k=1, gamma=0.1, forward=1, power=2)
    assert (own[0], both[0]) == (0, 1)  # 1 + exp(-1) before the other of the pair; 1 + exp(-1) + exp(-1.1) = 1.70
    alone = d2(torch.ones(1), torch.zeros(1, 2), 1, power=1, mutual=True)
    assert alone.tolist() == [0]


@pytest.mark.parametrize("forward", [0.0, 0.3, 50.0])
def test_the_forward_messages_have_their_own_gamma(forward: float) -> None:
    x, scores = some(40, 3), scores_of("real")
    items = Items(scores, torch.zeros(40).long(), 1, features=x + 1000)
    found = D2(gamma_forward=forward)(items, Budget(n=20), Rng(0)).tolist()
    assert found == literal(scores, x + 1000, 20, k=5, gamma=0.1, forward=forward, power=2)


def test_smaller_answers_are_the_beginnings_of_larger_ones() -> None:
    x, scores = some(40, 3), scores_of("tied")
    whole = d2(scores, x, 40).tolist()
    assert sorted(whole) == list(range(40))
    assert all(d2(scores, x, k).tolist() == whole[:k] for k in range(1, 40))


def test_hard_samples_come_first_but_not_beside_each_other() -> None:
    x = torch.tensor([0.0, 0.1, 0.2, 10.0, 10.1, 10.2])[:, None]
    scores = torch.tensor([3.0, 2.9, 2.8, 2.0, 1.9, 1.8])
    assert set(d2(scores, x, 2, neighbours=2, gamma=0.1).tolist()) in ({0, 3}, {1, 4}, {0, 4}, {1, 3})
    assert d2(scores, 1000 * x, 6, neighbours=2).tolist() == [0, 1, 2, 3, 4, 5]


def test_the_sample_whose_neighbours_are_hard_is_worth_more() -> None:
    x = torch.tensor([0.0, 0.5, -0.5, 100.0])[:, None]
    scores = torch.tensor([1.0, 1.0, 1.0, 1.2])
    assert int(d2(scores, x, 1, neighbours=2, gamma_forward=1.0)) == 0
    assert int(d2(scores, x, 1, neighbours=2, gamma_forward=1e9)) == 3


def test_negative_scores_are_raised_and_others_are_not() -> None:
    x, scores = some(40, 3), scores_of("real") + 5
    assert torch.equal(d2(scores - 20, x, 20), d2(scores - scores.min(), x, 20))
    assert d2(scores, x, 40).tolist() == literal(scores, x, 40, k=5, gamma=0.1, forward=1, power=2)


@pytest.mark.parametrize("beta", [0.29, 0.5])
def test_beta_leaves_out_the_hardest_before_anything_else(beta: float) -> None:
    x, scores = some(100, 3), torch.rand(100, generator=Rng(1).generator())
    left = torch.arange(100)[scores < scores.sort().values[round(100 - 100 * beta)]]
    items = Items(scores, torch.zeros(100).long(), 1, features=x)
    found = D2(beta=beta)(items, Budget(n=30), Rng(0))
    assert torch.equal(found, left[d2(scores[left], x[left], 30)])
    assert D2(beta=beta)(items._replace(scores=0 * scores), Budget(n=len(left)), Rng(0)).max() == len(left) - 1
    few = rf"^d2: beta must leave at least 90 of 100, got {beta}, leaving {len(left)}$"
    with pytest.raises(ValueError, match=few):
        D2(beta=beta)(items, Budget(n=90), Rng(0))


def test_one_sample_and_copies_are_no_obstacle() -> None:
    assert d2(torch.ones(1), some(1, 3), 1).tolist() == [0]
    assert sorted(d2(torch.ones(30), torch.ones(30, 2), 30).tolist()) == list(range(30))


def test_what_is_given_is_not_changed() -> None:
    x, scores = some(40, 3), scores_of("negative")
    before = x.clone(), scores.clone()
    d2(scores, x, 20)
    assert torch.equal(x, before[0])
    assert torch.equal(scores, before[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neighbours": 0}, "neighbours must be at least 1, got 0"),
        ({"gamma": -0.1}, "gamma must be at least 0, got -0.1"),
        ({"gamma": float("nan")}, "gamma must be at least 0, got nan"),
        ({"gamma_forward": float("inf")}, "gamma_forward must be at least 0, got inf"),
        ({"mode": "code"}, "mode must be paper or repo, got 'code'"),
        ({"mode": "repo", "gamma_forward": 0.5}, "gamma_forward must be 1 in mode repo, got 0.5"),
        ({"beta": 1.0}, r"beta must be in \[0, 1\), got 1"),
        ({"beta": -0.1}, r"beta must be in \[0, 1\), got -0.1"),
    ],
)
def test_impossible_options_are_one_line(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=rf"^d2: {message}$"):
        D2(**options)  # type: ignore[arg-type]


def test_bad_input_is_one_line() -> None:
    items = Items(torch.ones(3), torch.zeros(3).long(), 1, features=some(3, 2))
    for part in ("scores", "features"):
        with pytest.raises(ValueError, match=rf"^d2: needs {part}, got none$"):
            D2()(items._replace(**{part: None}), Budget(n=1), Rng(0))
    with pytest.raises(ValueError, match=r"^d2: scores must be finite, got nan or infinity$"):
        D2()(items._replace(scores=torch.tensor([1.0, torch.inf, 0.0])), Budget(n=1), Rng(0))
    with pytest.raises(ValueError, match=r"^d2: features must be finite, got nan or infinity$"):
        D2()(items._replace(features=torch.full((3, 2), torch.nan)), Budget(n=1), Rng(0))


def test_of_two_neighbours_that_are_worth_the_same_the_first_is_taken() -> None:
    for seed in range(20):
        pairs = 100 * some(8, 5, seed)
        x = torch.cat([pairs, pairs + 0.3 * some(8, 5, seed + 50)])
        found = d2(torch.ones(16), x, 16, neighbours=1, gamma=0.01).tolist()
        assert all(found.index(i) < found.index(i + 8) for i in range(8))


def test_large_scores_are_no_obstacle() -> None:
    x, scores = some(40, 3), scores_of("real")
    assert torch.equal(d2(scores.double() * 1e300, x, 40), d2(scores, x, 40))
