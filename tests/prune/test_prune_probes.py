"""Scores of one network against literal NumPy and against one gradient at a time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import log

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn.functional import cross_entropy

from yoco.networks import build
from yoco.prune import probes
from yoco.prune.geometry import prototype_distance, ssp_distance
from yoco.prune.probes import FROM_FEATURES, PROBES, entropy, grand, last_loss, least_confidence, p_margin
from yoco.prune.scores import SCORES
from yoco.prune.snapshot import Snapshot
from yoco.registry import resolve
from yoco.rng import Rng

N, C, D = 23, 4, 6


def shown(seed: int = 0, soft: bool = False) -> Snapshot:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(N, C, generator=generator)
    targets = torch.randint(C, (N,), generator=generator)
    if soft:
        targets = torch.rand(N, C, generator=generator).softmax(1)
    features = torch.randn(N, D, generator=generator)
    return Snapshot(logits=logits, targets=targets, features=features, inputs=features + 1)


def probabilities(logits: Tensor) -> np.ndarray:
    e = np.exp(logits.double().numpy())
    return e / e.sum(1, keepdims=True)


def targets_of(snapshot: Snapshot) -> np.ndarray:
    return snapshot.targets.double().numpy() if snapshot.targets.ndim == 2 else np.eye(C)[snapshot.targets.numpy()]


@pytest.mark.parametrize("soft", [False, True])
def test_uncertainties_are_their_formulas(soft: bool) -> None:
    one = shown(soft=soft)
    p = probabilities(one.logits)
    down = -np.sort(-p, axis=1)
    label = targets_of(one).argmax(1)
    literal = {
        entropy: [-sum(q * log(q) for q in row) for row in p],
        last_loss: [-log(row[y]) for row, y in zip(p, label, strict=True)],
        least_confidence: 1 - down[:, 0],
        p_margin: 1 - (down[:, 0] - down[:, 1]),
    }
    for function, expected in literal.items():
        found = function(one)
        assert found.dtype == torch.float32
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("soft", [False, True])
def test_grand_of_the_head_is_the_norm_of_its_outer_product(soft: bool) -> None:
    one = shown(soft=soft)
    error = probabilities(one.logits) - targets_of(one)
    raised = np.concatenate([one.inputs.double().numpy(), np.ones((N, 1))], axis=1)
    literal = [np.sqrt((np.outer(e, h) ** 2).sum()) for e, h in zip(error, raised, strict=True)]
    found = grand(one)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), literal, rtol=1e-5)


def photographed(name: str, soft: bool = False, n: int = 7) -> Snapshot:
    """A snapshot of an untrained network, with what gradients in all parameters need."""
    network = build(name, (1, 8, 8), C, Rng(1))
    generator = torch.Generator().manual_seed(2)
    for buffer in (b for key, b in network.named_buffers() if "running" in key):
        buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
    images = torch.randn(n, 1, 8, 8, generator=generator)
    targets = torch.randint(C, (n,), generator=generator)
    if soft:
        targets = torch.rand(n, C, generator=generator).softmax(1)
    network.eval()
    with torch.no_grad():
        inputs = network.features(images)[-1].flatten(1)
        logits = network.head(inputs)
    return Snapshot(logits=logits, targets=targets, features=inputs, inputs=inputs, network=network, images=images)


def one_gradient_at_a_time(one: Snapshot, only: str = "") -> list[float]:
    assert one.network is not None
    assert one.images is not None
    norms = []
    for image, target in zip(one.images, one.targets, strict=True):
        one.network.zero_grad()
        cross_entropy(one.network(image[None]), target[None]).backward()
        parts = [p.grad for key, p in one.network.named_parameters() if key.startswith(only) and p.grad is not None]
        norms.append(float(sum(part.double().square().sum() for part in parts) ** 0.5))
    one.network.zero_grad()
    return norms


@pytest.mark.parametrize("name", ["convnet:width=8", "convnet:width=8,norm=batch", "mlp:width=16", "lenet"])
@pytest.mark.parametrize("soft", [False, True])
def test_grand_of_all_parameters_is_one_gradient_at_a_time(name: str, soft: bool) -> None:
    one = photographed(name, soft)
    literal = one_gradient_at_a_time(one)
    for chunk in (1, 3, 64):
        found = grand(one, parameters="all", chunk=chunk)
        assert found.dtype == torch.float32
        np.testing.assert_allclose(found.numpy(), literal, rtol=2e-5)
    np.testing.assert_allclose(grand(one).numpy(), one_gradient_at_a_time(one, "head"), rtol=2e-5)


def test_grand_leaves_the_network_alone_and_evaluates_it() -> None:
    one = photographed("convnet:width=8,norm=batch")
    assert one.network is not None
    before = grand(one, parameters="all")
    one.network.train()
    state = {key: value.clone() for key, value in one.network.state_dict().items()}
    assert torch.equal(grand(one, parameters="all"), before)
    assert one.network.training
    assert all(torch.equal(value, state[key]) for key, value in one.network.state_dict().items())
    assert all(p.grad is None for p in one.network.parameters())
    for parameter in one.network.parameters():
        parameter.requires_grad_(False)
    assert torch.equal(grand(one, parameters="all"), before)


def test_grand_works_where_the_network_computes_in_bfloat16() -> None:
    one = photographed("mlp:width=16")
    assert one.network is not None
    one.network.autocast = torch.bfloat16  # type: ignore[assignment]
    np.testing.assert_allclose(grand(one, parameters="all").numpy(), one_gradient_at_a_time(one), rtol=0.02)


def test_all_gradients_are_computed_as_trainings_are(monkeypatch: pytest.MonkeyPatch) -> None:
    places: list[torch.device] = []

    @contextmanager
    def spy(place: torch.device) -> Iterator[None]:
        places.append(place)
        yield

    monkeypatch.setattr(probes, "at_work", spy)
    grand(photographed("mlp:width=4"), parameters="all")
    assert places == [torch.device("cpu")]


def test_images_come_to_the_network_a_chunk_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def spy(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def counted(images: Tensor, errors: Tensor) -> Tensor:
            sizes.append(len(images))
            found: Tensor = vmap(function)(images, errors)
            return found

        return counted

    one = photographed("mlp:width=4")
    expected = grand(one, parameters="all", chunk=3)
    monkeypatch.setattr(probes, "vmap", spy)
    assert torch.equal(grand(one, parameters="all", chunk=3), expected)
    assert sizes == [3, 3, 1]


def test_no_score_depends_on_its_batch_or_on_the_order() -> None:
    one, mixed = photographed("convnet:width=8"), torch.tensor([6, 2, 0, 5, 4, 1, 3])
    parts = ("logits", "targets", "features", "inputs", "images")
    other = replace(one, **{part: getattr(one, part)[mixed] for part in parts})
    half = replace(one, **{part: getattr(one, part)[:3] for part in parts})
    for name in ("entropy", "last-loss", "least-confidence", "p-margin", "grand"):
        function = resolve("score", PROBES, name)
        torch.testing.assert_close(function(other), function(one)[mixed])
        torch.testing.assert_close(function(half), function(one)[:3])
    every = grand(one, parameters="all", chunk=3)
    torch.testing.assert_close(grand(other, parameters="all", chunk=5), every[mixed])
    torch.testing.assert_close(grand(half, parameters="all", chunk=3), every[:3])


def test_what_is_nearly_sure_stays_apart_and_finite() -> None:
    logits = torch.stack([torch.tensor([gap, 0.0, -1.0]) for gap in (20.0, 25.0, 30.0, 60.0, 80.0)])
    flat = torch.ones(5, 2)
    sure = Snapshot(logits=logits, targets=torch.zeros(5, dtype=torch.long), features=flat, inputs=flat)
    for name in ("entropy", "last-loss", "least-confidence", "p-margin", "grand"):
        values = resolve("score", PROBES, name)(sure)
        assert (values > 0).all()
        assert (values.diff() < 0).all(), name
    rest = np.exp(-np.array([20.0, 25, 30, 60, 80])) * (1 + np.exp(-1.0))
    np.testing.assert_allclose(last_loss(sure).numpy(), rest, rtol=1e-5)
    np.testing.assert_allclose(least_confidence(sure).numpy(), rest, rtol=1e-5)


def test_logits_far_apart_give_no_nan() -> None:
    logits = torch.tensor([[1e4, 0.0, -1e4], [-1e30, 1e30, 0.0]])
    flat = torch.ones(2, 2)
    wide = Snapshot(logits=logits, targets=torch.tensor([2, 0]), features=flat, inputs=flat)
    for name in ("entropy", "last-loss", "least-confidence", "p-margin", "grand"):
        assert resolve("score", PROBES, name)(wide).isfinite().all(), name
    assert last_loss(wide)[0] == 2e4
    assert entropy(wide).tolist() == [0, 0]


def test_larger_is_harder() -> None:
    logits = torch.tensor([[4.0, 0, 0], [1, 0, 0], [0, 0, 0]])
    flat = torch.ones(3, 2)
    line = Snapshot(logits=logits, targets=torch.zeros(3, dtype=torch.long), features=flat, inputs=flat)
    for name in ("entropy", "last-loss", "least-confidence", "p-margin", "grand"):
        assert (resolve("score", PROBES, name)(line).diff() > 0).all(), name
    assert float(entropy(line)[2]) == pytest.approx(log(3))
    assert float(p_margin(line)[2]) == 1
    shifted = replace(line, logits=logits + 7)
    torch.testing.assert_close(least_confidence(shifted), least_confidence(line))


def test_the_margin_of_uncertainty_does_not_look_at_the_label() -> None:
    one = shown()
    other = replace(one, targets=(one.targets + 1) % C)
    for function in (entropy, least_confidence, p_margin):
        assert torch.equal(function(one), function(other))
    assert not torch.equal(last_loss(one), last_loss(other))


def test_two_equal_largest_probabilities_have_no_margin() -> None:
    flat = torch.ones(1, 2)
    tie = Snapshot(logits=torch.tensor([[2.0, 2, 0]]), targets=torch.tensor([0]), features=flat, inputs=flat)
    assert float(p_margin(tie)) == 1


@pytest.mark.parametrize("soft", [False, True])
def test_distances_are_those_of_the_geometry(soft: bool) -> None:
    one = shown(soft=soft)
    assert torch.equal(probes.prototype(one), prototype_distance(one.features, one.labels))
    other = prototype_distance(one.features, one.labels, centre="median", metric="cosine")
    assert torch.equal(probes.prototype(one, centre="median", metric="cosine"), other)
    assert torch.equal(probes.ssp(one), ssp_distance(one.features, C, Rng(0)))
    assert torch.equal(probes.ssp(one, clusters=2, start=5), ssp_distance(one.features, 2, Rng(5)))
    assert torch.equal(probes.ssp(one, clusters=99), ssp_distance(one.features, N, Rng(0)))
    assert not torch.equal(probes.ssp(one, clusters=7), probes.ssp(one, clusters=7, start=1))


def test_distances_are_float32_and_start_at_zero() -> None:
    one = shown()
    for function in (probes.prototype, probes.ssp):
        found = function(one)
        assert found.dtype == torch.float32
        assert found.shape == (N,)
        assert found.isfinite().all()
        assert (found >= -1e-6).all()
    blank = Snapshot(logits=torch.zeros(N, C), targets=one.targets, features=one.features, inputs=one.features)
    for name in FROM_FEATURES:
        function = resolve("score", PROBES, name)
        assert torch.equal(function(blank), function(one))


def test_no_name_is_both_a_probe_and_a_score_of_the_dynamics() -> None:
    assert not set(PROBES) & set(SCORES)
    assert set(FROM_FEATURES) <= set(PROBES)
    assert all(callable(resolve("score", PROBES, name)) for name in PROBES)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda one: grand(one, parameters="some"), "grand: parameters must be last or all, got 'some'"),
        (lambda one: grand(one, chunk=0), "grand: chunk must be at least 1, got 0"),
        (
            lambda one: grand(one, parameters="all"),
            "grand: parameters=all needs the network and its images, got a snapshot without them",
        ),
        (
            lambda one: grand(replace(one, network=nn.Flatten()), parameters="all"),
            "grand: parameters=all needs the network and its images, got a snapshot without them",
        ),
        (lambda one: probes.ssp(one, clusters=0), "ssp: clusters must be in 1..23, got 0"),
    ],
)
def test_what_cannot_be_done_is_one_line(call: object, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        call(shown())  # type: ignore[operator]
    assert str(caught.value) == message
