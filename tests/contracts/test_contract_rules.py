"""Every row of RULES and of SCORES through one list."""

import inspect

import pytest
import torch

from yoco.prune import ALL_SCORES, PROBES, REPO, RULES, SCORES, Budget, Choice, Dynamics, Items, Rule, Snapshot, find
from yoco.prune.coresets import CRAIG
from yoco.prune.determinant import LogDet
from yoco.prune.geometry import Medoids, Moderate
from yoco.prune.probes import FROM_FEATURES
from yoco.prune.quotas import NESTED, QUOTAS, apply, quotas
from yoco.prune.rules import NEEDS, AtRandom, ByScore, InOrder
from yoco.prune.sampling import BetaSampling, Stratified
from yoco.prune.submodular import FacilityLocation
from yoco.registry import resolve
from yoco.rng import Rng

SIZES = (17, 4, 29)
LABELS = torch.arange(3).repeat_interleave(torch.tensor(SIZES))[Rng(0).choice(50, 50)]
COUNTS = (1, 2, 3, 7, 12, 13, 30, 49, 50)
BUDGETS = [*(Budget(n=k) for k in COUNTS), Budget(keep=0.29), Budget(cells=4), Budget(ipc=1, factor=3)]


def items(kind: str = "real") -> Items:
    scores = torch.rand(50, generator=Rng(1).generator())
    kinds = {"real": scores, "tied": (4 * scores).floor(), "negative": -scores, "zero": 0 * scores}
    features = torch.randn(50, 6, generator=Rng(2).generator())
    errors = torch.randn(50, 3, generator=Rng(4).generator()).softmax(1) - torch.eye(3)[LABELS]
    return Items(kinds[kind], LABELS, 3, features, errors, torch.rand(50, generator=Rng(5).generator()))


def indices(answer: torch.Tensor | Choice) -> torch.Tensor:
    return answer.indices if isinstance(answer, Choice) else answer


@pytest.fixture(params=[*RULES, *(f"{name}@repo" for name in REPO)])
def rule(request: pytest.FixtureRequest) -> Rule:
    name, _, mode = request.param.partition("@")
    return find(name, mode or "paper")


@pytest.mark.parametrize("kind", ["real", "tied", "negative", "zero"])
def test_answers_are_distinct_indices_exactly_as_many_as_asked(rule: Rule, kind: str) -> None:
    if kind == "negative" and "confidence" in rule.needs:
        with pytest.raises(ValueError, match=r"^beta: scores must be at least 0, got -"):
            rule(items(kind), Budget(n=3), Rng(3))
        return
    for budget in BUDGETS:
        answer = indices(rule(items(kind), budget, Rng(3)))
        assert answer.dtype == torch.long
        assert answer.shape == (budget.total(50, 3),)
        assert len(answer.unique()) == len(answer)
        assert answer.min() >= 0
        assert answer.max() < 50


@pytest.mark.parametrize("kind", ["real", "tied", "zero"])
def test_nested_rules_answer_with_beginnings(rule: Rule, kind: str) -> None:
    if rule.nested and (kind == "real" or "scores" in rule.needs):  # the kinds differ in their scores alone
        whole = indices(rule(items(kind), Budget(n=50), Rng(3))).tolist()
        for k in range(1, 50):
            assert indices(rule(items(kind), Budget(n=k), Rng(3))).tolist() == whole[:k]


def test_the_stream_decides_and_the_global_generator_does_not(rule: Rule) -> None:
    before = torch.random.get_rng_state()
    first = indices(rule(items(), Budget(n=20), Rng(3)))
    assert torch.equal(before, torch.random.get_rng_state())
    torch.rand(3)
    assert torch.equal(first, indices(rule(items(), Budget(n=20), Rng(3))))


def test_what_is_given_is_not_changed(rule: Rule) -> None:
    given = items("tied")
    rule(given, Budget(n=20), Rng(3))
    assert torch.equal(given.scores, items("tied").scores)
    assert torch.equal(given.labels, LABELS)


def test_rules_say_what_they_need(rule: Rule) -> None:
    for part in rule.needs:
        with pytest.raises(ValueError, match=rf"^[\w -]+: needs {part}, got none$"):
            rule(items()._replace(**{part: None}), Budget(n=5), Rng(0))
    bare = items()._replace(**dict.fromkeys(set(NEEDS) - set(rule.needs)))
    assert torch.equal(*(indices(rule(given, Budget(n=5), Rng(0))) for given in (bare, items())))
    assert rule.score is None or rule.score in ALL_SCORES
    assert rule.usual in ALL_SCORES


def test_more_than_there_is_is_refused(rule: Rule) -> None:
    with pytest.raises(ValueError, match=r"^budget: must keep at most the 50 there are, got n=51 = 51$"):
        rule(items(), Budget(n=51), Rng(0))


@pytest.mark.parametrize("kind", QUOTAS[:-1])
def test_quotas_hold_under_every_rule(rule: Rule, kind: str) -> None:
    nested = rule.nested and kind in NESTED
    whole = apply(rule, items(), 50, kind, Rng(0)).indices.tolist() if nested else []
    for total in (3, 11, 30, 50):
        answer = apply(rule, items(), total, kind, Rng(0)).indices
        assert len(answer.unique()) == total
        if kind == "equal":
            assert sorted(torch.bincount(LABELS[answer]).tolist()) == sorted(quotas("equal", SIZES, total))
        if nested:
            assert whole[:total] == answer.tolist()


@pytest.mark.parametrize("kind", QUOTAS[:-1])
def test_rules_by_score_keep_the_same_end_of_every_class_under_any_quota(rule: Rule, kind: str) -> None:
    if isinstance(rule, ByScore):
        given = items()
        sign = 1 if rule.prefer == "easy" else -1
        kept = set(apply(rule, given, 20, kind, Rng(0)).indices.tolist())
        for c in range(3):
            members = [i for i in range(50) if LABELS[i] == c]
            best = sorted(members, key=lambda i: sign * float(given.scores[i]))
            assert kept & set(members) == set(best[: len(kept & set(members))])


def test_rules_that_draw_nothing_do_not_see_the_order_of_the_samples(rule: Rule) -> None:
    if isinstance(rule, AtRandom | InOrder | Stratified | BetaSampling | Medoids):
        return
    if isinstance(rule, LogDet | FacilityLocation | CRAIG | Moderate):
        return  # real ties: all begin equal, pairs that stand for each other, and the two beside an even median
    given, shuffle = items(), Rng(6).choice(50, 50)
    for total in (1, 7, 20):
        whole = indices(rule(given, Budget(n=total), Rng(0)))
        assert torch.equal(shuffle[indices(rule(given.of(shuffle), Budget(n=total), Rng(0)))], whole)


def test_weights_are_one_for_each_and_not_negative(rule: Rule) -> None:
    answer = rule(items(), Budget(n=20), Rng(0))
    if isinstance(answer, Choice) and answer.weights is not None:
        assert answer.weights.shape == (20,)
        assert (answer.weights >= 0).all()
        assert answer.weights.dtype == torch.float32


def dynamics(p: torch.Tensor) -> Dynamics:
    """Two classes, and a label of probability p [E, N]."""
    wrong, q = 1 - p, p.clamp(1e-6, 1 - 1e-6)
    both = torch.stack([q, 1 - q])
    steps = both * (both.log() - both.log().roll(1, 1)).abs()
    return Dynamics(
        correct=p > 0.5,
        log_p=q.log(),
        margin=2 * p - 1,
        logit_margin=(q / (1 - q)).log(),
        error=2**0.5 * wrong,
        entropy=-(both * both.log()).sum(0),
        shift=steps.sum(0) * (torch.arange(len(p)) > 0)[:, None],
    )


def rising(epochs: int) -> torch.Tensor:
    """Probabilities [epochs, 12] that rise slowly; every next sample is harder, and learned later."""
    late = torch.linspace(0, 1, epochs)[:, None] - torch.linspace(0.05, 0.9, 12)
    return (0.5 + 0.4 * torch.tanh(8 * late)).clamp(0.02, 0.98)


def restless(epochs: int) -> torch.Tensor:
    """Probabilities [epochs, 12] around 0.6; every next sample swings more."""
    return 0.6 + torch.linspace(0.01, 0.35, 12) * torch.sin(torch.arange(epochs) * 1.1)[:, None]


SWING = {"variability", "dyn-unc", "dual", "tdds", "forgetting"}


@pytest.mark.parametrize("name", SCORES)
def test_scores_are_larger_for_harder_samples(name: str) -> None:
    function = resolve("score", SCORES, name)
    p = (restless if name in SWING else rising)(inspect.signature(function).parameters["epochs"].default or 40)
    values = function(dynamics(p))
    assert values.shape == (12,)
    assert values.dtype == torch.float32
    assert (values.diff() >= 0).all()
    assert values[-1] > values[0]
    shuffle = torch.randperm(12, generator=Rng(0).generator())
    assert torch.equal(function(dynamics(p[:, shuffle])), values[shuffle])


@pytest.mark.parametrize("name", PROBES)
def test_probes_are_larger_for_harder_samples(name: str) -> None:
    function = resolve("score", PROBES, name)
    sure = torch.linspace(4, 0.1, 12)
    logits = torch.stack([sure, -sure], 1)
    far = torch.cat([torch.zeros(12, 1), torch.linspace(0.1, 3, 12)[:, None]], 1) + torch.tensor([5.0, 0.0])
    values = function(Snapshot(logits=logits, targets=torch.zeros(12).long(), features=far, inputs=torch.ones(12, 3)))
    assert values.shape == (12,)
    assert values.dtype == torch.float32
    if name not in FROM_FEATURES:
        assert (values.diff() > 0).all()
    assert values[-1] > values.median()


def test_every_score_says_what_it_is_in_its_first_sentence() -> None:
    for name in ALL_SCORES:
        said = inspect.getdoc(resolve("score", ALL_SCORES, name))
        assert said is not None
        assert 15 < len(said.split("\n\n")[0]) < 130, name
