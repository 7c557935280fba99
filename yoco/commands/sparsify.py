"""The command `sparsify`: train or load a network, prune its weights, retrain it, and say what that did."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from yoco.cli import parse
from yoco.commands.options import DataOptions, Device, apart, named

if TYPE_CHECKING:
    from yoco.condensed import CondensedSet
    from yoco.data.source import Source
    from yoco.sparsify.outcome import Outcome
    from yoco.sparsify.study import Study

PRUNER = (
    *("solver", "allocation", "tolerance", "weigh", "cost", "layers", "pattern"),
    *("sequential", "refit", "prune_bias", "ridge"),
)
"""Options of a Pruner."""


@dataclass(frozen=True, kw_only=True)
class SparsifyOptions(DataOptions):
    """Prune the weights of a network: layer by layer after training, or at initialisation (--at-init)."""

    network: str = "lenet-300-100"
    """name of the network"""
    weights: Path | None = None
    """trained weights (.safetensors, or a .pt state_dict); without them the network is trained first"""
    epochs: int = 10
    """epochs of training on the data"""
    lr: float = 0.02
    """step size of that training"""
    sparsity: float | None = None
    """share of zeros, at least 0 and below 1 (patterns such as 2:4 say it themselves)"""
    solver: str = "exact"
    """exact, column, admm, rounds, lobs, obd, wanda, magnitude, random, or module:function"""
    at_init: str | None = None
    """in place of a solver, masks before training: random, uniform, uniform_plus, erk, magnitude, snip, iterative_snip,
    grasp, synflow, phew, npb, dpai"""
    settings: tuple[str, ...] = ()
    """options of the solver or of at_init, such as swaps=20, span=64, layout=uniform, iterations=50"""
    allocation: str = "hull"
    """zeros for each layer: hull, programme, tolerance, global, uniform, uniform_plus, erk"""
    tolerance: float | None = None
    """with --allocation tolerance, in place of --sparsity: the largest error of a layer, as --weigh measures it"""
    weigh: Literal["relative", "error", "bound", "loss"] = "relative"
    """which error hull, programme and tolerance look at"""
    cost: Literal["weights", "flops"] = "weights"
    """what the sparsity is a share of; flops with hull, programme or tolerance"""
    layers: tuple[str, ...] | None = None
    """names of the weights to prune, all by default"""
    pattern: str | None = None
    """row (equal counts in each output), N:M such as 2:4, or block:C; neighbours are inputs, or input channels"""
    sequential: bool = False
    """each layer makes up for the errors of the pruned layers before it"""
    refit: bool = True
    """least squares on the weights that stay"""
    prune_bias: bool = False
    """biases may be pruned, too: the sparsity is then the share of zeros among weights and biases"""
    ridge: float = 1e-6
    """least ridge of the second moments, in units of their mean diagonal"""
    rounds: int = 1
    """prune in so many rounds with retraining between them"""
    images: int | None = None
    """images for the second moments or scores: 2048 by default for solvers; at initialisation 128, for the methods that
    look at images: snip, iterative_snip and grasp (whose paper takes 10 per class)"""
    calibrate: Path | None = None
    """a condensed set (.safetensors) in place of the data for these images; some of the classes will do where no label
    is read"""
    retrain: float = 0.0
    """epochs of light retraining after pruning, such as 0.5; on --retrain-on as many steps as these have on the data"""
    retrain_on: Path | None = None
    """a condensed set in place of the data for retraining"""
    seed: int = 0
    """everything random follows from it"""
    device: Device = "auto"
    """where to compute"""
    bf16: bool = False
    """train and judge in bfloat16: faster where the processor has it; pruning stays in float32"""
    shrink: bool = False
    """write the sparse file without dead channels: a smaller network with the same answers"""
    out: Path = Path("runs/sparse")
    """folder: sparse.safetensors, dense.safetensors, sparsify.json, table.md and, where curves share out the zeros,
    curves.png"""


def sparsify(argv: list[str]) -> None:
    """`yoco sparsify`."""
    options = parse(SparsifyOptions, argv, "sparsify")
    from yoco.data import load as load_data
    from yoco.sparsify.study import Study

    if options.at_init and (unread := [name for name in named(argv, SparsifyOptions) if name in PRUNER]):
        raise ValueError(f"sparsify: --{unread[0].replace('_', '-')} cannot be used with --at-init, got both")
    if options.weights and (unread := [name for name in named(argv, SparsifyOptions) if name in ("epochs", "lr")]):
        raise ValueError(f"sparsify: --{unread[0]} is for training the network, got it together with --weights")
    apart("sparsify", weights=options.weights, out=options.out / "sparse.safetensors")
    data = load_data(options.data, size=options.size, grey=options.grey, download=options.download)
    calibrate, retrain_on = (_set(path, data.train) for path in (options.calibrate, options.retrain_on))
    given = {f.name: getattr(options, f.name) for f in fields(Study) if f.name in vars(options)}
    how = {} if options.at_init else {name: getattr(options, name) for name in PRUNER}
    how |= _settings(options)
    study = Study(**{**given, "data": data, "calibrate": calibrate, "retrain_on": retrain_on, "options": how})
    _say(study, options.out)


def _settings(options: SparsifyOptions) -> dict[str, Any]:
    """Words such as swaps=20 as options of the function that is asked for, with the types that it declares.

    Raises:
        ValueError: the function has no such option, or one of another type.
    """
    from yoco.registry import declared, resolve, sayable, signature_of, typed_options, unknown
    from yoco.sparsify import METHODS, SOLVERS

    kind, table, name = ("method", METHODS, options.at_init) if options.at_init else ("solver", SOLVERS, options.solver)
    found = resolve(kind, table, name)
    function = found.func if isinstance(found, partial) else found
    hints, parameters = declared(function), signature_of(function).parameters.values()
    known = {p.name for p in parameters if p.default is not p.empty and sayable(hints.get(p.name, type(p.default)))}
    words = {key: value for key, _, value in (word.partition("=") for word in options.settings)}
    for key in words:
        if key not in known:
            raise unknown(f"option of {name}", key, sorted(known))
    return typed_options("sparsify", function, words)


def _set(path: Path | None, data: Source) -> CondensedSet | None:
    """A condensed set; a line says if it was made from other images than the data.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or no condensed set.
    """
    if path is None:
        return None
    from yoco.condensed import load

    found = load(path)
    if found.source.get("checksum") not in (None, data.checksum):
        print(f"{path} was made from other images than those of --data")
    return found


def _say(study: Study, out: Path) -> None:
    """Run it, write and print what came out."""
    from yoco.disk import replace_file
    from yoco.report import layer_curves

    names = ["dense.safetensors", "sparse.safetensors", "sparsify.json", "table.md"]

    def tell(result: Outcome) -> None:
        """The table and the curves, in the folder."""
        words = result.markdown() + "\n"
        replace_file(out / "table.md", lambda path: path.write_text(words, encoding="utf-8"))
        if result.pruned.curves:
            layer_curves(result.pruned.curves, result.pruned.shares, out / "curves.png")
            names.append("curves.png")

    print(study.run(out, tell).markdown())
    print(f"written to {out}: {', '.join(sorted(names))}")
