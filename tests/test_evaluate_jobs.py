"""Trials in processes of their own end with their parent, whatever ends it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import yoco
from yoco.data import Splits

SEEN = """
import os
from pathlib import Path
from yoco.networks import MLP

class Seen(MLP):
    '''Leaves the number of its process.'''
    def __init__(self, channels, classes, size):
        super().__init__(channels, classes, size, width=4)
        Path("seen", str(os.getpid())).touch()
"""


TYPED = """
import os
from pathlib import Path
from yoco.networks import MLP

class Typed(MLP):
    '''Leaves what it computes in.'''
    def __init__(self, channels, classes, size):
        super().__init__(channels, classes, size, width=4)
        Path("seen", f"{os.getpid()}-{self.head.weight.dtype}").touch()
"""


def until(holds: Callable[[], bool], seconds: float = 300.0) -> bool:
    """Wait for something; whether it came."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


@contextmanager
def ctrl_c_heard() -> Iterator[None]:
    """Programs begun in here hear SIGINT, which a shell's job in the background does not, nor what it begins."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def works(process: int) -> bool:
    """Whether a process is there, and more than an entry in a table."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_no_trial_outlives_an_evaluation(tmp_path: Path, sent: int, code: int) -> None:
    (tmp_path / "seen").mkdir()
    (tmp_path / "mine.py").write_text(SEEN)
    yoco.condense("digits", "random", ipc=1, progress=False).save(tmp_path / "set.safetensors")
    words = ["set.safetensors", "--network", "mine:Seen", "--epochs", "1000000", "--seeds", "5", "--jobs", "2"]
    program = [sys.executable, "-m", "yoco", "evaluate", *words]
    with ctrl_c_heard(), subprocess.Popen(program, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as parent:

        def children() -> list[int]:
            return [int(path.name) for path in (tmp_path / "seen").iterdir() if int(path.name) != parent.pid]

        try:
            assert until(lambda: len(children()) == 2 or parent.poll() is not None)
            parent.send_signal(sent)
            said = parent.communicate(timeout=300)[1]
        finally:
            parent.kill()
    assert parent.returncode == code, said
    assert sent != signal.SIGINT or said.splitlines()[-1] == "yoco: interrupted"
    assert len(children()) == 2
    assert until(lambda: not any(map(works, children())), 60)
    assert not (tmp_path / "evaluation-set-idc.json").exists()


def test_processes_compute_in_the_type_of_their_parent_with_their_share_of_its_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Splits
) -> None:
    (tmp_path / "seen").mkdir()
    (tmp_path / "mine_typed.py").write_text(TYPED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    how: dict[str, Any] = {"networks": "mine_typed:Typed", "epochs": 1, "seeds": 2, "jobs": 2, "device": "cpu"}
    threads = torch.get_num_threads()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(4)
    try:
        found = yoco.evaluate(tiny.train, tiny, progress=False, **how)
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(torch.float32)
    assert found.threads == 2
    apart = [path.name for path in (tmp_path / "seen").iterdir() if not path.name.startswith(f"{os.getpid()}-")]
    assert len(apart) >= 1
    assert all(name.endswith("-torch.float64") for name in apart)
