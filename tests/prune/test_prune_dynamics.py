"""The six numbers against literal NumPy in float64, where float32 is hard, and the file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from yoco.prune import Dynamics, measure
from yoco.prune.dynamics import NAMES


def literal(logits: Tensor, targets: Tensor) -> dict[str, np.ndarray]:
    z = logits.numpy().astype(np.longdouble)
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    out: dict[str, list[float]] = {name: [] for name in NAMES}
    for i in range(len(z)):
        goal = targets[i].numpy() if targets.ndim == 2 else np.eye(z.shape[1])[int(targets[i])]
        y = int(goal.argmax())
        others = [j for j in range(z.shape[1]) if j != y]
        out["correct"].append(z[i, y] > max(z[i, j] for j in others))
        out["log_p"].append(np.log(p[i, y]))
        out["margin"].append(p[i, y] - max(p[i, j] for j in others))
        out["logit_margin"].append(z[i, y] - max(z[i, j] for j in others))
        out["error"].append(np.sqrt(sum((p[i, j] - goal[j]) ** 2 for j in range(z.shape[1]))))
        out["entropy"].append(-sum(q * np.log(q) for q in p[i]))
    return {name: np.array(values, dtype=np.float64) for name, values in out.items()}


def logits(scale: float = 3.0) -> Tensor:
    return scale * torch.randn(40, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("soft", [False, True])
def test_measure_is_the_formulas(soft: bool) -> None:
    targets = torch.arange(40) % 5
    if soft:
        targets = logits(2.0).flip(0).softmax(1)
    found, expected = measure(logits(), targets), literal(logits(), targets)
    assert set(found) == set(NAMES)
    for name in NAMES:
        np.testing.assert_allclose(found[name].double().numpy(), expected[name], rtol=2e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("gap", [5.0, 12.0, 20.0, 40.0, 80.0])
def test_error_of_sure_samples_keeps_its_digits_in_float32(gap: float) -> None:
    z = torch.tensor([[gap, 0.0, -1.0]])
    found = measure(z, torch.tensor([0]))
    others = np.exp([-gap, -gap - 1.0])
    wrong = others.sum() / (1 + others.sum())
    expected = np.sqrt(wrong**2 + ((others / (1 + others.sum())) ** 2).sum())
    assert float(found["error"]) == pytest.approx(expected, rel=1e-5)
    assert float(found["log_p"]) == pytest.approx(-np.log1p(others.sum()), rel=1e-5)


def test_sure_and_wrong_is_finite_and_near_the_largest_error() -> None:
    found = measure(torch.tensor([[500.0, 0.0]]), torch.tensor([1]))
    assert float(found["log_p"]) == -500
    assert float(found["error"]) == pytest.approx(2**0.5)
    assert float(found["entropy"]) == 0


def test_one_hot_soft_labels_are_labels() -> None:
    labels = torch.arange(40) % 5
    hard, soft = (measure(logits(9.0), t) for t in (labels, torch.eye(5)[labels]))
    assert all(torch.equal(hard[name], soft[name]) for name in NAMES)


def test_a_tie_is_wrong_and_half_precision_is_measured_in_float32() -> None:
    assert measure(torch.zeros(2, 3), torch.tensor([0, 2]))["correct"].tolist() == [False, False]
    low = logits().bfloat16()
    labels = torch.arange(40) % 5
    assert torch.equal(measure(low, labels)["error"], measure(low.float(), labels)["error"])


@pytest.mark.parametrize(
    ("z", "targets", "message"),
    [
        (torch.zeros(2, 1), torch.zeros(2).long(), "logits must be [n, classes] of at least 2 classes, got [2, 1]"),
        (
            torch.full((1, 2), torch.nan),
            torch.tensor([0]),
            "logits must be finite, got nan or infinity; lower the step",
        ),
        (torch.zeros(2, 3), torch.tensor([0]), "targets must be whole numbers [2] or float [2, 3], got int64 [1]"),
        (torch.zeros(2, 3), torch.zeros(2), "targets must be whole numbers [2] or float [2, 3], got float32 [2]"),
        (torch.zeros(2, 3), torch.tensor([0, 3]), "labels must be in 0..2, got 0..3"),
        (torch.zeros(2, 3), np.array([-1, 1], np.int8), "labels must be in 0..2, got -1..1"),
        (torch.zeros(2, 3), [True, False], "targets must be whole numbers [2] or float [2, 3], got bool [2]"),
        (np.array([["a", "b"]]), [0], "logits must be numbers, got <U1"),
        (torch.zeros(1, 2), ["cat"], "targets must be numbers, got <U3"),
    ],
)
def test_bad_batches_are_one_line(z: ArrayLike, targets: ArrayLike, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        measure(z, targets)
    assert str(caught.value).startswith(f"dynamics: {message}")


@pytest.mark.parametrize(
    "kind", [np.uint8, np.int8, np.uint16, np.int32, ">i4", np.uint64, list, torch.uint8, torch.int32, torch.int16]
)
def test_labels_of_any_whole_numbers_will_do(kind: Any) -> None:
    labels = torch.arange(40) % 5
    expected = measure(logits(), labels)
    if isinstance(kind, torch.dtype):
        found = measure(logits(), labels.to(kind))
    else:
        found = measure(logits(), labels.tolist() if kind is list else labels.numpy().astype(kind))
    assert all(torch.equal(found[name], expected[name]) for name in NAMES)


def test_large_labels_of_one_byte_do_not_wrap() -> None:
    z = torch.arange(201.0)[None]
    for label in (np.array([200], np.uint8), torch.tensor([200], dtype=torch.uint8)):
        assert measure(z, label)["logit_margin"].tolist() == [1]


def test_arrays_are_measured_as_tensors_are_and_stay_as_they_were() -> None:
    z, labels = logits().numpy()[::-1], (torch.arange(40) % 5).numpy()[::-1]
    z.flags.writeable = False
    found, expected = measure(z, labels), measure(logits().flip(0), (torch.arange(40) % 5).flip(0))
    assert all(torch.equal(found[name], expected[name]) for name in NAMES)
    assert measure(z.astype(np.float16), labels)["error"].dtype == torch.float32
    assert measure(z.astype(np.float64), labels)["error"].dtype == torch.float64
    whole = measure([[3, 1], [0, 2]], [0, 0])
    assert whole["logit_margin"].tolist() == [2, -2]


def test_a_graph_is_not_kept() -> None:
    z = logits().requires_grad_()
    assert not any(value.requires_grad for value in measure(z, torch.arange(40) % 5).values())


def made(**changes: Tensor) -> Dynamics:
    parts = measure(logits(), torch.arange(40) % 5)
    return Dynamics(**{**{name: part.view(4, 10) for name, part in parts.items()}, **changes}, meta={"mode": "clean"})


def test_save_and_load_give_the_same(tmp_path: Path) -> None:
    made().save(tmp_path / "d.safetensors")
    again = Dynamics.load(tmp_path / "d.safetensors")
    assert (again.epochs, len(again), again.meta) == (4, 10, {"mode": "clean"})
    assert again.correct.dtype == torch.bool
    assert all(torch.equal(getattr(again, name), getattr(made(), name)) for name in NAMES)


def test_the_shift_is_saved_where_there_is_one(tmp_path: Path) -> None:
    shift = torch.rand(4, 10, generator=torch.Generator().manual_seed(1))
    made(shift=shift).save(tmp_path / "d.safetensors")
    assert torch.equal(Dynamics.load(tmp_path / "d.safetensors").shift, shift)
    made().save(tmp_path / "d.safetensors")
    assert Dynamics.load(tmp_path / "d.safetensors").shift is None


def test_summaries_of_epochs() -> None:
    one = made()
    assert one.hits.tolist() == [int(row.sum()) for row in one.correct]
    np.testing.assert_allclose(one.loss.numpy(), -one.log_p.numpy().astype(np.float64).mean(1))


def test_dynamics_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^dynamics: error must be \[4, 10\], got \[3, 10\]$"):
        made(error=torch.zeros(3, 10))
    with pytest.raises(ValueError, match=r"^dynamics: entropy must be finite, got nan or infinity$"):
        made(entropy=torch.full((4, 10), torch.nan))
    with pytest.raises(ValueError, match=r"^dynamics: correct must be \[epochs, samples\], got \[10\]$"):
        made(correct=torch.zeros(10).bool())
    with pytest.raises(ValueError, match=r"^dynamics: correct must be bool, got float32$"):
        made(correct=torch.zeros(4, 10))
    with pytest.raises(ValueError, match=r"^dynamics: shift must be \[4, 10\], got \[3, 10\]$"):
        made(shift=torch.zeros(3, 10))
    with pytest.raises(ValueError, match=r"^dynamics: shift must be finite, got nan or infinity$"):
        made(shift=torch.full((4, 10), torch.inf))


def test_a_number_that_is_not_finite_is_found_in_a_late_epoch() -> None:
    bad = torch.zeros(3, 2**19)
    bad[2, -1] = torch.nan
    parts = {name: torch.zeros(3, 2**19) for name in NAMES}
    with pytest.raises(ValueError, match=r"^dynamics: log_p must be finite, got nan or infinity$"):
        Dynamics(**{**parts, "correct": parts["correct"].bool(), "log_p": bad})
