"""Every row of RULES and of SCORES through one list."""

import inspect

import pytest
import torch

from yoco.prune import RULES, SCORES, Budget, Dynamics, Items, Rule
from yoco.prune.rules import find
from yoco.registry import resolve
from yoco.rng import Rng

SIZES = (17, 4, 29)
LABELS = torch.arange(3).repeat_interleave(torch.tensor(SIZES))[Rng(0).choice(50, 50)]
COUNTS = (1, 2, 3, 7, 12, 13, 30, 49, 50)
BUDGETS = [*(Budget(n=k) for k in COUNTS), Budget(keep=0.29), Budget(cells=4), Budget(ipc=1, factor=3)]


def items(kind: str = "real") -> Items:
    scores = torch.rand(50, generator=Rng(1).generator())
    kinds = {"real": scores, "tied": (4 * scores).floor(), "negative": -scores, "zero": 0 * scores}
    return Items(kinds[kind], LABELS, 3)


@pytest.fixture(params=RULES)
def rule(request: pytest.FixtureRequest) -> Rule:
    return find(request.param)


@pytest.mark.parametrize("kind", ["real", "tied", "negative", "zero"])
def test_answers_are_distinct_indices_exactly_as_many_as_asked(rule: Rule, kind: str) -> None:
    for budget in BUDGETS:
        answer = rule(items(kind), budget, Rng(3))
        assert answer.dtype == torch.long
        assert answer.shape == (budget.total(50, 3),)
        assert len(answer.unique()) == len(answer)
        assert answer.min() >= 0
        assert answer.max() < 50


@pytest.mark.parametrize("kind", ["real", "tied", "zero"])
def test_nested_rules_answer_with_beginnings(rule: Rule, kind: str) -> None:
    if rule.nested:
        whole = rule(items(kind), Budget(n=50), Rng(3)).tolist()
        for k in range(1, 50):
            assert rule(items(kind), Budget(n=k), Rng(3)).tolist() == whole[:k]


def test_the_stream_decides_and_the_global_generator_does_not(rule: Rule) -> None:
    before = torch.random.get_rng_state()
    first = rule(items(), Budget(n=20), Rng(3))
    assert torch.equal(before, torch.random.get_rng_state())
    torch.rand(3)
    assert torch.equal(first, rule(items(), Budget(n=20), Rng(3)))


def test_what_is_given_is_not_changed(rule: Rule) -> None:
    given = items("tied")
    rule(given, Budget(n=20), Rng(3))
    assert torch.equal(given.scores, items("tied").scores)
    assert torch.equal(given.labels, LABELS)


def test_rules_say_whether_they_need_scores(rule: Rule) -> None:
    bare = Items(None, LABELS, 3)
    if rule.scored:
        with pytest.raises(ValueError, match=r"^[\w-]+: needs scores, got none$"):
            rule(bare, Budget(n=5), Rng(0))
    else:
        assert torch.equal(rule(bare, Budget(n=5), Rng(0)), rule(items(), Budget(n=5), Rng(0)))
    assert rule.score is None or rule.score in SCORES


def test_more_than_there_is_is_refused(rule: Rule) -> None:
    with pytest.raises(ValueError, match=r"^budget: must keep at most the 50 there are, got n=51 = 51$"):
        rule(items(), Budget(n=51), Rng(0))


@pytest.mark.parametrize("name", [name for name in RULES if name == "yoco" or name.endswith("-balanced")])
def test_balanced_rules_fill_small_classes_first(name: str) -> None:
    answer = find(name)(items(), Budget(cells=10), Rng(0))
    assert sorted(torch.bincount(LABELS[answer]).tolist()) == [4, 13, 13]


def dynamics(p: torch.Tensor) -> Dynamics:
    """Two classes, and a label of probability p [E, N]."""
    wrong, q = 1 - p, p.clamp(1e-6, 1 - 1e-6)
    entropy = -(q * q.log() + (1 - q) * (1 - q).log())
    return Dynamics(
        correct=p > 0.5,
        log_p=q.log(),
        margin=2 * p - 1,
        logit_margin=(q / (1 - q)).log(),
        error=2**0.5 * wrong,
        entropy=entropy,
    )


@pytest.mark.parametrize("name", SCORES)
def test_scores_are_larger_for_harder_samples(name: str) -> None:
    function = resolve("score", SCORES, name)
    epochs = inspect.signature(function).parameters["epochs"].default
    p = torch.linspace(0.55, 0.95, 12).flip(0) + 0.01 * torch.linspace(0, 1, epochs)[:, None]
    values = function(dynamics(p))
    assert values.shape == (12,)
    assert values.dtype == torch.float32
    assert (values.diff() > 0).all()
    shuffle = torch.randperm(12, generator=Rng(0).generator())
    assert torch.equal(function(dynamics(p[:, shuffle])), values[shuffle])


def test_anybodys_rule_can_be_named_and_a_typo_names_the_nearest() -> None:
    assert find("yoco.prune.rules:hardest") == find("hard")
    assert find("yoco.prune.rules:AtRandom") == find("random")
    with pytest.raises(ValueError, match=r"^rule: unknown name 'hrad'; did you mean 'hard'\? known: easy, "):
        find("hrad")
