"""PDD: stages against a plain version, what stays, what begins anew, and the settings of what is in stages."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

import yoco
from yoco.condense import Interrupted, Progress, condense, settings_of
from yoco.condense.growing import Growing
from yoco.condense.method import Task
from yoco.condense.methods.idc import IDC
from yoco.condense.methods.pdd import BASES, PDD, Stages
from yoco.data import Splits
from yoco.prune import prune
from yoco.rng import Rng

NETWORK = "convnet:width=4,depth=2"
SMALL = {
    "idc": "idc:inner=2,network_images=64,real_batch=8,lr_image=0.1,factor=1,pretrain=1",
    "mtt": "mtt:count=2,expert_epochs=6,max_start=2,student_steps=2",
    "dc": "dc:outer=2,inner=2,real_batch=8",
    "dsa": "dsa:outer=2,inner=2,real_batch=8",
    "dm": "dm:real_batch=8",
    "datadam": "datadam:real_batch=8",
    "m3d": "m3d:updates=2,real_batch=8",
    "cafe": "cafe:real_batch=8,window=2,still=1.0,inner=3,query=16",
    "idm": "idm:real_batch=8,network_batch=16,interval=2,pool_start=2,pool_limit=3",
    "accdd": "accdd:inner=2,early=2,early_epochs=1,network_images=64,real_batch=8,factor=1",
    "dream": "dream:inner=3,interval=2,network_images=64,real_batch=8,factor=1,pretrain=1",
}


@pytest.fixture
def task(tiny: Splits) -> Task:
    return Task(tiny.train, 3, NETWORK)


@pytest.fixture
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def small(base: str, **changes: Any) -> PDD:
    """Three stages of two episodes each."""
    made: Any = settings_of("pdd", "digits", 3, None, base=SMALL[base], **{"episodes": 6, "taught": 2, **changes})
    return made  # type: ignore[no-any-return]


def episodes(task: Task, method: PDD, count: int) -> Iterator[tuple[Growing, Stages, Any]]:
    """What the loop does, episode by episode."""
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(1))
    optimizer = method.optimizer(synthetic)
    for k in range(count):
        for loss in method.episode(task, synthetic, memory, Rng(2).child(k)):
            synthetic.take_gradient(loss)
            optimizer.step()
        yield synthetic, memory, optimizer


@pytest.mark.parametrize(
    ("per_class", "factor", "stages", "ends"),
    [
        (10, 1, 5, [2, 4, 6, 8, 10]),
        (7, 1, 5, [1, 2, 4, 5, 7]),
        (3, 1, 5, [1, 2, 3]),
        (1, 1, 5, [1]),
        (4, 1, 1, [4]),
        (10, 2, 5, [8, 16, 24, 32, 40]),
        (7, 2, 5, [4, 8, 16, 20, 28]),
        (2, 2, 5, [1, 3, 4, 6, 8]),
        (1, 2, 5, [1, 2, 3, 4]),
    ],
)
def test_cells_are_spread_over_stages_in_whole_images_where_there_are_enough(
    per_class: int, factor: int, stages: int, ends: list[int]
) -> None:
    cells = torch.zeros(2 * per_class * factor**2, 1, 8 // factor, 8 // factor)
    found = PDD(stages=stages, factor=factor).ends(Growing(cells, 2, factor, (8, 8)))
    assert found == ends


@pytest.mark.parametrize("base", sorted(BASES))
def test_a_stage_moves_its_own_cells_and_no_others(task: Task, base: str) -> None:
    """Bit for bit: not those before, though they were stepped with momentum, and not those that come later."""
    method = small(base)
    before = method.synthetic(task, Rng(0)).firsts(3).clone()
    for k, (synthetic, memory, _) in enumerate(episodes(task, method, 6)):
        stage, now = k // 2, synthetic.firsts(3)
        assert memory.stage == stage
        moved = [not torch.equal(now[:, place], before[:, place]) for place in range(3)]
        assert moved == [place == stage for place in range(3)]
        before = now.clamp(0, 1) if k % 2 else now.clone()  # a stage begins within the range
    assert k == 5


@pytest.mark.parametrize(("count", "ends"), [(1, [3]), (2, [1, 3]), (3, [1, 2, 3]), (4, [1, 2, 3])])
def test_every_stage_has_an_episode(task: Task, count: int, ends: list[int]) -> None:
    method = small("dm", episodes=count)
    before = method.synthetic(task, Rng(0)).firsts(3).clone()
    for _ in range(2):  # an estimate takes two steps of a single one
        *_, (synthetic, _, _) = episodes(task, method, count)
    assert method.ends(synthetic) == ends
    assert all(not torch.equal(synthetic.firsts(3)[:, place], before[:, place]) for place in range(3))


@pytest.mark.parametrize(("count", "stages"), [(1, [0, 0]), (2, [0, 1]), (6, [1, 1]), (300, [1, 1])])
def test_estimates_measure_the_middle(task: Task, count: int, stages: list[int]) -> None:
    (middle,) = small("dm", episodes=count).phases(task)
    assert (middle.name, middle.episodes) == ("pdd", count)
    found = [memory.stage for _, memory, _ in episodes(task, middle, 2)]
    assert found == stages


@pytest.mark.parametrize("base", ["idc", "mtt"])
def test_cells_of_several_stages_are_those_that_were_saved_at_their_end(tiny: Splits, base: str) -> None:
    how: dict[str, Any] = {"ipc": 3, "network": NETWORK, "progress": False, "base": SMALL[base], "taught": 2}
    at: list[Tensor] = []

    def note(progress: Progress) -> None:
        at.append(progress.synthetic.cells.detach().clamp(0, 1).cpu())

    made = condense(tiny, "pdd", episodes=6, callbacks=(note,), **how)
    for stage in (1, 2):
        then, now = at[2 * stage - 1].unflatten(0, (3, 3)), made.cells.unflatten(0, (3, 3))
        assert torch.equal(then[:, :stage], now[:, :stage])
        assert not torch.equal(then[:, stage:], now[:, stage:])


@dataclass(frozen=True, kw_only=True)
class Plain(IDC):
    """IDC without augmentation on whole classes, with a network for each step of the cells."""

    inner: int = 1
    factor: int = 1
    lr_image: float = 0.02
    reference_side: int = 8
    real_batch: int = 40
    network_images: int = 1
    augment: str = ""
    network_augment: str = ""


class Literal:
    """IDC in two stages of one and two images, by hand, without augmentation, on whole classes, in three classes."""

    def __init__(self, task: Task, method: PDD) -> None:
        self.task, mean, std = task, task.real.mean[0], task.real.std[0]
        self.see = lambda images: (images - mean) / std
        self.real = [self.see(task.real.batch(members).images) for members in task.real.by_class]
        self.cells = [part.clone() for part in method.synthetic(task, Rng(0)).cells.detach().split(3)]

    def stage(self, stage: int, streams: list[Rng]) -> None:
        held, shown = (0, 1) if stage == 0 else (1, 3)
        earlier = torch.cat([part[:held].clamp(0, 1) for part in self.cells])
        moved = [torch.zeros_like(part) for part in self.cells]
        for rng in streams:
            self.cells = [part.clamp(0, 1) for part in self.cells]
            network = self.task.network(rng.child("network"))
            if stage:
                self.teach(network, earlier)
            for c in range(3):
                cells = self.cells[c].clone().requires_grad_()
                gradient = self.gradient(network, c, cells, shown)
                assert bool((gradient[shown:] == 0).all())
                for other in range(3):
                    new = gradient if other == c else torch.zeros_like(gradient)
                    new[:held] = 0
                    moved[other] = 0.5 * moved[other] + new
                    self.cells[other] = self.cells[other] - 0.02 * shown / 10 * moved[other]

    def gradient(self, network: Any, c: int, cells: Tensor, shown: int) -> Tensor:
        weights = [p for p in network.parameters() if p.ndim == 4]
        real, images = self.real[c], self.see(cells[:shown])
        wanted = torch.autograd.grad(cross_entropy(network(real), torch.full((len(real),), c)), weights)
        loss = cross_entropy(network(images), torch.full((shown,), c))
        found = torch.autograd.grad(loss, weights, create_graph=True)
        distance = sum(((a - b) ** 2).sum() for a, b in zip(found, wanted, strict=True))
        return torch.autograd.grad(distance, cells)[0]  # type: ignore[arg-type]

    def teach(self, network: Any, earlier: Tensor) -> None:
        weights = list(network.parameters())
        speed = [torch.zeros_like(p) for p in weights]
        for _ in range(4):
            loss = cross_entropy(network(self.see(earlier)), torch.arange(3))
            found = torch.autograd.grad(loss, weights)
            with torch.no_grad():
                for k, (weight, gradient) in enumerate(zip(weights, found, strict=True)):
                    speed[k] = 0.9 * speed[k] + gradient + 5e-4 * weight
                    weight -= 0.01 * speed[k]


@pytest.mark.usefixtures("float64")
def test_the_stages_are_those_of_a_plain_version(task: Task) -> None:
    method = PDD(base=f"{__name__}:Plain", factor=1, stages=2, episodes=6, taught=4)
    literal = Literal(task, method)
    for stage in (0, 1):
        literal.stage(stage, [Rng(2).child(k) for k in range(3 * stage, 3 * stage + 3)])
        *_, (synthetic, _, _) = episodes(task, method, 3 * stage + 3)
        torch.testing.assert_close(synthetic.cells.detach(), torch.cat(literal.cells), rtol=1e-9, atol=1e-12)
    start = method.synthetic(task, Rng(0)).firsts(3)
    assert bool(((synthetic.firsts(3) - start).abs().flatten(2).amax(2) > 1e-3).all())


def test_one_stage_is_the_base_to_the_bit(tiny: Splits) -> None:
    how: dict[str, Any] = {"network": NETWORK, "progress": False, "episodes": 4}
    for base in ("idc", "mtt", "dm"):
        name, _, text = SMALL[base].partition(":")
        settings = dict(word.split("=") for word in text.split(","))
        plain = {key: float(value) if "." in value else int(value) for key, value in settings.items()}
        for ipc, stages in ((1, 5), (2, 1)):
            made = condense(tiny, "pdd", ipc=ipc, base=SMALL[base], stages=stages, **how)
            asked = {**plain, "lr_image": small(base, stages=stages).base_method.lr_image}
            assert torch.equal(made.cells, condense(tiny, name, ipc=ipc, **how, **asked).cells)
            assert made.order == "pdd"


@pytest.mark.parametrize("base", ["idc", "mtt", "idm", "accdd", "dream", "dm"])
def test_it_goes_on_to_the_same_bits_within_a_stage_and_between_two(tiny: Splits, base: str, tmp_path: Path) -> None:
    how: dict[str, Any] = {"ipc": 3, "network": NETWORK, "progress": False, "base": SMALL[base], "taught": 2}
    whole = condense(tiny, "pdd", episodes=6, **how)

    episodes: list[int] = []

    def interrupt(progress: Progress) -> None:
        episodes.append(progress.episode)
        os.kill(os.getpid(), signal.SIGINT)

    for _ in range(4):
        with pytest.raises(Interrupted):
            condense(tiny, "pdd", episodes=6, out=tmp_path, callbacks=(interrupt,), **how)
    assert episodes == [1, 2, 3, 4]
    again = condense(tiny, "pdd", episodes=6, out=tmp_path, **how)
    assert torch.equal(again.cells, whole.cells)
    assert again.config.get("learned") == whole.config.get("learned")


def test_a_stage_begins_with_another_step_size_and_without_momentum(task: Task) -> None:
    method, seen = small("idc"), []
    for synthetic, _, optimizer in episodes(task, method, 6):
        momentum = optimizer.state[synthetic.cells]["momentum_buffer"].unflatten(0, (3, 3))
        still = [bool((momentum[:, place] == 0).all()) for place in range(3)]
        seen.append((round(optimizer.param_groups[0]["lr"] / 0.1 * 10, 9), still.index(False), still.count(False)))
    assert seen == [(cells, cells - 1, 1) for cells in (1, 1, 2, 2, 3, 3)]


def test_networks_of_later_stages_have_learned_the_earlier_cells(task: Task) -> None:
    """Those of the first are as random as ever; and `taught` says how much they learn."""
    losses = {}
    for taught in (0, 30):
        for k, (synthetic, memory, _) in enumerate(episodes(task, small("dm", taught=taught), 6)):
            seen = task.normalise(synthetic.firsts(1).flatten(0, 1))
            found, fresh = (each.network(Rng(7))(seen).detach() for each in (memory.task, task))
            losses[taught, k // 2] = float(cross_entropy(found, torch.arange(3)))
            assert torch.equal(found, fresh) == (k < 2 or taught == 0)
    assert losses[30, 1] < losses[0, 1] / 2
    assert losses[30, 0] == pytest.approx(losses[0, 0], rel=0.1)


def test_experts_outlive_a_stage_and_see_no_cells(task: Task) -> None:
    known: dict[int, Tensor] = {}
    for _, memory, _ in episodes(task, small("mtt"), 6):
        assert memory.task is task
        assert all(memory.own.known[number] is path for number, path in known.items())
        known = dict(memory.own.known)
    assert set(known) <= {0, 1}


def test_the_saved_set_is_read_from_its_beginning(tiny: Splits, tmp_path: Path) -> None:
    how: dict[str, Any] = {"network": NETWORK, "progress": False, "episodes": 4, "taught": 1}
    base = "idc:inner=2,network_images=64,real_batch=8"
    made = condense(tiny, "pdd", ipc=2, factor=2, base=base, stages=2, out=tmp_path, **how)
    small, path = prune(made, rule="first", ipc=1), tmp_path / "condensed.safetensors"
    assert torch.equal(small.cells, made.cells.unflatten(0, (3, 8))[:, :4].flatten(0, 1))
    assert torch.equal(yoco.load(path, ipc=1).cells, small.cells)
    assert yoco.load(path).order == "pdd"
