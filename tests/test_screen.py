"""Bars are drawn on terminals and in notebooks, and not into files."""

import sys
from types import ModuleType

import pytest
from tqdm import tqdm

from yoco.screen import hidden


def test_bars_are_drawn_on_terminals_and_in_notebooks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    list(tqdm(range(2), disable=hidden()))
    assert capsys.readouterr().err == ""
    monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    list(tqdm(range(2), disable=hidden(False)))
    assert capsys.readouterr().err == ""
    list(tqdm(range(2), disable=hidden()))
    assert "2/2" in capsys.readouterr().err


@pytest.mark.parametrize("notebook", [False, True])
def test_no_bar_is_drawn_on_a_stderr_that_is_closed(notebook: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    if notebook:
        monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    monkeypatch.setattr(sys, "stderr", None)
    assert list(tqdm(range(2), disable=hidden())) == [0, 1]
