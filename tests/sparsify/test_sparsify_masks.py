"""Masks: what they check, how they are saved, and exact thresholds."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from yoco import artefact
from yoco.networks import build
from yoco.rng import Rng
from yoco.sparsify.masks import Count, Masks, budget, keep_schedule, load, prunable, top, weights


def network() -> nn.Module:
    return build("convnet:width=8,depth=2,norm=batch", (1, 8, 8), 3, Rng(0))


def masks(share: float = 0.3, seed: int = 0) -> Masks:
    generator = Rng(seed).generator()
    return Masks({n: torch.rand(w.shape, generator=generator) < share for n, w in weights(network()).items()})


def test_weights_of_layers_are_prunable_but_no_biases_and_no_norms() -> None:
    assert prunable(network()) == ("stages.0.0.weight", "stages.1.0.weight", "head.weight")


def test_a_tied_weight_is_prunable_once() -> None:
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    assert prunable(tied) == ("0.weight",)


def test_a_network_without_layers_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^prunable: the network must have Linear or Conv2d layers, got BatchNorm2d$"):
        prunable(nn.BatchNorm2d(3))


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning", "ignore:.*spectral_norm:FutureWarning")
@pytest.mark.parametrize(
    "compute",
    [
        nn.utils.parametrizations.spectral_norm,
        nn.utils.parametrizations.weight_norm,
        nn.utils.spectral_norm,
        nn.utils.weight_norm,
        lambda layer: prune.l1_unstructured(layer, "weight", 2),
    ],
)
def test_weights_that_are_computed_are_refused(compute: Callable[[nn.Module], nn.Module]) -> None:
    given = nn.Sequential(nn.Linear(3, 3), nn.Conv2d(3, 3, 1))
    compute(given[0])
    before = {name: value.clone() for name, value in given.state_dict().items()}
    line = (
        "prunable: weights must be parameters, got a computed one in 0; remove the parametrization first "
        "(torch.nn.utils.parametrize.remove_parametrizations, torch.nn.utils.prune.remove)"
    )
    with pytest.raises(ValueError, match=rf"^{re.escape(line)}$"):
        prunable(given)
    assert all(torch.equal(value, before[name]) for name, value in given.state_dict().items())


@pytest.mark.parametrize(
    ("tensors", "rule"),
    [
        ({}, "masks: must hold at least one mask, got none"),
        ({"a": torch.ones(2)}, r"masks: a must be bools, at least one, got float32 \[2\]"),
        ({"a": torch.ones(0, 3, dtype=torch.bool)}, r"masks: a must be bools, at least one, got bool \[0, 3\]"),
    ],
)
def test_only_bools_are_masks(tensors: dict[str, Tensor], rule: str) -> None:
    with pytest.raises(ValueError, match=f"^{rule}$"):
        Masks(tensors)


def test_masks_are_copies_and_cannot_be_assigned_to() -> None:
    given = {"a": torch.tensor([True, False])}
    held = Masks(given)
    given["a"][0] = False
    assert held["a"].tolist() == [True, False]
    with pytest.raises(TypeError):
        held.tensors["a"] = given["a"]  # type: ignore[index]


def test_counts_and_shares_are_those_of_the_tensors() -> None:
    held = Masks({"a": torch.tensor([[True, False, False, False]]), "b": torch.tensor([True, True])})
    assert (held.kept, held.total, held.sparsity) == (3, 6, 0.5)
    assert held.by_layer() == {"a": Count(1, 4), "b": Count(2, 2)}
    assert held.by_layer()["a"].sparsity == 0.75
    assert repr(held) == "Masks(3 of 6 weights kept in 2 layers, sparsity 0.5000)"
    assert list(held) == ["a", "b"]


def test_masks_are_equal_by_names_and_values() -> None:
    assert masks() == masks()
    assert masks() != masks(seed=1)
    assert masks() != Masks({"head.weight": masks()["head.weight"]})
    assert masks() != 3


def test_both_keep_what_each_keeps() -> None:
    one, other = masks(0.5), masks(0.5, seed=1)
    both = one & other
    assert all(torch.equal(both[name], one[name] & other[name]) for name in one)
    partial = Masks({"head.weight": other["head.weight"], "new": torch.tensor([True])})
    assert (one & partial) == Masks(
        {**one, "head.weight": one["head.weight"] & other["head.weight"], "new": torch.tensor([True])}
    )


def test_both_lie_where_the_first_do() -> None:
    both = masks().to("meta") & Masks({**masks(seed=1), "new": torch.tensor([True])})
    assert {mask.device.type for mask in both.values()} == {"meta"}


def test_masks_of_other_shapes_cannot_be_joined() -> None:
    with pytest.raises(ValueError, match=r"^masks: a must be \[3\] as in the other masks, got \[2\]$"):
        Masks({"a": torch.ones(2).bool()}) & Masks({"a": torch.ones(3).bool()})


def test_masks_must_fit_the_network() -> None:
    masks().check(network())
    with pytest.raises(ValueError, match=r"^masks: names must be of parameters of the network, got 'tail.weight'$"):
        Masks({"tail.weight": torch.ones(1).bool()}).check(network())
    with pytest.raises(ValueError, match=r"^masks: head.weight must be \[3, 32\] as in the network, got \[32, 3\]$"):
        Masks({"head.weight": masks()["head.weight"].T}).check(network())


def test_masks_of_a_network_are_its_zeros() -> None:
    net, held = network(), masks()
    with torch.no_grad():
        for name, mask in held.items():
            net.get_parameter(name).mul_(mask)
    assert Masks.of(net) == held


def test_a_saved_mask_comes_back_and_takes_a_bit_for_each_weight(tmp_path: Path) -> None:
    held = Masks({"b": masks()["head.weight"], "a": torch.tensor([True]), "odd": torch.rand(3, 5, 7) < 2})
    held.save(tmp_path / "m")
    assert load(tmp_path / "m") == held
    assert list(load(tmp_path / "m")) == ["b", "a", "odd"]
    large = Masks({"a": torch.rand(1000, 80, generator=Rng(0).generator()) < 0.5})
    large.save(tmp_path / "large")
    assert (tmp_path / "large").stat().st_size < 80_000 / 8 + 400
    assert load(tmp_path / "large") == large


def test_damaged_files_of_masks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none")
    for bits in ({}, {"a": torch.zeros(2, dtype=torch.uint8)}, {"a": torch.zeros(1, dtype=torch.int8)}):
        artefact.write(tmp_path / "m", "masks", 1, {"z": torch.ones(1), **bits}, {"layers": [["a", [2, 4]]]})
        with pytest.raises(ValueError, match=r"^load: .* is damaged, the mask of a is not \[2, 4\]$"):
            load(tmp_path / "m")
    artefact.write(tmp_path / "m", "condensed set", 1, {"a": torch.ones(1)}, {})
    with pytest.raises(ValueError, match="must be of the kind masks, got condensed set"):
        load(tmp_path / "m")


def test_no_more_weights_go_than_the_sparsity_says() -> None:
    asked = [(10, 0.7), (1000, 0.9), (10, 0.0), (7, 0.5), (3, 0.999), (10**9, 0.1)]
    assert [budget(n, s) for n, s in asked] == [3, 100, 10, 4, 1, 9 * 10**8]


@pytest.mark.parametrize("sparsity", [1.0, -0.1, float("nan"), 95.0])
def test_a_sparsity_outside_of_zero_to_one_is_refused(sparsity: float) -> None:
    with pytest.raises(ValueError, match=r"^sparsity: must be at least 0 and below 1, got "):
        budget(10, sparsity)


def test_rounds_keep_the_same_share_and_end_exactly() -> None:
    counts = keep_schedule(100_000, 1000, 100)
    assert len(counts) == 100
    assert counts[-1] == 1000
    assert counts == [int(np.ceil(100_000 * 0.01 ** (k / 100))) for k in range(1, 100)] + [1000]
    assert keep_schedule(50, 7, 1) == [7]


def literal(scores: dict[str, Tensor], keep: int) -> dict[str, np.ndarray]:
    """One sort of all weights by score, then place."""
    layers = list(scores.items())
    places = [(-float(v), k, i) for k, (_, s) in enumerate(layers) for i, v in enumerate(s.flatten().tolist())]
    kept = {(k, i) for _, k, i in sorted(places)[:keep]}
    flat = {name: [(k, i) in kept for i in range(s.numel())] for k, (name, s) in enumerate(layers)}
    return {name: np.array(flat[name]).reshape(s.shape) for name, s in layers}


@pytest.mark.parametrize("kind", ["real", "tied", "equal", "infinite"])
def test_the_threshold_is_exact_and_ties_go_to_the_first(kind: str) -> None:
    generator = Rng(3).generator()
    scores = {"b": torch.randn(4, 5, generator=generator), "a": torch.randn(2, 3, 2, 2, generator=generator)}
    change = {
        "real": lambda s: s,
        "tied": lambda s: (2 * s).round(),
        "equal": torch.zeros_like,
        "infinite": lambda s: s.masked_fill(s < 0, -torch.inf).masked_fill(s > 1, torch.inf),
    }[kind]
    scores = {name: change(score) for name, score in scores.items()}
    for keep in range(45):
        found, expected = top(scores, keep), literal(scores, keep)
        assert found.kept == keep
        assert all((found[name].numpy() == expected[name]).all() for name in scores)


def test_counts_by_layer_are_exact_too() -> None:
    generator = Rng(4).generator()
    scores = {"b": torch.randn(4, 5, generator=generator).round(), "a": torch.randn(24, generator=generator)}
    found = top(scores, {"a": 3, "b": 20})
    assert (found["b"].sum(), found["a"].sum()) == (20, 3)
    assert torch.equal(found["a"], torch.zeros(24).bool().index_fill(0, scores["a"].topk(3).indices, True))


@pytest.mark.parametrize("kind", [torch.uint8, torch.bool, torch.int64, torch.float16])
def test_scores_of_any_kind_are_ranked(kind: torch.dtype) -> None:
    scores = {"a": torch.tensor([0, 1, 0, 1, 1]).to(kind), "b": torch.tensor([0.5, 2.0])}
    assert top(scores, {"a": 3, "b": 1})["a"].tolist() == [False, True, False, True, True]
    assert top(scores, 2)["a"].tolist() == [False, True, False, False, False]
    assert top(scores, 2)["b"].tolist() == [False, True]


def test_thresholds_refuse_what_cannot_be() -> None:
    scores = {"a": torch.tensor([1.0, 2.0]), "b": torch.ones(1)}
    with pytest.raises(ValueError, match=r"^top: keep must be in 0..3, got 4$"):
        top(scores, 4)
    with pytest.raises(ValueError, match=r"^top: keep must be in 0..2, got -1$"):
        top(scores, {"a": -1, "b": 0})
    with pytest.raises(ValueError, match=r"^top: keep must have the same names as scores, got 'c' in only one$"):
        top(scores, {"a": 1, "b": 0, "c": 1})
    with pytest.raises(ValueError, match=r"^top: scores must be numbers, got nan in b$"):
        top({**scores, "b": torch.tensor([float("nan")])}, 1)


def test_a_kernel_that_is_fixed_is_none_of_the_weights() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 3, bias=False), nn.Flatten(), nn.Linear(36, 3))
    kernel = network[0].weight.detach()
    del network[0].weight
    network[0].register_buffer("weight", kernel)
    assert prunable(network) == ("2.weight",)
