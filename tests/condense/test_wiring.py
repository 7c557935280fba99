"""That settings of a method reach what they are for: clamping, momenta, starts and batches."""

from typing import Any, Self

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from yoco.condense import settings_of
from yoco.condense.method import Task
from yoco.condense.methods.acc_dd import AccDD
from yoco.condense.methods.dm import DM
from yoco.condense.methods.idc import IDC
from yoco.condense.synthetic import start
from yoco.data import Source, Splits
from yoco.data.source import Batch
from yoco.rng import Rng

NETWORK = "convnet:width=4,depth=2"
EXPERTS: dict[str, Any] = {"count": 1, "expert_epochs": 3, "expert_batch": 60, "max_start": 1, "student_steps": 1}
SQUEEZED: dict[str, Any] = {"episodes": 4, "squeeze": 0, "teacher": "convnet:width=8,depth=2,norm=batch"}
EARLY: dict[str, Any] = {"early": 1, "early_epochs": 1, "network_images": 64, "real_batch": 8}
WHOLE = ("dsa", "dm", "datadam", "frepo", "mtt", "datm")
"""Methods whose papers begin with real images."""


@pytest.fixture
def task(tiny: Splits) -> Task:
    return Task(tiny.train, 2, NETWORK)


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("mtt", EXPERTS),
        ("datm", {**EXPERTS, "threshold": 1e9}),
        ("frepo", {"pool": 1, "real_batch": 20}),
        ("readout", {"pool": 1, "real_batch": 20}),
        ("cafe", {"real_batch": 8, "inner": 1, "query": 8}),
        ("sre2l", SQUEEZED),
    ],
)
def test_pixels_are_clamped_in_every_episode(task: Task, method: str, changes: dict[str, Any]) -> None:
    chosen: Any = settings_of(method, "digits", 2, None, **changes)
    synthetic, memory = chosen.synthetic(task, Rng(1)), chosen.memory(task, Rng(2))
    pixels, episode = synthetic.beside.get("pixels", synthetic.cells), chosen.episode(task, synthetic, memory, Rng(0))
    next(episode)
    with torch.no_grad():
        pixels[0], pixels[1] = 2, -2
    assert next(episode, None) is None
    assert (pixels.detach()[0].min(), pixels.detach()[1].max()) == (1, 0)


@pytest.mark.parametrize(
    ("method", "where", "changes"),
    [
        ("dc", "alternating.take_steps", {"outer": 2, "real_batch": 8}),
        ("cafe", "methods.cafe.take_steps", {"real_batch": 8, "inner": 1, "query": 8}),
        ("readout", "methods.readout.take_steps", {"pool": 1, "real_batch": 20}),
        ("frepo", "methods.frepo.Pool.learn", {"pool": 1, "real_batch": 20}),
    ],
)
def test_networks_learn_pixels_that_are_clamped(
    task: Task, monkeypatch: pytest.MonkeyPatch, method: str, where: str, changes: dict[str, Any]
) -> None:
    seen: list[float] = []

    def learned(*given: Any) -> None:
        seen.append(float((given[2].cells if method == "frepo" else given[2].images).detach().max()))

    monkeypatch.setattr(f"yoco.condense.{where}", learned)
    chosen: Any = settings_of(method, "digits", 2, None, **changes)
    synthetic, memory = chosen.synthetic(task, Rng(1)), chosen.memory(task, Rng(2))
    episode = chosen.episode(task, synthetic, memory, Rng(0))
    next(episode)
    with torch.no_grad():
        synthetic.cells.add_(2)
    assert next(episode, None) is None
    assert seen == [1.0]


@pytest.mark.parametrize(
    ("method", "name", "values", "changes"),
    [
        ("cafe", "centre_weight", (0.01, 1.0), {"real_batch": 8, "inner": 1, "query": 8}),
        ("cafe", "early_weight", (1.0, 3.0), {"real_batch": 8, "inner": 1, "query": 8}),
        ("cafe", "late_weight", (0.1, 3.0), {"real_batch": 8, "inner": 1, "query": 8}),
        ("datadam", "feature_weight", (0.01, 1.0), {"real_batch": 8}),
        ("datadam", "power", (4.0, 2.0), {"real_batch": 8}),
        ("idm", "class_weight", (0.5, 0.1), {"real_batch": 8}),
        ("frepo", "ridge", (1e-6, 1.0), {"pool": 1, "real_batch": 20}),
        ("sre2l", "norm_weight", (0.01, 1.0), SQUEEZED),
        ("sre2l", "first_norm", (10.0, 1.0), SQUEEZED),
        ("readout", "smooth", (0.1, 0.4), {"pool": 1, "real_batch": 20}),
        ("accdd", "perturb_high", (0.09, 0.9), EARLY),
        ("accdd", "perturb_low", (0.01, 0.08), EARLY),
    ],
)
def test_what_is_asked_for_reaches_the_loss(
    tiny: Splits, method: str, name: str, values: tuple[float, float], changes: dict[str, Any]
) -> None:
    task, losses = Task(tiny.train, 2, "convnet:width=4,depth=3"), []
    for value in values:
        chosen: Any = settings_of(method, "digits", 2, None, **changes, **{name: value})
        synthetic, memory = chosen.synthetic(task, Rng(1)), chosen.memory(task, Rng(2))
        for member in getattr(memory, "members", ()):  # of idm: networks that know something
            member.right = member.seen = 1
        losses.append(float(next(chosen.episode(task, synthetic, memory, Rng(0))).detach()))
    assert losses[0] != losses[1]


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        *((name, {}) for name in ("idc", "dc", "dm", "datadam", "m3d", "idm", "cafe")),
        ("mtt", EXPERTS),
        ("datm", EXPERTS),
    ],
)
def test_the_momentum_is_the_one_asked_for(task: Task, method: str, changes: dict[str, Any]) -> None:
    chosen: Any = settings_of(method, "digits", 2, None, momentum_image=0.25, **changes)
    assert chosen.optimizer(chosen.synthetic(task, Rng(0))).param_groups[0]["momentum"] == 0.25


@pytest.mark.parametrize("method", ["dm", "dc", "dsa", "datadam", "m3d", "cafe", "mtt", "sre2l"])
def test_the_factor_is_the_one_asked_for(task: Task, method: str) -> None:
    changes = EXPERTS if method == "mtt" else {}
    chosen: Any = settings_of(method, "digits", 2, None, factor=2, **changes)
    synthetic = chosen.synthetic(task, Rng(0))
    assert (synthetic.factor, synthetic.per_class) == (2, 8)


@pytest.mark.parametrize(
    ("data", "method"),
    [("cifar10", name) for name in WHOLE] + [("digits", name) for name in (*WHOLE, "dc", "cafe", "readout")],
)
def test_a_start_of_whole_images_is_cut_only_where_that_is_asked_for(data: str, method: str) -> None:
    def begun(**changes: Any) -> tuple[int, str]:
        found: Any = settings_of(method, data, 10, None, **changes)
        return found.factor, found.start

    assert [begun(), begun(factor=1), begun(factor=2)] == [(1, "real"), (1, "real"), (2, "mix")]
    assert begun(factor=2, start="real") == (2, "real")


@pytest.mark.parametrize("method", ["dc", "cafe", "sre2l"])
def test_noise_is_noise_whatever_the_factor(method: str) -> None:
    found: Any = settings_of(method, "cifar10", 10, None, factor=2)
    assert (found.factor, found.start) == (2, "noise")


class Steep(DM):
    """Settings of its own, by the form that every method has."""

    @classmethod
    def published(cls, data: str, per_class: int, shape: tuple[int, int, int] | None = None) -> Self:
        """Larger steps."""
        return cls(lr_image=9.0)


def test_settings_of_ones_own_need_not_know_of_factors() -> None:
    found: Any = settings_of(f"{__name__}:Steep", "digits", 2, None, factor=2)
    assert (found.lr_image, found.factor, found.start) == (9.0, 2, "mix")


def test_a_shrunk_image_fills_each_cell(task: Task) -> None:
    chosen: Any = settings_of("dm", "digits", 2, None, factor=2)
    assert torch.equal(chosen.synthetic(task, Rng(0)).cells, start("mix", task.real, 2, 2, Rng(0)).cells)


def test_a_start_is_shrunk_and_chosen_as_asked_for(task: Task) -> None:
    mine = IDC(first=True, shrink="area").synthetic(task, Rng(0)).cells
    assert torch.equal(mine, start("mix", task.real, 2, 2, Rng(0), first=True, shrink="area").cells)
    for other in ({"first": False}, {"shrink": "nearest"}):
        assert not torch.equal(mine, IDC(**{"first": True, "shrink": "area", **other}).synthetic(task, Rng(0)).cells)


def test_early_networks_are_trained_as_long_as_asked_for(task: Task) -> None:
    assert AccDD(early_epochs=7).memory(task, Rng(1)).epochs == 7


@pytest.mark.parametrize("method", ["frepo", "readout"])
def test_the_real_batch_is_the_one_asked_for(task: Task, method: str) -> None:
    losses = []
    for size in (20, 60):
        chosen: Any = settings_of(method, "digits", 2, None, pool=1, real_batch=size)
        synthetic, memory = chosen.synthetic(task, Rng(1)), chosen.memory(task, Rng(2))
        losses.append(float(next(chosen.episode(task, synthetic, memory, Rng(0))).detach()))
    assert losses[0] != losses[1]


@pytest.mark.parametrize(("name", "changes"), [("frepo", {}), ("readout", {"head_steps": 5, "network_epochs": 0.0})])
def test_a_pool_is_of_different_networks_that_are_shown_other_real_images_each_time(
    task: Task, monkeypatch: pytest.MonkeyPatch, name: str, changes: dict[str, Any]
) -> None:
    method: Any = settings_of(name, "digits", 2, None, pool=3, real_batch=20, **changes)
    synthetic, memory = method.synthetic(task, Rng(1)), method.memory(task, Rng(2))
    networks = memory.networks if name == "frepo" else [learner.network for learner in memory.learners]
    assert len({network.head.weight[0, 0].item() for network in networks}) == 3
    seen: list[set[int]] = []
    plain = Source.batch

    def batch(source: Source, indices: Tensor) -> Batch:
        seen.append({*indices.tolist()})
        return plain(source, indices)

    monkeypatch.setattr(Source, "batch", batch)
    for k in range(4):
        list(method.episode(task, synthetic, memory, Rng(3).child(k)))
    assert [len(each) for each in seen] == [20] * 4
    assert len({at for each in seen for at in each}) > 45


def test_trajectories_are_matched_over_the_steps_asked_for(task: Task) -> None:
    losses = []
    for steps in (1, 2):
        how = {**EXPERTS, "expert_steps": steps, "lr_start": 0.05, "augment": ""}
        chosen: Any = settings_of("mtt", "digits", 2, None, **how)
        synthetic, memory = chosen.synthetic(task, Rng(1)), chosen.memory(task, Rng(2))
        path, network = memory.trajectory(0), task.network(Rng(0))
        nn.utils.vector_to_parameters(path[0].clone(), network.parameters())
        loss = cross_entropy(network(task.normalise(synthetic.everything().images.detach())), synthetic.labels)
        step = torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(network.parameters()))])
        left = (path[0] - 0.05 * step - path[steps]).square().sum() / (path[0] - path[steps]).square().sum()
        losses.append(float(next(chosen.episode(task, synthetic, memory, Rng(0))).detach()))
        assert losses[-1] == pytest.approx(float(left), rel=1e-4)
    assert losses[0] != losses[1]


@pytest.mark.parametrize("method", ["sre2l", "rded", "datadam"])
def test_images_are_large_by_their_shorter_side(method: str) -> None:
    long, wide, large = (settings_of(method, "mine", 10, (3, *sides)) for sides in ((128, 32), (32, 128), (128, 128)))
    assert long == wide == settings_of(method, "mine", 10, (3, 32, 32)) != large
