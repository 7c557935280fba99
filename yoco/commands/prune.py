"""The commands `prune` and `score`: their forms grow by the options of the rule and of the score that are named."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal
from zipfile import BadZipFile

import tyro

from yoco.cli import parse
from yoco.commands.options import Device, apart, load_like, named, peek

TRAINING = ("epochs", "runs", "passes", "network", "stage", "seed", "device", "bf16")
UNREAD = ("epochs", "runs", "passes", "network", "stage", "bf16", "score", "features", "scores")
"""What a rule that looks at nothing does not read."""
CHOICE = ("ipc", "cells", "keep", "n", "rule", "mode", "quota", "shares", "floor", "score")


@dataclass(frozen=True, kw_only=True)
class SetOptions:
    """Which samples, and how networks are trained whose behaviour ranks them."""

    set: Annotated[Path | None, tyro.conf.Positional] = None
    """a condensed set (.safetensors); without it, the training half of --data"""
    data: str | None = None
    """a data set by name, or a folder: its training half is ranked"""
    size: int | None = None
    """pixels: resize and centre-crop the images to this side"""
    grey: bool = False
    """turn colour images into one channel"""
    download: bool = False
    """let torchvision fetch the MNIST family, CIFAR or SVHN when they are not there"""
    epochs: int | None = None
    """epochs that the network is trained, or that the score reads of them; by default as published, but on data that
    are no condensed set at most ten"""
    runs: int | None = None
    """networks trained, whose scores are averaged; 1 by default"""
    passes: Literal["clean", "train"] | None = None
    """watch extra passes over the plain images (clean) or the augmented batches of the training (train, as YOCO's code
    does); clean by default"""
    network: str | None = None
    """the network that is trained; a convnet by default"""
    stage: int | None = None
    """the stage of the network whose output is the features: 0 is the first, -1 the last, which is the default"""
    features: str = "network"
    """network, pixels, or an .npy file of numbers [n, ...]"""
    seed: int = 0
    """everything random follows from it, but for the first centres of the score ssp, which --start names"""
    device: Device = "auto"
    """where to compute"""
    bf16: bool = False
    """run networks in bfloat16"""


@dataclass(frozen=True, kw_only=True)
class PruneOptions(SetOptions):
    """Keep the best samples of a condensed set or of a data set; exactly one size is given."""

    out: Path
    """the smaller set (.safetensors), or an index file (.npz)"""
    rule: str = "yoco"
    """which samples to keep: one of the list above, or module:Class of your own"""
    mode: Literal["paper", "repo"] = "paper"
    """the rule as its paper has it, or as the released code has it where that differs"""
    ipc: int | None = None
    """images per class"""
    cells: int | None = None
    """cells per class (factor^2 cells fill one image)"""
    keep: float | None = None
    """share of all samples, above 0 and up to 1"""
    n: int | None = None
    """samples in all"""
    quota: Literal["none", "equal", "proportional", "floor", "given"] | None = None
    """shares of the classes; by default those of the rule"""
    floor: float | None = None
    """with --quota floor: each class gets at least this part of an equal share; 0.5 by default"""
    shares: dict[str, int] | None = None
    """with --quota given: name of a class, its number of samples, name of the next, ..."""
    reference: str | None = None
    """a data set by name, or a folder: real images that the kept samples shall stand for (rule kernel)"""
    scores: Path | None = None
    """score file (.safetensors): used when it is there, else written"""
    score: str | None = None
    """the score, for rules that take any; see yoco score"""
    epochs: int | None = None
    """epochs that the network is trained, or that the score reads of them; by default as published, but on data that
    are no condensed set at most ten; 60 for the rule kernel"""
    runs: int | None = None
    """networks trained, whose scores are averaged; 1 by default, 3 for the rule kernel"""
    passes: Literal["clean", "train"] | None = None
    """watch extra passes over the plain images (clean) or the augmented batches of the training (train, as YOCO's code
    does); by default as the rule does, else clean"""
    uint8: bool = False
    """store the cells in a quarter of the bytes"""


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(SetOptions):
    """Say how hard each sample of a condensed set or of a data set is: larger = harder."""

    out: Path
    """the file: .csv or .npz with ranks, or .safetensors for prune --scores"""
    score: str = "lbpe"
    """one of the list above, or module:function of your own"""


def prune(argv: list[str]) -> None:
    """`yoco prune`."""
    from yoco.disk import check_place
    from yoco.prune.presets import RULES, find
    from yoco.prune.rules import options_of_rule

    said = peek(argv, PruneOptions)
    rule = find(said["rule"], said["mode"] if said["mode"] in ("paper", "repo") else "paper")
    blind, mine = not rule.needs and rule.dropped_by is None, options_of_rule(rule)
    ranked = said["score"] or rule.score or rule.usual
    settings = rule.settings if ranked in (rule.score, rule.usual) else {}
    scored = {} if blind else _score_fields(ranked, settings)
    own = {**scored, **_fields(type(rule), mine)}
    options = _read(argv, "prune", PruneOptions, own, {name: row.what for name, row in RULES.items()})
    if blind and (unread := [word for word in named(argv, PruneOptions) if word in UNREAD and word not in mine]):
        raise ValueError(f"prune: --{unread[0]} can only be used with rules that train or score, got {options.rule}")
    if options.out.suffix not in (".npz", ".safetensors"):
        raise ValueError(f"prune: out must end in .safetensors or .npz, got {options.out.name!r}")
    apart("prune", set=options.set, scores=options.scores, out=options.out)
    if options.uint8 and options.out.suffix == ".npz":
        raise ValueError("prune: uint8 needs a set (.safetensors), got an index file (.npz)")
    if options.scores is not None and options.scores.suffix != ".safetensors" and not options.scores.is_dir():
        must = "scores must end in .safetensors, as yoco score --out writes them"
        raise ValueError(f"prune: {must}, got {options.scores.name!r}")
    whole = _samples(options, options.reference)
    if options.uint8 and options.set is not None:
        whole.quantised()  # what cannot be stored so is said before any training
    check_place(options.out)
    if options.scores is not None and not options.scores.is_file():
        check_place(options.scores)
    more = {name: getattr(options, name) for name in (*CHOICE, *TRAINING, *own)}
    more["bf16"] = options.bf16 if "bf16" in named(argv, PruneOptions) else None  # silence fits any scores
    more |= {"features": _features(options.features), "reference": _reference(options, whole)}
    _prune(whole, options, more)


def _prune(whole: Any, options: Any, how: dict[str, Any]) -> None:
    from yoco.prune.budget import SIZES, Budget
    from yoco.prune.choosing import as_set, select

    Budget(**{kind: how[kind] for kind in SIZES})  # that none is given is said before any training
    chosen = select(whole, scores=_kept_scores(whole, options, how), **how)
    said = [chosen.report()]
    if options.out.suffix == ".npz":
        chosen.save(options.out)
    else:
        small = as_set(whole, chosen)
        if options.data is not None and (options.data, options.size, options.grey) != (whole.name, None, False):
            where = {"data": options.data, "size": options.size, "grey": options.grey}
            small = replace(small, source={**small.source, **where})
        small = small.quantised() if options.uint8 else small
        small.save(options.out)
        said.append(f"the set: {small.storage}")
        if chosen.weights is not None:
            said.append("a set cannot store sample weights: write an index file (.npz) to get them")
    print("\n".join([*said, f"written to {options.out}"]))


def _kept_scores(whole: Any, options: Any, how: Mapping[str, Any]) -> Any:
    """The scores of the file that --scores names; it is written if it is not there."""
    from yoco.prune import Scores
    from yoco.prune.choosing import scores_for

    if options.scores is None:
        return None
    if not options.scores.is_file():
        scores_for(whole, **how).save(options.scores)
    return Scores.load(options.scores)


def score(argv: list[str]) -> None:
    """`yoco score`."""
    from yoco.disk import check_place
    from yoco.prune import ALL_SCORES
    from yoco.prune import score as measure
    from yoco.registry import resolve

    own = _score_fields(peek(argv, ScoreOptions)["score"], {})
    lines = {name: _first_sentence(resolve("score", ALL_SCORES, name)) for name in ALL_SCORES}
    options = _read(argv, "score", ScoreOptions, own, lines)
    if options.out.suffix not in (".csv", ".npz", ".safetensors"):
        raise ValueError(f"score: out must end in .csv, .npz or .safetensors, got {options.out.name!r}")
    apart("score", set=options.set, out=options.out)
    whole, features = _samples(options), _features(options.features)
    check_place(options.out)
    how = {name: getattr(options, name) for name in ("score", *TRAINING, *own)}
    found = measure(whole, **how, features=features)
    if options.out.suffix == ".safetensors":
        found.save(options.out)
    else:
        found.export(options.out, whole.labels, whole.classes, getattr(whole, "files", ()))
    print(f"{len(found)} scores, {float(found.values.min()):.4g} .. {float(found.values.max()):.4g}, {options.out}")


def _read(argv: list[str], command: str, form: Any, own: Mapping[str, tuple[Any, str]], names: dict[str, str]) -> Any:
    """The options, those of the named rule or score among them; the help lists all names."""
    more: Any = [
        (name, Annotated[kind | None, tyro.conf.arg(help=text)], field(default=None))
        for name, (kind, text) in own.items()
        if name not in form.__dataclass_fields__
    ]
    made = make_dataclass(command.title(), more, bases=(form,), frozen=True, kw_only=True)
    width = max(map(len, names))
    lines = "\n\n".join(f"{name:<{width}}  {what}" for name, what in names.items())
    made.__doc__ = f"{form.__doc__}\n\n{lines}"
    return parse(made, argv, command)


def _score_fields(name: str, settings: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
    """The options of a score: name -> type and help. settings: those that a rule has for them."""
    from yoco.prune.asked import function_of
    from yoco.registry import signature_of

    function = function_of(name)
    _, *parameters = signature_of(function).parameters.values()
    return _fields(function, {p.name: settings.get(p.name, p.default) for p in parameters})


def _fields(owner: Any, defaults: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
    from yoco.registry import declared

    hints = declared(owner)
    kinds = {name: hints.get(name, str if value is None else type(value)) for name, value in defaults.items()}
    return {name: (kinds[name], f"{value!r} by default") for name, value in defaults.items()}


def _first_sentence(function: Any) -> str:
    return " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())


def _samples(options: Any, reference: str | None = None) -> Any:
    """The condensed set, or the training half of the data; reference: other data that are to be read.

    Raises:
        ValueError: neither or both, or a word for data where none are read.
    """
    from yoco.condensed import load
    from yoco.data import load as load_data

    if (options.set is None) == (options.data is None):
        raise ValueError("data: give either a condensed set or --data")
    if options.set is not None:
        if reference is None and (options.size is not None or options.grey or options.download):
            raise ValueError("data: size, grey and download need --data or --reference, got only a condensed set")
        return load(options.set)
    return load_data(options.data, size=options.size, grey=options.grey, download=options.download).train


def _reference(options: Any, whole: Any) -> Any:
    """The training half of the data that stand behind the set, by default in its size and colours."""
    if options.reference is None:
        return None
    return load_like({} if options.set is None else whole.form, options.reference, options).train


def _features(word: str) -> Any:
    """The word, or the numbers of the file that it names; None for those of a network."""
    import numpy as np

    if not word.endswith(".npy"):
        return None if word == "network" else word
    try:
        with open(os.path.expanduser(word), "rb") as file:
            return np.load(file, allow_pickle=False)
    except (EOFError, BadZipFile, ValueError) as error:
        raise ValueError(f"features: {word} cannot be read ({error})") from error
