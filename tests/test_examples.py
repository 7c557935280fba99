"""The README's Python runs as it stands, its tables are those of the result files, and experiments run at toy size."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def python(*argv: str, cwd: Path) -> str:
    return subprocess.check_output([sys.executable, "-W", "error", *argv], cwd=cwd, text=True, stderr=subprocess.STDOUT)


def test_the_example_of_the_readme_runs(tmp_path: Path) -> None:
    (code,) = re.findall(r"<!-- example -->\n```python\n(.*?)```", README, flags=re.DOTALL)
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) <= 10
    quick = code.replace("minutes=1", "episodes=2").replace("epochs=100", "epochs=4")
    (tmp_path / "example.py").write_text(quick.replace("ipc=2)", "ipc=2, epochs=3, top=1)"))
    said = python("example.py", cwd=tmp_path)
    assert "torch.Size([16, 1, 8, 8])" in said
    assert (tmp_path / "runs/readme/condensed.safetensors").is_file()


def test_the_tables_of_the_readme_are_up_to_date() -> None:
    python("experiments/readme.py", "--check", cwd=ROOT)


def test_every_result_says_what_made_it() -> None:
    for path in (ROOT / "experiments/results").glob("*.json"):
        content = json.loads(path.read_text())
        assert {"command", "commit", "seconds", "cores", "seeds", "protocol", "checksum"} <= set(content), path.name


@pytest.mark.slow
def test_experiments_run_at_toy_size(tmp_path: Path) -> None:
    common = ["--epochs", "4", "--results", str(tmp_path)]
    idc, yoco = tmp_path / "idc", tmp_path / "yoco"
    steps = ["--data", "digits", "--ipc", "2", "--factor", "1", "--steps", "0", "2", "--out", str(idc)]
    python("experiments/idc_fashion.py", *steps, *common, cwd=ROOT)
    sizes = [
        "--set",
        str(idc / "at-2.safetensors"),
        "--ipc",
        "1",
        "--full",
        "2",
        "--score-epochs",
        "10",
        "--out",
        str(yoco),
    ]
    python("experiments/yoco_fashion.py", *sizes, *common, cwd=ROOT)
    idc_rows = json.loads((tmp_path / "idc_fashion.json").read_text())["rows"]
    assert [row["steps"] for row in idc_rows] == [0, 2]
    yoco_rows = json.loads((tmp_path / "yoco_fashion.json").read_text())["rows"]
    assert {row["rule"] for row in yoco_rows} == {"yoco", "random", "hard"}
    assert all(len(row["last"]) == 2 for row in yoco_rows)
