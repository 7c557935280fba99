"""What is at hand must be what is asked for: scores, evidence, features, references; nothing is left unread."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import torch

from augment import Policy
from yoco.condensed import CondensedSet
from yoco.data import Splits
from yoco.prune import Evidence, Scores, find, observe, prune, rank, score, select
from yoco.prune.at_hand import Given
from yoco.prune.choosing import draw_references, scores_for
from yoco.prune.items import items_for
from yoco.prune.request import Request
from yoco.prune.sampling import Stratified
from yoco.prune.scores import mean_confidence
from yoco.rng import Rng
from yoco.train import Recipe

RECIPE = Recipe(epochs=12, augment=Policy("color_crop"))
FAST: dict[str, Any] = {"network": "mlp:width=4", "recipe": RECIPE, "device": "cpu", "progress": False}


@pytest.fixture(scope="module")
def seen(tiny_set: CondensedSet) -> Evidence:
    return observe(tiny_set, epochs=12, recipe=RECIPE, rng=Rng(0), network="mlp:width=4", snapshot=True)


def test_given_scores_must_be_those_of_the_mode(tiny_set: CondensedSet) -> None:
    clean, trained = (score(tiny_set, score="forgetting", passes=p, **FAST) for p in ("clean", "train"))
    wrong = r"^prune: the existing scores have never_learned=max, got never_learned=zero; score again$"
    with pytest.raises(ValueError, match=wrong):
        select(tiny_set, rule="forgetting", mode="repo", ipc=1, scores=clean)
    zero = score(tiny_set, score="forgetting", never_learned="zero", **FAST)
    with pytest.raises(
        ValueError, match=r"^prune: the existing scores have passes=clean, got passes=train; score again"
    ):
        select(tiny_set, rule="forgetting", mode="repo", ipc=1, scores=zero)
    right = scores_for(tiny_set, rule="forgetting", mode="repo", **FAST)
    assert select(tiny_set, rule="forgetting", mode="repo", ipc=1, scores=right).entry["scores"]["passes"] == "train"
    assert len(select(tiny_set, rule="forgetting", ipc=1, scores=trained).indices) == 12
    assert len(select(tiny_set, rule="ccs", mode="repo", ipc=1, scores=list(range(36))).indices) == 12


def test_scores_of_another_mode_that_a_set_carries_are_made_anew(tiny_set: CondensedSet) -> None:
    small = prune(tiny_set, rule="forgetting", ipc=2, **FAST)
    again = prune(small, rule="forgetting", mode="repo", ipc=1, **FAST)
    made = again.history[-1]["scores"]
    assert (made["never_learned"], made["passes"]) == ("zero", "train")
    assert small.history[-1]["scores"]["never_learned"] == "max"


@pytest.mark.parametrize("rule", ["forgetting", "el2n", "ccs"])
def test_what_a_set_carries_from_the_codes_way_is_not_taken_for_the_papers(tiny_set: CondensedSet, rule: str) -> None:
    small = prune(tiny_set, rule=rule, mode="repo", ipc=2, **FAST)
    again = prune(small, rule=rule, ipc=1, **FAST).history[-1]["scores"]
    assert (small.history[-1]["scores"]["passes"], again["passes"]) == ("train", "clean")
    assert prune(small, rule="easy", ipc=1).history[-1]["scores"]["passes"] == "train"


def test_the_codes_scores_stay_the_codes_whoever_takes_them_over(tiny_set: CondensedSet) -> None:
    how: dict[str, Any] = {**FAST, "epochs": 3, "top": 2}
    taken = prune(rank(tiny_set, mode="repo", **how), rule="easy", cells=8, quota="equal")
    again = prune(taken, ipc=1, **how)
    assert taken.history[-1]["mode"] == "paper"
    assert [each.history[-1]["scores"]["passes"] for each in (taken, again)] == ["train", "clean"]


@pytest.mark.parametrize("rule", ["ccs", "dual", "d2"])
def test_a_papers_way_does_not_take_any_score_that_a_set_carries(tiny_set: CondensedSet, rule: str) -> None:
    small = prune(tiny_set, rule="easy", ipc=2, score="el2n", **FAST)
    assert prune(small, rule=rule, ipc=1, **FAST).history[-1]["scores"]["score"] == find(rule).usual
    assert prune(small, rule=rule, ipc=1, score="el2n", **FAST).history[-1]["scores"]["score"] == "el2n"
    assert prune(small, rule="window", ipc=1).history[-1]["scores"]["score"] == "el2n"


def test_evidence_must_be_gathered_as_asked_for(tiny_set: CondensedSet, seen: Evidence) -> None:
    wrong = r"^evidence: must have passes=train, got clean; run observe again$"
    with pytest.raises(ValueError, match=wrong):
        select(tiny_set, rule="el2n", mode="repo", ipc=1, evidence=[seen])
    with pytest.raises(ValueError, match=wrong):
        score(tiny_set, evidence=[seen], passes="train")
    with pytest.raises(ValueError, match=r"^evidence: must have network=convnet, got mlp:width=4; run observe again$"):
        score(tiny_set, evidence=[seen], network="convnet")
    with pytest.raises(ValueError, match=r"^evidence: must have recipe=\{'epochs': 9, "):
        score(tiny_set, evidence=[seen], recipe=replace(RECIPE, epochs=9))
    found = score(tiny_set, evidence=[seen], recipe=RECIPE, network="mlp:width=4", passes="clean")
    assert found.meta["passes"] == "clean"


def test_only_what_all_evidence_has_in_common_is_said(tiny_set: CondensedSet, seen: Evidence) -> None:
    other = observe(tiny_set, epochs=12, recipe=RECIPE, rng=Rng(0), network="mlp:width=5")
    found = score(tiny_set, evidence=[seen, other], epochs=12)
    assert "network" not in found.meta
    assert (found.meta["runs"], found.meta["passes"]) == (2, "clean")


def test_given_scores_are_read_beside_evidence(tiny_set: CondensedSet, seen: Evidence) -> None:
    given = Scores.of(tiny_set, torch.arange(36.0), "el2n")
    chosen = select(tiny_set, rule="beta", cells=2, scores=given, evidence=[seen], epochs=12)
    assert chosen.entry["scores"] == {"score": "el2n"}


def test_what_nobody_reads_is_refused_before_any_training(
    tiny_set: CondensedSet, tiny: Splits, seen: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yoco.prune.asked.observe", None)
    numbers = torch.rand(36, 3, generator=Rng(0).generator())
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("random", {"scores": list(range(36))}, "rule random: does not use scores, got some"),
        ("hard", {"features": "pixels", "score": "el2n"}, "rule hard: does not use features, got some"),
        ("random", {"features": numbers}, "rule random: does not use features, got some"),
        ("craig", {"runs": 2}, "rule craig: reads the gradients of one network, got 2 runs"),
        ("gradmatch", {"evidence": [seen, seen]}, "rule gradmatch: reads the gradients of one network, got 2 runs"),
        (
            "kernel",
            {"reference": tiny.train, "evidence": [seen]},
            "reference: cannot be used with evidence, got both; pass it to yoco.prune.observe instead",
        ),
        (
            "kernel",
            {"reference": tiny.train, "features": numbers},
            "reference: can only be used with features of the network or pixels, got numbers [36, 3]",
        ),
    ]
    for rule, options, message in cases:
        with pytest.raises(ValueError) as caught:
            select(tiny_set, rule=rule, ipc=1, **options)
        assert str(caught.value) == message


def test_references_are_looked_at_by_their_pixels(tiny_set: CondensedSet, tiny: Splits) -> None:
    how: dict[str, Any] = {"features": "pixels", "reference": draw_references(tiny_set, tiny.train, Rng(0))}
    found, _ = items_for(Request(tiny_set, "kernel", find("kernel"), Given(**how)))
    assert found.features is not None
    assert found.reference is not None
    assert torch.equal(found.features, tiny_set.decode().flatten(1))
    assert torch.equal(found.reference[0], how["reference"].images.flatten(1).float() / 255)
    assert torch.equal(found.reference[1], how["reference"].labels)
    own, real = (
        select(tiny_set, rule="kernel", ipc=1, features="pixels", reference=given) for given in (None, tiny.train)
    )
    assert not torch.equal(own.indices, real.indices)


def test_scores_of_pixels_can_be_kept_and_are_not_taken_for_a_networks(tiny_set: CondensedSet) -> None:
    pixels = scores_for(tiny_set, rule="ssp", features="pixels")
    assert torch.equal(pixels.values, score(tiny_set, score="ssp", features="pixels").values)
    assert len(select(tiny_set, rule="ssp", ipc=1, scores=pixels, features="pixels").indices) == 12
    networks = scores_for(tiny_set, rule="ssp", **FAST)
    with pytest.raises(
        ValueError, match=r"the existing scores have features=network, got features=pixels; score again$"
    ):
        select(tiny_set, rule="ssp", ipc=1, scores=networks, features="pixels")


def test_gradients_are_those_of_the_last_layer_whatever_the_stage(tiny_set: CondensedSet) -> None:
    how: dict[str, Any] = {"network": "convnet:width=4,depth=2", "recipe": Recipe(epochs=1), "device": "cpu"}
    options = {**how, "progress": False, "seed": 0}
    early, last = (
        items_for(Request(tiny_set, "craig", find("craig"), Given(options={**options, "stage": stage})))[0]
        for stage in (0, -1)
    )
    assert early.features is not None
    assert last.features is not None
    assert torch.equal(early.features, last.features)


def test_weights_that_a_set_cannot_hold_are_warned_of(tiny_set: CondensedSet, tiny: Splits, seen: Evidence) -> None:
    for data, given in ((tiny_set, {"evidence": [seen]}), (tiny.train, {**FAST, "recipe": Recipe(epochs=1)})):
        with pytest.warns(UserWarning, match=r"^prune: a set cannot store sample weights; take them from "):
            prune(data, rule="craig", n=6, **given)
    with pytest.warns(UserWarning, match=r"^rank: a set cannot store sample weights; take them from "):
        assert rank(tiny_set, "craig", evidence=[seen]).order == "craig"


@pytest.mark.parametrize(
    ("data", "condensed", "had", "kept", "beta"),
    [
        ("cifar10", True, 10, 1, 0.3),
        ("cifar10", True, 10, 2, 0.1),
        ("cifar100", True, 20, 2, 0.5),
        ("cifar10", True, 10, 3, 0.0),
        ("digits", True, 10, 1, 0.0),
        ("cifar10", False, 5000, 500, 0.3),
        ("imagenet", False, 1300, 260, 0.2),
        ("imagenet", False, Fraction(1281167, 1000), Fraction(128117, 1000), 0.3),
        ("imagenet", False, Fraction(1281167, 1000), Fraction(256233, 1000), 0.2),
        ("imagenet", False, 10_000, 1001, 0.0),
        ("cifar10", False, 10, 1, 0.3),
        ("cifar10", False, 5000, 1500, 0.0),
    ],
)
def test_ccs_drops_as_many_as_is_published(
    data: str, condensed: bool, had: int | Fraction, kept: int | Fraction, beta: float
) -> None:
    for mode in ("paper", "repo"):
        rule = find("ccs", mode)  # type: ignore[arg-type]
        assert isinstance(rule, Stratified)
        found = rule.published(data, condensed, Fraction(had), Fraction(kept))
        assert isinstance(found, Stratified)
        assert found.beta == beta
        own = find("ccs", mode, beta=0.2)  # type: ignore[arg-type]
        assert own.published(data, condensed, Fraction(had), Fraction(kept)) is own


def test_what_ccs_drops_is_said(tiny_set: CondensedSet) -> None:
    cifar = replace(tiny_set, source={"name": "cifar10", "checksum": ""})
    ten = replace(
        cifar, cells=cifar.cells.repeat(4, 1, 1, 1)[:120], labels=torch.arange(3).repeat_interleave(40), factor=2
    )
    scores = torch.arange(120.0)
    chosen = select(ten, rule="ccs", ipc=1, scores=scores)
    assert chosen.entry["options"] == {"beta": 0.3}
    assert float(scores[chosen.indices].max()) < 84
    assert select(tiny_set, rule="ccs", ipc=1, scores=torch.arange(36.0)).entry["options"] == {"beta": 0.0}
    assert select(ten, rule="stratified", ipc=1, scores=scores).entry["options"] == {}


@pytest.mark.parametrize("rule", ["d2", "ccs", "forgetting"])
def test_scores_for_a_rule_are_those_that_it_makes(tiny_set: CondensedSet, rule: str) -> None:
    how: dict[str, Any] = {"network": "mlp:width=4", "epochs": 6, "device": "cpu", "progress": False, "ipc": 1}
    how |= {"drop": "margin", "beta": 0.1} if rule == "ccs" else {}
    ahead, made = scores_for(tiny_set, rule=rule, **how), select(tiny_set, rule=rule, **how)
    assert {"score": ahead.name, **ahead.meta} == made.entry["scores"]
    assert torch.equal(ahead.values[made.indices], made.scores)
    with pytest.raises(ValueError, match=r"got ipc=9"):
        scores_for(tiny_set, rule=rule, **{**how, "ipc": 9, "network": "none"})


def test_what_evidence_says_otherwise_is_refused(tiny_set: CondensedSet, seen: Evidence) -> None:
    for options, line in (
        ({"score": "prototype", "stage": 0}, "must have stage=0, got -1; run observe again"),
        ({"score": "prototype", "epochs": 300}, "must have epochs=300, got 12; run observe again"),
        ({"score": "lbpe", "epochs": 3, "top": 2, "runs": 7}, "must have one entry for each of runs=7, got 1"),
    ):
        with pytest.raises(ValueError, match=f"^evidence: {line}$"):
            score(tiny_set, evidence=[seen], **options)  # type: ignore[arg-type]
    for options in ({"stage": 0}, {"epochs": 300}, {"runs": 7}):
        with pytest.raises(ValueError, match=r"^evidence: must have (one entry for each of )?\w+=\d+, got (-1|12|1)"):
            select(tiny_set, rule="herding", ipc=1, evidence=[seen], **options)  # type: ignore[arg-type]
    assert len(score(tiny_set, score="lbpe", epochs=3, top=2, stage=0, evidence=[seen])) == 36


def test_evidence_of_other_data_is_read_as_published_for_its_epochs(tiny: Splits) -> None:
    long = observe(tiny.train, epochs=30, recipe=Recipe(epochs=30), rng=Rng(0), network="mlp:width=4")
    assert long.dynamics is not None
    assert score(tiny.train, score="el2n", evidence=[long]).meta["epochs"] == 20
    assert torch.equal(score(tiny.train, score="el2n", evidence=[long]).values, long.dynamics.error[19].double())
    assert score(tiny.train, score="lbpe", evidence=[long]).meta["epochs"] == 30
    assert select(tiny.train, rule="el2n", n=3, evidence=[long]).entry["scores"]["epochs"] == 20
    short = observe(tiny.train, epochs=5, recipe=Recipe(epochs=5), rng=Rng(0), network="mlp:width=4")
    assert score(tiny.train, score="el2n", evidence=[long, short]).meta["epochs"] == 5


def test_epochs_are_those_of_the_recipe_where_none_are_read(tiny_set: CondensedSet) -> None:
    with pytest.raises(ValueError, match=r"got epochs=5 with a recipe of 12$"):
        score(tiny_set, score="entropy", epochs=5, **FAST)
    assert score(tiny_set, score="entropy", epochs=12, **FAST).meta["epochs"] == 12
    assert score(tiny_set, score="lbpe", epochs=5, top=2, **FAST).meta["epochs"] == 5


def test_references_have_the_sets_images(tiny_set: CondensedSet, tiny: Splits) -> None:
    wide = replace(tiny.train, images=tiny.train.images.repeat(1, 1, 2, 2))
    with pytest.raises(ValueError, match=r"^reference: must have images \[1, 8, 8\] as the set, got \[1, 16, 16\]$"):
        select(tiny_set, rule="kernel", ipc=1, reference=wide)


def test_only_a_condensed_set_is_ranked_and_only_alike_at_every_size(tiny_set: CondensedSet, tiny: Splits) -> None:
    with pytest.raises(ValueError, match=r"^rank: needs a condensed set, got a Source; use select "):
        rank(tiny.train)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^rank: rule must have the same settings at every size, got 'ccs', whose "):
        rank(tiny_set, "ccs", quota="equal")
    assert len(rank(tiny_set, "ccs", quota="equal", beta=0.0, scores=list(range(36)))) == 36


def test_a_recipe_of_ones_own_is_trained_in_the_place_of_a_rules_epochs(tiny_set: CondensedSet) -> None:
    assert len(select(tiny_set, rule="kernel", ipc=1, **FAST).indices) == 12


def test_rules_read_the_confidence_and_the_errors_of_the_evidence(tiny_set: CondensedSet, seen: Evidence) -> None:
    found, _ = items_for(Request(tiny_set, "beta", find("beta"), Given(evidence=[seen], options={"epochs": 11})))
    assert torch.equal(found.confidence, mean_confidence(seen.dynamics, 11))
    assert not torch.equal(found.confidence, mean_confidence(seen.dynamics))
    found, _ = items_for(Request(tiny_set, "craig", find("craig"), Given(evidence=[seen])))
    assert torch.equal(found.errors, seen.snapshot.errors)
    assert torch.equal(found.features, seen.snapshot.inputs)
