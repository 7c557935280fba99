"""Asked: a score with its options, and the training that is needed to compute it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from numbers import Integral
from typing import Any, Literal

import torch
from torch import Tensor
from tqdm import tqdm

from yoco.condensed import CondensedSet, Examples
from yoco.data.source import Source
from yoco.device import pick
from yoco.networks import build
from yoco.prune.dynamics import NAMES, Dynamics
from yoco.prune.kinds import check_kept, same_kind, worded
from yoco.prune.material import Material, data_name
from yoco.prune.observe import Evidence, observe
from yoco.prune.own import check_score
from yoco.prune.probes import PROBES
from yoco.prune.scores import LBPE_SETTINGS, SCORES, unread
from yoco.prune.snapshot import Snapshot, look
from yoco.prune.training import Training
from yoco.registry import resolve, signature_of, unknown
from yoco.rng import Rng
from yoco.screen import hidden
from yoco.train import Normalise, Recipe

BLANK = 64
"""Number of dummy samples on which a score is tried before any training."""
ALL_SCORES: dict[str, str] = {**SCORES, **PROBES}
"""name -> function(dynamics, *, options) or function(snapshot, *, options)."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A score for given data. reads: whether its function takes dynamics or a snapshot; epochs: how long to train."""

    name: str
    function: Callable[..., Tensor]
    reads: Literal["dynamics", "snapshot"]
    options: Mapping[str, Any]
    training: Training
    recipe: Recipe
    epochs: int

    def values(self, evidence: Evidence) -> Tensor:
        """The score of every sample by one training: float32 [n].

        Raises:
            ValueError: the evidence does not contain what the score reads.
        """
        seen = getattr(evidence, self.reads)
        if seen is None:
            rule = f"needs evidence from observe(..., {self.reads}=True)"
            raise ValueError(f"score {self.name}: {rule}, got some without it")
        if ":" in self.name and isinstance(seen, Snapshot):
            seen = seen.together  # a custom score may put the images through the network
        return _numbers(self.name, self.function(seen, **self.options), len(seen))

    @property
    def shifts(self) -> bool:
        """Whether the dynamics record the shift of every epoch: `tdds` needs it, and a custom score may."""
        return self.name == "tdds" or ":" in self.name

    @property
    def looks(self) -> bool:
        """Whether the snapshot holds the images: gradients in all parameters need them, and a custom score may."""
        return self.options.get("parameters") == "all" or ":" in self.name

    @property
    def since(self) -> int:
        """The first epoch, from 0, whose dynamics it reads; always 0 with passes "train"."""
        return unread(self.name, self.options) if self.training.passes == "clean" else 0

    def gather(
        self,
        data: CondensedSet | Source,
        *,
        snapshot: bool = False,
        dynamics: bool = False,
        shift: bool = False,
        images: bool = False,
        reference: Source | None = None,
        since: int | None = None,
        until: int | None = None,
    ) -> Iterator[Evidence]:
        """Train new networks and yield the evidence of each, with all that the score reads, under a progress bar.

        snapshot, dynamics, shift, images: record these, too. since, until: see `observe`; since is by default the first
        epoch that the score reads.
        """
        training, device = self.training, pick(self.training.device)
        rng, epochs, silent = Rng(training.seed), training.runs * self.epochs, hidden(training.progress)
        with tqdm(total=epochs, desc="score", unit="epoch", disable=silent) as bar:
            for run in range(training.runs):
                yield observe(
                    data,
                    epochs=self.epochs,
                    recipe=self.recipe,
                    rng=rng.child("score", run),
                    network=training.network,
                    passes=training.passes,
                    dynamics=dynamics or self.reads == "dynamics",
                    shift=shift or self.shifts,
                    snapshot=snapshot or self.reads == "snapshot",
                    stage=training.stage,
                    images=images or self.looks,
                    reference=reference,
                    device=device,
                    bf16=training.bf16,
                    progress=lambda _: bar.update(),
                    since=self.since if since is None else since,
                    until=until,
                )

    def decides(self, views: bool = False) -> tuple[str, ...]:
        """Options of a training, beside `OF_EVIDENCE`, on which the parts that are read depend. views: features are."""
        stage = ("stage",) if views or self.reads == "snapshot" else ()
        return stage if "epochs" in self.options else (*stage, "epochs")

    @property
    def said(self) -> dict[str, Any]:
        """All settings on which the values depend, in JSON values."""
        read = {} if "epochs" in self.options else {"epochs": self.epochs}
        return {**self.training.said(self.recipe), **self.at_end, **read, **self.options}

    @property
    def at_end(self) -> dict[str, Any]:
        """{"passes": "clean"} for a snapshot, which is taken of clean images whatever `passes` says; else {}."""
        return {"passes": "clean"} if self.reads == "snapshot" else {}


def function_of(name: str) -> Callable[..., Tensor]:
    """The function of a score, by its name.

    Raises:
        ValueError: an unknown name; a first parameter other than dynamics or snapshot; or, of a custom score, an option
            without a default or with a reserved name, see `check_score`.
    """
    function: Callable[..., Tensor] = resolve("score", ALL_SCORES, name)
    first, *options = signature_of(function).parameters.values()
    if first.name not in ("dynamics", "snapshot"):
        raise ValueError(f"score {name}: its first parameter must be dynamics or snapshot, got {first.name}")
    if ":" in name:
        check_score(name, options)
    return function


def ask(
    name: str,
    data: CondensedSet | Source,
    training: Training,
    given: Mapping[str, Any],
    *,
    whole: bool = False,
    also: Iterable[str] = (),
    recorded: int | None = None,
) -> Asked:
    """The score of this name, with the given options, else its published ones, else its defaults.

    whole: train to the end of the recipe, whatever the score reads; `epochs` then also sets the length of the recipe.
    also: options of others, which the error for an unknown option lists, too. recorded: the epochs of given evidence.
    Paths among the options become strings.

    Raises:
        ValueError: an unknown score or option, an impossible value, or one that no file can hold.
    """
    function = function_of(name)
    first, *parameters = signature_of(function).parameters.values()
    usual = {p.name: p.default for p in parameters if p.default is not p.empty}
    chosen, given = worded(usual | _published(name, data)), worded(given)
    if first.name == "dynamics" and "epochs" not in chosen:
        raise ValueError(f"score {name}: must have an option epochs with a default, got {', '.join(chosen) or 'none'}")
    wanted: Any = given.get("epochs")
    if wanted is not None and (not isinstance(wanted, Integral) or wanted < 1):
        raise ValueError(f"score: epochs must be a whole number of at least 1, got {wanted!r}")
    wanted = None if wanted is None else int(wanted)
    for option, value in given.items():
        if option not in {**chosen, "epochs": None}:
            raise unknown(f"option of {name}", option, {*chosen, "epochs", *(f.name for f in fields(Training)), *also})
        same_kind(name, option, value, chosen.get(option))
    early = first.name == "dynamics" and not whole and training.recipe is not None
    whole = whole or isinstance(data, Source) or first.name == "snapshot"
    if "epochs" not in chosen:
        _check_recipe(name, training.recipe, wanted)
    recipe = training.on(data, wanted or (recorded if isinstance(data, Source) else None) if whole else None)
    options = {**_within(name, chosen, recipe.length), **{k: v for k, v in given.items() if k in chosen}}
    check_kept("score", name, options)
    epochs = recipe.length if whole and not early else options["epochs"] or recipe.length
    if epochs > recipe.length:
        raise ValueError(f"dynamics: epochs must be in 1..{recipe.length}, got {epochs}")
    blank = _noise(data, training) if ":" in name and first.name == "snapshot" else _blank(first.name, epochs)
    _numbers(name, function(blank, **options), BLANK)
    reads: Any = first.name
    return Asked(
        name=name, function=function, reads=reads, options=options, training=training, recipe=recipe, epochs=epochs
    )


def _check_recipe(name: str, own: Recipe | None, wanted: int | None) -> None:
    if own is not None and wanted not in (None, own.epochs):
        got = f"epochs={wanted} with a recipe of {own.epochs}"
        raise ValueError(f"score: epochs must be those of the recipe, as {name} has no option epochs, got {got}")


def _published(name: str, data: CondensedSet | Source) -> dict[str, int]:
    """The settings of YOCO's code for these data."""
    method = data.method if isinstance(data, CondensedSet) else ""
    if name != "lbpe" or (method, data_name(data)) not in LBPE_SETTINGS:
        return {}
    return dict(zip(("epochs", "top"), LBPE_SETTINGS[method, data_name(data)], strict=True))


def _within(name: str, chosen: Mapping[str, Any], length: int) -> dict[str, Any]:
    """The defaults, cut to the length of a shorter recipe; of a custom score `epochs` alone is cut."""
    counts = ("epochs", "top", "window") if name in SCORES else ("epochs",)
    return {k: min(v, length) if k in counts and v is not None else v for k, v in chosen.items()}


def _blank(reads: str, epochs: int) -> Any:
    """Dummy evidence on which a score can refuse its options before any training."""
    if reads == "dynamics":
        blank: dict[str, Any] = {part: torch.zeros(epochs, BLANK) for part in (*NAMES, "shift")}
        return Dynamics(**{**blank, "correct": blank["correct"].bool()})
    flat, targets = torch.eye(2).repeat(BLANK // 2, 1), torch.arange(BLANK) % 2
    with Rng(0).as_global():
        own = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 2))
    images = flat.view(BLANK, 1, 1, 2)
    return Snapshot(logits=flat, targets=targets, features=flat, inputs=flat, network=own, images=images)


def _noise(data: CondensedSet | Source, training: Training) -> Snapshot:
    """A snapshot of a new network on noise in the shape of the data, for custom scores, which may read any part."""
    shape, classes, cpu = data.shape, len(data.classes), torch.device("cpu")
    images = torch.rand(BLANK, *shape, generator=Rng(0).generator())
    labels, same = torch.arange(BLANK) % classes, Normalise((0.0,) * shape[0], (1.0,) * shape[0])
    soft = torch.eye(classes)[labels] if getattr(data, "soft_labels", None) is not None else None
    examples = Examples(images, labels, soft)
    network = build(training.network, shape, classes, Rng(0))
    return look(network, Material(examples, shape, classes, same, cpu, ""), stage=training.stage)


def _numbers(name: str, found: Any, count: int) -> Tensor:
    """What a score answered, as a tensor [n]."""
    try:
        values = torch.as_tensor(found)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"score {name}: must return numbers, got {type(found).__name__}") from None
    if values.shape != (count,):
        raise ValueError(f"score {name}: must return one number per sample, got {list(values.shape)} for {count}")
    return values
