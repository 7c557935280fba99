"""The recorder: every sample once in every epoch, in any order and any batches."""

import pytest
import torch
from torch import Tensor

from yoco.prune import Recorder, measure
from yoco.prune.dynamics import NAMES

LABELS = torch.tensor([2, 0, 1, 1, 0, 2, 0])


def logits(epoch: int) -> Tensor:
    return torch.randn(7, 3, generator=torch.Generator().manual_seed(epoch))


def log(recorder: Recorder, epoch: int, *batches: list[int]) -> None:
    for batch in batches:
        recorder.log(epoch, torch.tensor(batch), logits(epoch)[batch], LABELS[batch])


def test_batches_and_their_order_do_not_matter() -> None:
    whole, parts = Recorder(7), Recorder(7)
    for epoch in range(3):
        log(whole, epoch, list(range(7)))
        log(parts, epoch, [6, 2, 0], [1, 5], [4, 3])
    one, other = whole.dynamics(mode="own"), parts.dynamics()
    assert one.meta == {"mode": "own", "epochs": 3, "seen": {"least": 1, "most": 1}}
    for name in NAMES:
        torch.testing.assert_close(getattr(one, name), getattr(other, name))
    torch.testing.assert_close(one.error[2], measure(logits(2), LABELS)["error"])


def test_a_missing_sample_is_an_error_at_the_turn_and_at_the_end() -> None:
    recorder = Recorder(7)
    log(recorder, 0, [0, 1, 2, 3, 5, 6])
    message = r"^recorder: epoch 0 must show all 7 samples, got 6; sample 4 is missing$"
    with pytest.raises(ValueError, match=message):
        recorder.dynamics()
    with pytest.raises(ValueError, match=message):
        log(recorder, 1, [0])


@pytest.mark.parametrize("batches", [([0, 1, 2, 3, 4, 5, 6], [3]), ([0, 3, 1, 3],)])
def test_a_repeated_sample_is_an_error(batches: tuple[list[int], ...]) -> None:
    with pytest.raises(ValueError, match=r"^recorder: epoch 0 must show each sample once, got sample 3 again$"):
        log(Recorder(7), 0, *batches)


def test_the_first_visit_can_be_kept_and_repeats_are_counted() -> None:
    recorder = Recorder(7, repeats="first")
    log(recorder, 0, [0, 1, 2, 3])
    recorder.log(
        0, torch.tensor([4, 5, 6, 6, 0]), torch.cat([logits(0)[4:], torch.zeros(2, 3)]), LABELS[[4, 5, 6, 6, 0]]
    )
    dynamics = recorder.dynamics()
    torch.testing.assert_close(dynamics.error[0], measure(logits(0), LABELS)["error"])
    assert dynamics.meta["seen"] == {"least": 1, "most": 2}


def test_bad_use_is_one_line() -> None:
    recorder = Recorder(7)
    with pytest.raises(ValueError, match=r"^recorder: at least one epoch must be logged, got none$"):
        recorder.dynamics()
    with pytest.raises(ValueError, match=r"^recorder: epoch must be 0, got 1$"):
        log(recorder, 1, [0])
    log(recorder, 0, list(range(7)))
    with pytest.raises(ValueError, match=r"^recorder: epoch must be 0 or 1, got 2$"):
        log(recorder, 2, [0])
    with pytest.raises(ValueError, match=r"^recorder: indices must be in 0..6, got 7..7$"):
        recorder.log(1, torch.tensor([7]), torch.zeros(1, 3), torch.tensor([0]))
    with pytest.raises(ValueError, match=r"^recorder: indices must be int64 \[1\], got int64 \[2\]$"):
        recorder.log(1, torch.tensor([1, 2]), torch.zeros(1, 3), torch.tensor([0]))
    with pytest.raises(ValueError, match=r"^recorder: n must be at least 1, got 0$"):
        Recorder(0)
    with pytest.raises(ValueError, match=r"^recorder: repeats must be refuse or first, got 'last'$"):
        Recorder(1, repeats="last")  # type: ignore[arg-type]
