"""The set of a run that is over: whole, or said not to be."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import yoco
from yoco.data import Splits


@pytest.fixture
def how(tmp_path: Path) -> dict[str, Any]:
    return {"ipc": 1, "episodes": 3, "network": "mlp:width=4", "progress": False, "out": tmp_path}


def test_a_part_whose_checkpoint_is_lost_is_not_the_whole(tiny: Splits, tmp_path: Path, how: dict[str, Any]) -> None:
    assert yoco.condense(tiny, "herding", minutes=1e-9, **how).config["episodes_done"] == 0
    (tmp_path / "checkpoint.pt").unlink()
    wanted = (
        r"condensed\.safetensors must have all 3 episodes, as there is no checkpoint to go on from, got 0; take it as"
    )
    for minutes in (None, 1e-9):
        with pytest.raises(ValueError, match=wanted):
            yoco.condense(tiny, "herding", minutes=minutes, **how)
    (tmp_path / "condensed.safetensors").unlink()
    whole = yoco.condense(tiny, "herding", **how)
    assert whole.config["episodes_done"] == 3
    assert yoco.condense(tiny, "herding", **how).checksum == whole.checksum


def test_a_set_that_does_not_say_how_many_episodes_it_had_is_taken(
    tiny: Splits, tmp_path: Path, how: dict[str, Any]
) -> None:
    whole = yoco.condense(tiny, "herding", **how)
    older = {name: value for name, value in whole.config.items() if name != "episodes_done"}
    replace(whole, config=older).save(tmp_path / "condensed.safetensors")
    assert yoco.condense(tiny, "herding", **how).checksum == whole.checksum
