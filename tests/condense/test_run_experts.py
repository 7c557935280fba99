"""Experts in the folder of a run: trained once, and of nobody else."""

from pathlib import Path
from typing import Any

import pytest
import torch

from yoco.condense import Progress, condense
from yoco.condense.experts import Experts
from yoco.data import Splits
from yoco.rng import Rng

NETWORK = "convnet:width=4,depth=2"
TOY: dict[str, Any] = {"episodes": 4, "count": 2, "expert_epochs": 3, "max_start": 2, "student_steps": 2}


@pytest.mark.parametrize(
    ("method", "how"),
    [
        ("mtt", TOY),
        ("datm", {**TOY, "threshold": 100.0}),
        ("pdd", {"episodes": 4, "base": "mtt:" + ",".join(f"{k}={v}" for k, v in TOY.items() if k != "episodes")}),
    ],
)
def test_experts_of_a_run_are_trained_once_however_it_ends(
    tiny: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, how: dict[str, Any]
) -> None:
    recorded: list[int] = []
    plain = Experts._recorded

    def counted(self: Experts, number: int, rng: Rng) -> torch.Tensor:
        recorded.append(number)
        return plain(self, number, rng)

    def kill(progress: Progress) -> None:
        if progress.episode == 3:
            raise RuntimeError("the power is gone")

    asked: dict[str, Any] = {"ipc": 2, "network": NETWORK, "progress": False, **how}
    whole = condense(tiny, method, **asked)
    monkeypatch.setattr(Experts, "_recorded", counted)
    with pytest.raises(RuntimeError, match="power"):
        condense(tiny, method, out=tmp_path, callbacks=(kill,), **asked)
    assert condense(tiny, method, out=tmp_path, **asked).checksum == whole.checksum
    assert len(recorded) == len(set(recorded)) > 0
    assert sorted(path.stem for path in (tmp_path / "experts").iterdir()) == sorted(f"expert-{n}" for n in recorded)


def test_experts_of_a_run_that_failed_are_not_those_of_another(
    tiny: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Experts._recorded

    def once(self: Experts, number: int, rng: Rng) -> torch.Tensor:
        assert not self._found(0)
        return plain(self, number, rng)

    monkeypatch.setattr(Experts, "_recorded", once)
    asked: dict[str, Any] = {"ipc": 1, "network": NETWORK, "progress": False, **TOY, "episodes": 9, "out": tmp_path}
    with pytest.raises(AssertionError):
        condense(tiny, "datm", threshold=100.0, **asked)
    with pytest.raises(ValueError, match=r"holds a run with seed=0, got 1; choose another folder$"):
        condense(tiny, "datm", seed=1, threshold=100.0, **asked)


def test_a_folder_in_which_nothing_was_made_is_free(
    tiny: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {"ipc": 1, "network": NETWORK, "progress": False, **TOY, "out": tmp_path}
    with monkeypatch.context() as patched:
        patched.setattr("yoco.condense.experts.fit", None)
        with pytest.raises(TypeError):
            condense(tiny, "mtt", **asked)
    assert condense(tiny, "mtt", seed=1, **asked).seed == 1
