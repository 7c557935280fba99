"""The arrows of the house, read off the imports; and what no file may do."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(path for package in ("augment", "yoco") for path in (ROOT / package).rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in FILES]

LEVELS = {
    "augment": 0,
    **dict.fromkeys(("rng", "registry", "allocator", "artefact", "disk", "device", "verb", "screen", "whole"), 1),
    **dict.fromkeys(("data", "networks", "cells", "condensed", "run", "kmeans"), 2),
    **dict.fromkeys(("train", "recipes", "protocols", "classes"), 3),
    **dict.fromkeys(("condense", "prune", "evaluate", "sparsify", "convert"), 4),
    "report": 5,
    **dict.fromkeys(("cli", "commands", "__main__"), 6),
}
BELOW = {0: (), 1: (), 2: (1,), 3: (0, 1, 2), 4: (0, 1, 2, 3), 5: (1, 2), 6: (0, 1, 2, 3, 4, 5, 6)}
BESIDE = {
    *(("condensed", "data"), ("condensed", "cells"), ("artefact", "disk"), ("device", "allocator")),
    *(("recipes", "train"), ("protocols", "train"), ("protocols", "recipes")),
}
INSIDE_CONDENSE = {
    "methods": {
        *("method", "synthetic", "matching", "siamese", "experts", "learner", "lamb", "descent"),
        *("alternating", "inner_steps", "selection", "coreset", "crops", "teacher", "trajectories", "growing", "aside"),
    },
    "loop": {"method", "signals", "synthetic"},
}
OUTSIDE_AUGMENT = {"torch", "kornia", "numpy"}
GENERATORLESS = {"rand", "randn", "randint", "randperm", "bernoulli", "multinomial", "normal"}
OWN_GLOBAL_STATE = {"yoco/rng.py", "augment/kornia_op.py"}
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in FILES}


def imports(path: Path, name: str = "") -> Iterator[str]:
    """The modules that a file imports when it runs, as full names; type checking and strings do not count."""
    for node in running(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else str(node.module)


def running(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING`."""
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from running(child)


def part(module: str) -> str:
    """The part of the house a module belongs to: `yoco.condense.loop` -> condense."""
    names = module.split(".")
    return names[1] if names[0] == "yoco" and len(names) > 1 else names[0]


def dotted(node: ast.AST) -> str:
    """`torch.random.seed` of an attribute chain; empty where it is none."""
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return node.id if isinstance(node, ast.Name) else ""


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def wrong_arrows(here: str, targets: list[str]) -> list[str]:
    """The imports of a module that point the wrong way."""
    own, wrong = part(here), []
    for target in targets:
        if target.split(".")[0] not in ("augment", "yoco") or target == "yoco" or part(target) == own:
            continue
        there = part(target)
        if LEVELS[there] not in BELOW[LEVELS[own]] and (own, there) not in BESIDE:
            wrong.append(f"{here} imports {target}")
    return wrong


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_arrows_point_down(path: Path) -> None:
    if path == ROOT / "yoco" / "__init__.py":
        return
    here = module_of(path)
    assert part(here) in LEVELS, f"{here} has no level"
    assert wrong_arrows(here, list(imports(path))) == []


def test_the_check_itself_sees_wrong_arrows() -> None:
    up = wrong_arrows("yoco.rng", ["torch", "yoco.data.source", "augment"])
    assert up == ["yoco.rng imports yoco.data.source", "yoco.rng imports augment"]
    assert wrong_arrows("yoco.prune.rules", ["yoco.condense", "yoco.train", "yoco"]) == [
        "yoco.prune.rules imports yoco.condense"
    ]
    assert wrong_arrows("augment.op", ["yoco"]) == []
    assert wrong_arrows("yoco.evaluate", ["yoco.cli"]) == ["yoco.evaluate imports yoco.cli"]
    assert wrong_arrows("yoco.condensed", ["yoco.data", "yoco.networks"]) == ["yoco.condensed imports yoco.networks"]


@pytest.mark.parametrize("path", sorted((ROOT / "augment").rglob("*.py")), ids=lambda path: path.name)
def test_augment_knows_only_torch_kornia_and_itself(path: Path) -> None:
    roots = {module.split(".")[0] for module in imports(path)} - set(sys.stdlib_module_names)
    assert roots <= OUTSIDE_AUGMENT | {"augment"}


@pytest.mark.parametrize("path", sorted((ROOT / "yoco" / "condense").rglob("*.py")), ids=lambda path: path.name)
def test_inside_condense(path: Path) -> None:
    names = module_of(path).split(".")[2:]
    allowed = INSIDE_CONDENSE.get(names[0] if names else "")
    near = [module.split(".")[2] for module in imports(path) if module.startswith("yoco.condense.")]
    if allowed is not None:
        assert set(near) <= allowed
    if names:
        assert "methods" not in near
        assert "yoco.condense" not in list(imports(path))


def test_the_front_door_is_lazy() -> None:
    own = [module for module in imports(ROOT / "yoco" / "__init__.py") if module not in sys.stdlib_module_names]
    assert own == []


def test_importing_yoco_and_its_command_line_loads_nothing_heavy() -> None:
    code = "import sys, yoco, yoco.cli; print(sorted({'torch', 'numpy', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def offences(name: str, text: str) -> list[str]:
    """What a file does that none may do, line by line."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module]
            if "random" in modules:
                found.append(f"{name}:{node.lineno} imports random")
        if not isinstance(node, ast.Call):
            continue
        called, given = dotted(node.func), {word.arg: word.value for word in node.keywords}
        if called == "torch.load" and ast.unparse(given.get("weights_only", ast.Constant(False))) != "True":
            found.append(f"{name}:{node.lineno} torch.load without weights_only=True")
        if isinstance(node.func, ast.Attribute) and node.func.attr == "cuda":
            found.append(f"{name}:{node.lineno} .cuda()")
        if _touches_global_state(called, set(given)) and name not in OWN_GLOBAL_STATE:
            found.append(f"{name}:{node.lineno} {called}")
    return found


def _touches_global_state(called: str, given: set[str | None]) -> bool:
    head, _, last = called.rpartition(".")
    if head in ("np.random", "numpy.random"):
        return last not in ("default_rng", "Generator")
    seeds = {"torch.manual_seed", "torch.seed", "torch.cuda.manual_seed", "torch.cuda.manual_seed_all"}
    if called in seeds or called.startswith(("torch.random.", "torch.default_generator.")):
        return True
    return head == "torch" and last in GENERATORLESS and "generator" not in given


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_no_file_offends(path: Path) -> None:
    assert offences(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "network.cuda()",
        "torch.manual_seed(0)",
        "np.random.seed(0)",
        "np.random.rand(3)",
        "torch.randn(3)",
        "torch.random.fork_rng()",
        "import random",
    ],
)
def test_the_check_itself_sees_offences(line: str) -> None:
    assert len(offences("yoco/x.py", line)) == 1


@pytest.mark.parametrize(
    "line", ["torch.load(p, weights_only=True)", "torch.Generator().manual_seed(0)", "torch.rand(3, generator=g)"]
)
def test_the_check_itself_lets_good_lines_pass(line: str) -> None:
    assert offences("yoco/x.py", line) == []


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the first statement after the docstring to the last."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") < 300
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert [f"{node.name}: {code_lines(node)}" for node in functions if code_lines(node) >= 40] == []


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_every_public_thing_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    silent = [] if ast.get_docstring(tree) else ["the module"]
    kinds = (ast.ClassDef, ast.FunctionDef)
    top = [node for node in tree.body if isinstance(node, kinds) and not _overload(node)]
    inner = [node for owner in top if isinstance(owner, ast.ClassDef) for node in owner.body if isinstance(node, kinds)]
    silent += [node.name for node in [*top, *inner] if node.name[0] != "_" and ast.get_docstring(node) is None]
    assert silent == []


def _overload(node: ast.ClassDef | ast.FunctionDef) -> bool:
    return any(dotted(decorator) == "overload" for decorator in node.decorator_list)


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").rglob("*.py")) or [ROOT / "yoco" / "__init__.py"])
def test_experiments_use_public_names(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    taken = [alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert [name for name in taken if name.startswith("_") and name != "__version__"] == []
