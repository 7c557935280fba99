"""How a command starts: options of several words stand once, modules beside it come last, it may say nothing."""

import inspect
import re
import sys
from collections.abc import Callable

import pytest

from yoco.cli import main, parse
from yoco.commands.condense import CondenseOptions
from yoco.commands.evaluate import EvaluateOptions
from yoco.condense import METHODS


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        (["evaluate", "set.safetensors", "--network", "mlp", "--network", "lenet", "convnet"], "--network"),
        (["evaluate", "set.safetensors", "--baselines=random", "--baselines", "full"], "--baselines"),
        (["sparsify", "--sparsity", "0.5", "--settings", "swaps=1", "--settings", "span=2"], "--settings"),
        (["prune", "--out", "x.npz", "--shares", "0", "3", "--shares", "1", "3"], "--shares"),
    ],
)
def test_an_option_of_several_words_stands_once(words: list[str], flag: str, fails: Callable[..., str]) -> None:
    rule = f"{words[0]}: {flag} must be given once, followed by all its values"
    assert fails(*words) == f"yoco: {rule}, got it 2 times\n"


def test_of_an_option_of_one_word_the_last_holds() -> None:
    options = parse(CondenseOptions, ["--network", "mlp", "--network", "lenet"], "condense")
    assert options.network == "lenet"
    options = parse(EvaluateOptions, ["a", "--seeds", "1", "--network", "mlp", "lenet", "--seeds", "3"], "evaluate")
    assert (options.seeds, options.network) == (3, ("mlp", "lenet"))


def test_what_is_installed_comes_before_the_working_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", ["installed"])
    for _ in range(2):
        with pytest.raises(SystemExit):
            main(["--version"])
        assert sys.path == ["installed", ""]


def test_closed_streams_are_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    monkeypatch.setattr("sys.stderr", None)
    with pytest.raises(SystemExit) as done:
        main(["condens"])
    assert done.value.code == 2
    for stream in (sys.stdout, sys.stderr):
        assert stream.writable()
        stream.close()


def test_the_help_of_condense_names_all_methods() -> None:
    text = inspect.getsource(CondenseOptions)
    (words,) = re.findall(r'method: str = "idc"\n    """(.*?), or module', text, flags=re.DOTALL)
    assert sorted(re.split(r",\s+", words)) == sorted(METHODS)
