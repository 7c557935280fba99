"""Score the samples of a set: train, record, apply a score; and keep the result in a file that knows its set."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from yoco import artefact
from yoco.condensed import CondensedSet
from yoco.data.source import Source
from yoco.device import pick
from yoco.prune.dynamics import NAMES, Dynamics
from yoco.prune.material import checksum, data_name
from yoco.prune.record import Mode, plain, record, yoco_recipe
from yoco.prune.scores import LBPE_SETTINGS, SCORES
from yoco.registry import resolve, unknown
from yoco.rng import Rng
from yoco.train import Recipe

KIND, VERSION = "scores", 1


@dataclass(frozen=True, eq=False, kw_only=True)
class Scores:
    """How hard each sample of one set is.

    values: float32 [n], larger = harder; name: of the score; checksum: of the set; meta: how they were made.

    Raises:
        ValueError: values are not one finite number for each sample.
    """

    values: Tensor
    name: str
    checksum: str
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.values.ndim != 1 or self.values.dtype != torch.float32 or not len(self.values):
            got = f"{str(self.values.dtype).removeprefix('torch.')} {list(self.values.shape)}"
            raise ValueError(f"scores: values must be float32 [n], got {got}")
        if not torch.isfinite(self.values).all():
            raise ValueError("scores: values must be finite, got nan or infinity")

    def __len__(self) -> int:
        return len(self.values)

    @classmethod
    def of(cls, data: CondensedSet | Source, values: Tensor, name: str, **meta: Any) -> "Scores":
        """Numbers from anywhere, larger = harder, as the scores of this set. meta: JSON values.

        Raises:
            ValueError: there is not one finite number for each sample.
        """
        if values.shape != (len(data),):
            raise ValueError(f"scores: values must be [{len(data)}], got {list(values.shape)}")
        return cls(values=values.detach().cpu().float(), name=name, checksum=checksum(data), meta=meta)

    def check(self, data: CondensedSet | Source) -> None:
        """Make sure that these are the scores of this set, sample for sample.

        Raises:
            ValueError: they are of another set, or of the same one in another order.
        """
        found = checksum(data)
        if found != self.checksum or len(data) != len(self):
            made = f"{len(self)} samples, checksum {self.checksum[:8]}"
            got = f"{len(data)} samples, checksum {found[:8]}"
            raise ValueError(f"scores: must be made for this very set ({made}), got another ({got}); score it")

    def save(self, path: str | Path) -> None:
        """Write one safetensors file.

        Raises:
            OSError: the place cannot be written; what stood there is as it was.
        """
        header = {"name": self.name, "checksum": self.checksum, "meta": self.meta}
        artefact.write(Path(path), KIND, VERSION, {"values": self.values}, header)

    @classmethod
    def load(cls, path: str | Path) -> "Scores":
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged, of another kind, of a newer format, or its content breaks a rule.
        """
        tensors, header = artefact.read(Path(path), KIND, VERSION)
        if "values" not in tensors or not {"name", "checksum", "meta"} <= set(header):
            raise ValueError(f"load: {path} lacks a part")
        return cls(values=tensors["values"], **{part: header[part] for part in ("name", "checksum", "meta")})


def score(
    data: CondensedSet | Source,
    *,
    score: str = "lbpe",
    runs: int = 1,
    epochs: int | None = None,
    top: int | None = None,
    network: str = "convnet",
    mode: Mode = "clean",
    recipe: Recipe | None = None,
    seed: int = 0,
    device: str = "auto",
    bf16: bool = False,
    progress: bool = True,
    **options: Any,
) -> Scores:
    """How hard each cell or image is: the mean of a score over independent trainings.

    score: a name out of SCORES, or `module:function`; epochs, top, options: the score's own, by default as published.
    recipe: by default YOCO's, of which only the first `epochs` epochs are run. runs: networks trained.

    Raises:
        ValueError: an unknown score or option, or an impossible value; before anything is trained.
    """
    if runs < 1:
        raise ValueError(f"score: runs must be at least 1, got {runs}")
    function = resolve("score", SCORES, score)
    chosen = options_of(score, function, data, {"epochs": epochs, "top": top, **options})
    _try_out(function, chosen)
    recipe = recipe or yoco_recipe(data_name(data))
    how: dict[str, Any] = {"network": network, "mode": mode, "bf16": bf16}
    trained = _trainings(data, runs, Rng(seed), progress, epochs=chosen["epochs"], recipe=recipe, device=device, **how)
    mean = torch.stack([function(dynamics, **chosen).double() for dynamics in trained]).mean(0)
    made = {**chosen, **how, "runs": runs, "seed": seed, "recipe": plain(recipe)}
    return Scores.of(data, mean, score, **made)


def _trainings(
    data: CondensedSet | Source, runs: int, rng: Rng, progress: bool, *, epochs: int, device: str, **how: Any
) -> Iterator[Dynamics]:
    """The dynamics of independent trainings, one at a time, under a progress bar."""
    place = pick(device)
    with tqdm(total=runs * epochs, desc="score", unit="epoch", disable=None if progress else True) as bar:
        for run in range(runs):
            stream = rng.child("score", run)
            yield record(data, epochs=epochs, rng=stream, device=place, progress=lambda _: bar.update(), **how)


def options_of(
    name: str, function: Callable[..., Tensor], data: CondensedSet | Source, given: Mapping[str, Any]
) -> dict[str, Any]:
    """The options of a score: its defaults, the published ones for these data, then the given ones that are not None.

    Raises:
        ValueError: the score has no such option, or none that says how many epochs it reads.
    """
    parameters = inspect.signature(function).parameters.values()
    chosen = {p.name: p.default for p in parameters if p.default is not p.empty}
    if "epochs" not in chosen:
        raise ValueError(f"score {name}: must have an option epochs with a default, got {', '.join(chosen) or 'none'}")
    method = data.method if isinstance(data, CondensedSet) else ""
    if name == "lbpe" and (method, data_name(data)) in LBPE_SETTINGS:
        chosen["epochs"], chosen["top"] = LBPE_SETTINGS[method, data_name(data)]
    for option, value in given.items():
        if value is not None and option not in chosen:
            raise unknown(f"option of {name}", option, chosen)
    return {**chosen, **{option: value for option, value in given.items() if value is not None}}


def _try_out(function: Callable[..., Tensor], options: Mapping[str, Any]) -> None:
    """Let a score refuse its options on two blank samples, before minutes of training."""
    if not isinstance(options["epochs"], int) or options["epochs"] < 1:
        raise ValueError(f"score: epochs must be a whole number of at least 1, got {options['epochs']!r}")
    blank: dict[str, Any] = {name: torch.zeros(options["epochs"], 2) for name in NAMES}
    function(Dynamics(**{**blank, "correct": blank["correct"].bool()}), **options)
