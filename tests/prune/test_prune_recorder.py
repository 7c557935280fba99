"""The recorder: every sample once in every epoch, in any order and any batches."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from yoco.prune import Recorder, measure
from yoco.prune.dynamics import NAMES
from yoco.prune.recorder import Visits
from yoco.prune.running import Running
from yoco.prune.scores import el2n
from yoco.prune.windows import dual

LABELS = torch.tensor([2, 0, 1, 1, 0, 2, 0])
MAKERS = {"recorder": Recorder, "running": lambda n, **how: Running(n, ["aum"], **how)}
both = pytest.mark.parametrize("where", MAKERS)


def logits(epoch: int) -> Tensor:
    return torch.randn(7, 3, generator=torch.Generator().manual_seed(epoch))


def log(recorder: Visits, epoch: int, *batches: list[int]) -> None:
    for batch in batches:
        recorder.log(epoch, torch.tensor(batch, dtype=torch.long), logits(epoch)[batch], LABELS[batch])


def finish(recorder: Any) -> object:
    return recorder.dynamics() if isinstance(recorder, Recorder) else recorder.score("aum")


def test_batches_and_their_order_do_not_matter() -> None:
    whole, parts = Recorder(7), Recorder(7)
    for epoch in range(3):
        log(whole, epoch, list(range(7)))
        log(parts, epoch, [6, 2, 0], [1, 5], [], [4, 3])
    one, other = whole.dynamics(mode="own"), parts.dynamics()
    assert one.meta == {"mode": "own", "epochs": 3, "seen": {"least": 1, "most": 1}}
    for name in NAMES:
        torch.testing.assert_close(getattr(one, name), getattr(other, name))
    torch.testing.assert_close(one.error[2], measure(logits(2), LABELS)["error"])


def test_arrays_lists_and_any_whole_numbers_are_taken() -> None:
    expected = Recorder(7)
    log(expected, 0, list(range(7)))
    for indices, labels in (
        (np.arange(7, dtype=np.int32), LABELS.numpy().astype(np.uint8)),
        (list(range(7)), LABELS.tolist()),
        (torch.arange(7, dtype=torch.uint8), LABELS.int()),
    ):
        for z in (logits(0), logits(0).numpy(), logits(0).requires_grad_()):
            recorder = Recorder(7)
            recorder.log(0, indices, z, labels)
            assert torch.equal(recorder.dynamics().error, expected.dynamics().error)


@both
def test_a_missing_sample_is_an_error_at_the_turn_and_at_the_end(where: str) -> None:
    recorder = MAKERS[where](7)
    log(recorder, 0, [0, 1, 2, 3, 5, 6])
    message = rf"^{where}: epoch 0 must show all 7 samples, got 6; sample 4 is missing$"
    with pytest.raises(ValueError, match=message):
        finish(recorder)
    with pytest.raises(ValueError, match=message):
        log(recorder, 1, [0])
    log(recorder, 0, [4])
    finish(recorder)


@both
@pytest.mark.parametrize("batches", [([0, 1, 2, 3, 4, 5, 6], [3]), ([0, 3, 1, 3],)])
def test_a_repeated_sample_is_an_error(batches: tuple[list[int], ...], where: str) -> None:
    with pytest.raises(ValueError, match=rf"^{where}: epoch 0 must show each sample once, got sample 3 again$"):
        log(MAKERS[where](7), 0, *batches)


def test_the_first_visit_can_be_kept_and_repeats_are_counted() -> None:
    recorder = Recorder(7, repeats="first", shift=True)
    for epoch in range(2):
        log(recorder, epoch, [0, 1, 2, 3])
        again = torch.cat([logits(epoch)[4:], torch.zeros(2, 3)])
        recorder.log(epoch, torch.tensor([4, 5, 6, 6, 0]), again, LABELS[[4, 5, 6, 6, 0]])
        log(recorder, epoch, [2])
    dynamics = recorder.dynamics()
    assert dynamics.epochs == 2
    torch.testing.assert_close(dynamics.error[0], measure(logits(0), LABELS)["error"])
    torch.testing.assert_close(dynamics.shift[1], literal_shift(1))
    assert dynamics.meta["seen"] == {"least": 1, "most": 2}


def literal_shift(epoch: int) -> Tensor:
    found = []
    for now, before in zip(logits(epoch).double().numpy(), logits(epoch - 1).double().numpy(), strict=True):
        p, q = (np.exp(z) / np.exp(z).sum() for z in (now, before))
        found.append(sum(abs(a * (np.log(a) - np.log(b))) for a, b in zip(p, q, strict=True)))
    return torch.tensor(found, dtype=torch.float32)


def test_the_shift_is_its_formula_in_any_batches() -> None:
    recorder = Recorder(7, shift=True)
    for epoch in range(4):
        log(recorder, epoch, [6, 2, 0], [1, 5], [4, 3])
    shift = recorder.dynamics().shift
    assert shift is not None
    assert shift[0].tolist() == [0] * 7
    for epoch in range(1, 4):
        torch.testing.assert_close(shift[epoch], literal_shift(epoch))
    assert Recorder(7).shift is False


def test_the_shift_of_sure_samples_keeps_its_digits_and_of_still_ones_is_zero() -> None:
    recorder = Recorder(2, shift=True)
    for epoch, gap in enumerate((20.0, 21.0)):
        recorder.log(epoch, [0, 1], torch.tensor([[gap, 0.0], [-7.0, 3.0]]), [0, 1])
    found = recorder.dynamics().shift
    wrong = [np.exp(-gap) / (1 + np.exp(-gap)) for gap in (20.0, 21.0)]
    expected = np.exp(-21.0) + (wrong[0] - wrong[1])
    assert float(found[1, 0]) == pytest.approx(expected, rel=1e-4)
    assert float(found[1, 1]) == 0


@both
def test_bad_use_is_one_line(where: str) -> None:
    recorder = MAKERS[where](7)
    with pytest.raises(ValueError, match=rf"^{where}: at least one epoch must be logged, got none$"):
        finish(recorder)
    with pytest.raises(ValueError, match=rf"^{where}: epoch must be 0, got 1$"):
        log(recorder, 1, [0])
    log(recorder, 0, list(range(7)))
    with pytest.raises(ValueError, match=rf"^{where}: epoch must be 0 or 1, got 2$"):
        log(recorder, 2, [0])
    with pytest.raises(ValueError, match=rf"^{where}: indices must be in 0..6, got 7..7$"):
        recorder.log(1, [7], torch.zeros(1, 3), [0])
    with pytest.raises(ValueError, match=rf"^{where}: indices must be in 0..6, got -1..-1$"):
        recorder.log(1, [-1], torch.zeros(1, 3), [0])
    with pytest.raises(ValueError, match=rf"^{where}: indices must be whole numbers \[1\], got int64 \[2\]$"):
        recorder.log(1, torch.tensor([1, 2]), torch.zeros(1, 3), torch.tensor([0]))
    with pytest.raises(ValueError, match=rf"^{where}: indices must be whole numbers \[1\], got bool \[1\]$"):
        recorder.log(1, torch.tensor([True]), torch.zeros(1, 3), torch.tensor([0]))
    with pytest.raises(ValueError, match=rf"^{where}: logits must have 3 classes as before, got 4$"):
        recorder.log(1, [0], torch.zeros(1, 4), [0])
    with pytest.raises(ValueError, match=rf"^{where}: n must be at least 1, got 0$"):
        MAKERS[where](0)
    with pytest.raises(ValueError, match=rf"^{where}: repeats must be refuse or first, got 'last'$"):
        MAKERS[where](1, repeats="last")


@both
def test_a_bad_batch_changes_nothing(where: str) -> None:
    recorder = MAKERS[where](7)
    log(recorder, 0, [0, 1, 2])
    with pytest.raises(ValueError, match=r"^dynamics: labels must be in 0..2, got 3..3$"):
        recorder.log(0, [3], torch.zeros(1, 3), [3])
    log(recorder, 0, [3, 4, 5, 6])
    finish(recorder)


@both
def test_numbers_beyond_float32_stop_the_recording(where: str) -> None:
    recorder = MAKERS[where](1)
    with pytest.raises(ValueError, match=rf"^{where}: log_p of epoch 0 must be finite in float32, got nan or infinity"):
        recorder.log(0, [0], torch.tensor([[3e38, -3e38]]), [1])
    with pytest.raises(ValueError, match=rf"^{where}: epoch 0 is missing because of an earlier error; start again$"):
        recorder.log(1, [0], torch.zeros(1, 2), [0])


def test_what_is_done_to_scores_leaves_the_dynamics_alone() -> None:
    recorder = Recorder(4)
    for epoch in range(6):
        recorder.log(epoch, torch.arange(4), torch.eye(4) * epoch, torch.arange(4))
    made = recorder.dynamics()
    before = made.error.clone()
    el2n(made, epochs=5).zero_()
    assert torch.equal(made.error, before)
    assert torch.equal(dual(made, epochs=6, window=np.int64(4)), dual(made, epochs=6, window=4))  # type: ignore[arg-type]
