"""The command line: find the command, read its options, and turn every failure into one line and an exit status."""

import contextlib
import io
import os
import re
import sys
import warnings
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from yoco import __version__
from yoco.commands import COMMANDS
from yoco.registry import resolve, unknown

USAGE, INTERRUPTED = 2, 130


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command; exit with 0, with 2 after a user's mistake or a failing disk, with 130 when interrupted.

    `module:Class` can name a module in the working folder, unless an installed module has the same name.
    """
    if "" not in sys.path:
        sys.path.append("")
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed by the caller: what is said there goes nowhere
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    warnings.formatwarning = lambda message, *_: f"yoco: {message}\n"  # type: ignore[assignment]
    sys.exit(run(sys.argv[1:] if argv is None else list(argv)))


def run(argv: list[str]) -> int:
    """The exit status of a command line."""
    try:
        code = _done(argv)
        print(end="", flush=True)
        return code
    except KeyboardInterrupt as stop:
        print(f"yoco: {stop}" if str(stop) else "yoco: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # what is left to say has no reader, nor may the end of Python try again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError) as error:
        print(f"yoco: {one_line(error)}", file=sys.stderr)
        return USAGE
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        print(f"yoco: not enough memory: {one_line(error)}".removesuffix(": "), file=sys.stderr)
        return USAGE


def _done(argv: list[str]) -> int:
    """The exit status of a command line, if nothing fails."""
    if not argv or argv[0] in ("-h", "--help"):
        print(overview())
    elif argv[0] == "--version":
        print(f"yoco {__version__}")
    else:
        if argv[0] not in COMMANDS:
            raise unknown("command", argv[0], COMMANDS)
        command: Any = resolve("command", {name: each.target for name, each in COMMANDS.items()}, argv[0])
        return int(command(argv[1:]) or 0)
    return 0


def lacks_memory(error: BaseException) -> bool:
    """Whether NumPy, a GPU or the allocator of a CPU had no more."""
    return isinstance(error, MemoryError) or "out of memory" in str(error) or "can't allocate memory" in str(error)


def overview() -> str:
    """The help of the program."""
    lines = [f"  {name:<10} {each.does}" for name, each in COMMANDS.items()]
    head = "usage: yoco COMMAND [options]\n\nCondense an image data set once and get any smaller size of it."
    tail = "`yoco COMMAND --help` lists the options of a command, each with its default and unit."
    return "\n".join([head, "", "commands:", *lines, "", tail])


def one_line(error: BaseException) -> str:
    """What an exception says, in one line; a failing file is named."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    return " ".join(str(error).split())


def parse(form: Any, argv: Sequence[str], command: str, **options: Any) -> Any:
    """Parse words into the options of a dataclass (tyro); a mistake is reported in one line.

    command: the beginning of that line: the command, and after a colon the file of words not from the command line.

    Raises:
        ValueError: the words do not fit the form.
        SystemExit: after --help has been printed.
    """
    import tyro

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            found = tyro.cli(form, args=list(argv), prog=f"yoco {command.partition(':')[0]}", **options)
    except SystemExit as stop:
        if stop.code:
            raise ValueError(f"{command}: {_unboxed(said.getvalue())}") from None
        print(end="", flush=True)
        raise
    _check_once(found, argv, command)
    return _at_home(found)


def _check_once(form: Any, argv: Sequence[str], command: str) -> None:
    """Let no option of several words stand twice, as the last would take the place of the others."""
    flags = [word.partition("=")[0].replace("_", "-") for word in argv if word.startswith("--")]
    for f in (f for f in fields(form) if f.init):
        flag = f"--{f.name}".replace("_", "-")
        if isinstance(getattr(form, f.name), tuple | dict) and (count := flags.count(flag)) > 1:
            raise ValueError(f"{command}: {flag} must be given once, followed by all its values, got it {count} times")


def _at_home(form: Any) -> Any:
    """The options with the home folder in place of ~ ahead of paths, which shells leave alone in `--out=~/x`."""

    def home(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(home, value))
        return Path(os.path.expanduser(value)) if isinstance(value, Path) else value

    found = {f.name: getattr(form, f.name) for f in fields(form) if f.init}
    moved = {name: home(value) for name, value in found.items() if "~" in str(value)}
    return replace(form, **moved) if moved else form


def _unboxed(text: str) -> str:
    """What tyro's framed message says, without the frame and without the help that it repeats."""
    plain = re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]+|-{4,}", " ", text)
    said, _, near = plain.partition("Perhaps you meant:")
    said = re.split(r"For full helptext|Argument helptext", said)[0]
    said = re.sub(r"^\s*(Unrecognized options|Required options|Invalid choice)\b(?!:)", " ", said)
    for title in ("Parsing error", "Value error", "Error parsing", "Condense:"):
        said = said.replace(title, "")
    meant = re.findall(r"--[\w-]+", near)[:1]
    said = " ".join(said.split())
    for pattern, plainly in _PLAINLY:
        said = re.sub(pattern, plainly, said)
    return said + "".join(f"; did you mean {word}?" for word in meant)


def _must_be(found: re.Match[str]) -> str:
    """Choices in order, kinds without brackets."""
    named = sorted(re.findall(r"'([^']*)'", found["kind"]))
    kind = f"one of {', '.join(name for name in named if name != 'None')}" if named else found["kind"].strip("{}[] ")
    return f"{found['option']} must be {kind.replace('[', '').replace(']', '')}, got {found['got']}"


_PLAINLY: tuple[tuple[str, Any], ...] = (
    (r"(?P<option>--\S+): no type matching \{None\}\|(?P<kind>.+?) could be \w+ from \[(?P<got>.*?)\].*", _must_be),
    (r"invalid choice (?P<got>'.*?') for argument '(?P<option>.*?)'\. Expected one of \((?P<kind>.*?)\)\.?", _must_be),
    (r": invalid literal for int\(\) with base 10: ('.*?')", r" must be INT, got \1"),
    (r": could not convert string to float: ('.*?')", r" must be FLOAT, got \1"),
)
