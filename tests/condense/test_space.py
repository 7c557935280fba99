"""ZCA as a pixel space: condensed, saved, loaded, pruned, relabelled and evaluated; and what must not be mixed."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import yoco
from yoco.condense import Interrupted, Progress, condense, estimate, relabel, settings_of
from yoco.condense.experts import record
from yoco.condense.method import Task
from yoco.condense.methods.datm import Labelled
from yoco.condense.methods.mtt import MTT
from yoco.condense.synthetic import Synthetic, start
from yoco.data import Source, Splits, Whitening
from yoco.data.whitened import in_space
from yoco.evaluate import trials
from yoco.prune import draw_references, observe
from yoco.rng import Rng
from yoco.sparsify.study import Study
from yoco.train import Recipe

NETWORK = "convnet:width=4,depth=2"
FEW: dict[str, Any] = {"count": 2, "expert_epochs": 3, "max_start": 2, "student_steps": 2}
TOYS: dict[str, dict[str, Any]] = {
    "dm": {"episodes": 4, "real_batch": 8},
    "mtt": {"episodes": 4, **FEW},
    "datm": {"episodes": 4, "threshold": 9.0, **FEW},
}


def made(data: Any, method: str, **changes: Any) -> yoco.CondensedSet:
    options = {"ipc": 2, "network": NETWORK, "progress": False, "device": "cpu", "space": "zca", **TOYS[method]}
    return condense(data, method, **{**options, **changes})


def coloured(count: int, seed: int) -> Source:
    """Random colour images of two classes, one of them redder."""
    generator, labels = torch.Generator().manual_seed(seed), torch.arange(count) % 2
    images = torch.randint(0, 156, (count, 3, 8, 8), generator=generator, dtype=torch.uint8)
    images[labels == 1, 0] += 100
    return Source("coloured", images, labels, ("a", "b"))


@pytest.fixture
def colours() -> Splits:
    train, test = coloured(40, 0), coloured(20, 1)
    return Splits(train, replace(test, mean=train.mean, std=train.std))


@pytest.mark.parametrize("method", TOYS)
@pytest.mark.parametrize("data", ["tiny", "colours"])
def test_from_real_data_to_an_accuracy(method: str, data: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    splits: Splits = request.getfixturevalue(data)
    found = made(splits, method, out=tmp_path)
    loaded = yoco.load(tmp_path / "condensed.safetensors")
    assert torch.equal(loaded.cells, found.cells)
    assert (loaded.space, {*loaded.mean}, {*loaded.std}) == ("zca", {0.0}, {1.0})
    assert loaded.whitening == {"eps": 0.1, "checksum": splits.train.checksum}
    assert loaded.source["checksum"] == splits.train.checksum
    assert float(loaded.cells.min()) < -0.1
    small = yoco.prune(loaded, ipc=1, rule="random")
    result = yoco.evaluate(small, splits, epochs=2, seeds=1, networks=NETWORK, progress=False, device="cpu")
    assert result.same_data
    assert result.checksum == splits.train.checksum


@pytest.mark.parametrize("method", TOYS)
def test_a_stopped_run_goes_on_to_the_same_bits(method: str, tiny: Splits, tmp_path: Path) -> None:
    whole = made(tiny, method)

    def interrupt(progress: Progress) -> None:
        if progress.episode == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        made(tiny, method, out=tmp_path, callbacks=(interrupt,))
    with pytest.raises(ValueError, match="holds a run with space=zca, got None; choose another folder"):
        made(tiny, method, out=tmp_path, space="unit")
    assert torch.equal(made(tiny, method, out=tmp_path).cells, whole.cells)


def test_evaluation_whitens_both_halves_by_the_training_half(tiny: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[trials.Plan] = []

    def run(plan: trials.Plan, jobs: int, progress: bool, found: dict[int, trials.Measured]) -> None:
        plans.append(plan)
        found |= dict.fromkeys(range(len(plan.trials)), trials.Measured(((1, 50.0),)))

    monkeypatch.setattr("yoco.evaluate.run", run)
    found = made(tiny, "dm")
    yoco.evaluate(found, tiny, seeds=1, networks=NETWORK, baselines=("random", "full"), progress=False)
    (plan,) = plans
    fit, every = Whitening.fit(tiny.train), torch.arange(120)
    for half, real in zip(plan.splits, tiny, strict=True):
        assert torch.equal(half.batch(every).images, fit(real).white)
    for trial in plan.trials:
        images = plan.training(trial).batch(torch.arange(3)).images
        assert torch.equal(plan.normalise(images), images)
        assert float(images.min()) < -0.1
    assert [trial.name for trial in plan.trials] == ["condensed", "random", "full"]


@pytest.mark.parametrize(
    ("how", "space"),
    [({}, "unit"), ({"baselines": ("random",)}, "zca"), ({"protocol": "rded", "teacher_epochs": 1}, "zca")],
)
def test_a_training_half_that_nothing_learns_stays_plain(
    tiny: Splits, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any], space: str
) -> None:
    plans: list[trials.Plan] = []

    def run(plan: trials.Plan, jobs: int, progress: bool, found: dict[int, trials.Measured]) -> None:
        plans.append(plan)
        found |= dict.fromkeys(range(len(plan.trials)), trials.Measured(((1, 50.0),)))

    monkeypatch.setattr("yoco.evaluate.run", run)
    said = yoco.evaluate(made(tiny, "dm"), tiny, seeds=1, networks=NETWORK, epochs=1, progress=False, **how)
    (plan,) = plans
    assert [half.space for half in plan.splits] == [space, "zca"]
    images = plan.splits.test.batch(torch.arange(120)).images
    assert torch.equal(images, Whitening.fit(tiny.train)(tiny.test).white)
    assert torch.equal(plan.normalise(images), images)
    assert (said.checksum, said.test_checksum) == (tiny.train.checksum, tiny.test.checksum)


def test_noise_is_standard_normal_and_real_starts_are_whitened(tiny: Splits) -> None:
    white = in_space("zca", tiny.train)
    noise = start("noise", white, 30, 2, Rng(0)).cells.detach()
    assert abs(float(noise.mean())) < 0.03
    assert abs(float(noise.std()) - 1) < 0.03
    assert float(noise.min()) < -2
    for kind in ("real", "mix", "k-means"):
        for row in start(kind, white, 2, 1, Rng(0)).cells.detach():
            assert (white.white == row).flatten(1).all(1).any(), kind


def test_only_unit_pixels_are_clamped() -> None:
    cells, beside = torch.full((2, 1, 2, 2), -3.0), {"pixels": torch.full((2, 1, 2, 2), 3.0)}
    for kind, spaces in ((Synthetic, ("zca", "unit")), (Labelled, ("zca", "unit"))):
        for space in spaces:
            synthetic = kind(cells, 2, 1, (2, 2), beside)
            synthetic.space = space
            synthetic.clamp()
            learned = synthetic.beside["pixels"] if kind is Labelled else synthetic.cells
            assert bool((learned.abs() == 3).all()) == (space == "zca")


def test_a_dry_run_measures_the_same_space(tiny: Splits) -> None:
    sample = estimate(tiny, "dm", ipc=2, network=NETWORK, space="zca", device="cpu", **TOYS["dm"]).sample
    assert sample.space == "zca"
    assert float(sample.cells.min()) < -0.1


def test_experts_of_one_space_are_refused_in_the_other(tiny: Splits, tmp_path: Path) -> None:
    method: Any = settings_of("mtt", "digits", 1, None, **FEW)
    recipe = method.recipe()
    for space, other in (("unit", "zca"), ("zca", "unit")):
        folder = tmp_path / space
        record(Task(in_space(space, tiny.train), 1, NETWORK), recipe, folder, 2)
        assert made(tiny, "mtt", space=space, experts=str(folder)).space == space
        with pytest.raises(
            ValueError, match=rf"^experts: .*expert-\d.safetensors must be trained with space {other}, got {space}$"
        ):
            made(tiny, "mtt", space=other, experts=str(folder))


def test_experts_that_do_not_say_their_space_are_of_plain_images(
    tiny: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, task = MTT(**FEW).recipe(), Task(tiny.train, 1, NETWORK)
    with monkeypatch.context() as patch:
        about = "yoco.condense.experts.Experts._about"
        old = {name: value for name, value in record(task, recipe, tmp_path, 1)._about().items() if name != "space"}
        patch.setattr(about, lambda self: old)
        (tmp_path / "expert-0.safetensors").unlink()
        weights = record(task, recipe, tmp_path, 1).trajectory(0)
    assert torch.equal(record(task, recipe, tmp_path, 1).trajectory(0), weights)
    with pytest.raises(ValueError, match="must be trained with space zca, got unit"):
        record(Task(in_space("zca", tiny.train), 1, NETWORK), recipe, tmp_path, 1).trajectory(0)


def test_a_teacher_learns_in_the_space_of_the_set(tiny: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    spaces: list[str] = []
    whole = Task.network

    def network(self: Task, rng: Rng) -> Any:
        spaces.append(self.real.space)
        return whole(self, rng)

    found = made(tiny, "dm", labels="teacher", teacher_epochs=1)
    monkeypatch.setattr(Task, "network", network)
    again = relabel(found, tiny, epochs=1, network=NETWORK, progress=False, device="cpu")
    assert spaces == ["zca"]
    torch.testing.assert_close(again.soft_labels, found.soft_labels)
    with pytest.raises(ValueError, match="relabel: the set was whitened by a fit on training images with checksum"):
        relabel(found, Splits(tiny.test, tiny.train), progress=False)


def test_references_are_whitened_as_the_set_was(tiny: Splits) -> None:
    found, fit = made(tiny, "dm"), Whitening.fit(tiny.train)
    drawn = draw_references(found, tiny.train, Rng(0))
    plain = draw_references(replace(found, space="unbounded"), tiny.train, Rng(0))
    assert (drawn.space, plain.space) == ("zca", "unit")
    torch.testing.assert_close(drawn.batch(torch.arange(9)).images, fit(plain).white[:9])
    with pytest.raises(ValueError, match="reference: the set was whitened by a fit on training images with checksum"):
        draw_references(found, tiny.test, Rng(0))
    with pytest.raises(ValueError, match="images must not be whitened, got whitened ones"):
        draw_references(fit(tiny.train), tiny.train, Rng(0))


def test_networks_are_shown_references_in_the_space_of_the_set(tiny: Splits) -> None:
    found, fit = made(tiny, "dm"), Whitening.fit(tiny.train)
    how: dict[str, Any] = {"epochs": 1, "recipe": Recipe(epochs=1), "network": NETWORK, "snapshot": True}
    plain, white = (
        observe(found, rng=Rng(0), reference=each, **how).snapshot for each in (tiny.train, fit(tiny.train))
    )
    assert plain is not None
    assert white is not None
    torch.testing.assert_close(plain.reference, white.reference)
    with pytest.raises(ValueError, match="reference: the set was whitened by a fit on training images with checksum"):
        observe(found, rng=Rng(0), reference=tiny.test, **how)


@pytest.mark.parametrize("role", ["calibrate", "retrain_on"])
def test_whitened_cells_do_not_calibrate_networks_of_plain_images(tiny: Splits, role: str) -> None:
    with pytest.raises(ValueError, match=f"sparsify: {role} must have images that are not whitened, got whitened ones"):
        Study(data=tiny, sparsity=0.5, retrain=1.0, **{role: made(tiny, "dm")})  # type: ignore[arg-type]


def test_a_converted_set_of_mtt_is_evaluated_by_its_papers_fit(colours: Splits, tmp_path: Path) -> None:
    white = in_space("zca", colours.train)
    torch.save(white.batch(torch.arange(40)).images, tmp_path / "images_best.pt")
    torch.save(colours.train.labels, tmp_path / "labels_best.pt")
    found = replace(yoco.convert(tmp_path / "images_best.pt", tmp_path / "set.npz"), classes=("a", "b"))
    again = yoco.convert(tmp_path / "set.npz", tmp_path / "set.safetensors")
    assert again.whitening == {"eps": 0.1}
    how: dict[str, Any] = {"epochs": 600, "seeds": 1, "networks": "mlp:width=32", "protocol": "dc", "progress": False}
    assert yoco.evaluate(found, colours, **how).to_dict()["results"][0]["last_mean"] > 90
    unsaid = replace(found, method="kip", config={})
    with pytest.raises(
        ValueError, match="evaluate: a set in ZCA space must record how it was whitened, got one that does"
    ):
        yoco.evaluate(unsaid, colours, **how)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"space": "rgb"}, "condense: space must be unit or zca, got 'rgb'"),
        ({"factor": 3}, "condense: factor must divide the image size, 8x8, with space=zca, got 3"),
    ],
)
def test_what_is_refused(tiny: Splits, changes: dict[str, Any], line: str) -> None:
    for asked in (made, lambda data, method, **how: estimate(data, method, **{"space": "zca", **how})):
        with pytest.raises(ValueError, match=f"^{line}$"):
            asked(tiny, "dm", **changes)


def test_unit_stays_as_it_was(tiny: Splits, tmp_path: Path) -> None:
    found = made(tiny, "dm", space="unit", out=tmp_path)
    assert (found.space, found.whitening) == ("unit", {})
    assert "space" not in (tmp_path / "config.yaml").read_text()
