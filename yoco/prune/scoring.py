"""Score the samples of a set: train, watch, apply a score."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from yoco.condensed import CondensedSet
from yoco.data.source import Source
from yoco.device import cpu_by_default
from yoco.prune.asked import Asked, ask
from yoco.prune.material import check_kind, features_name, given_features
from yoco.prune.observe import Evidence, recipe_values
from yoco.prune.probes import FROM_FEATURES
from yoco.prune.scored import Scores
from yoco.prune.snapshot import Snapshot
from yoco.prune.training import check_untrained, split
from yoco.train import Recipe


@cpu_by_default
def score(
    data: CondensedSet | Source,
    *,
    score: str = "lbpe",
    evidence: Sequence[Evidence] | None = None,
    features: Any = None,
    **options: Any,
) -> Scores:
    """Score how hard each cell or image is: the mean of a score over independent trainings.

    score: a name in SCORES or PROBES, or `module:function` whose first parameter is called `dynamics` or `snapshot`.
    options: those of `Training`, and of the score itself, by default as published. `epochs` is how many epochs the
    score reads or, if it has no such option, how long the network is trained. Data other than condensed sets are
    trained for at most ten epochs, unless a recipe or more epochs are given.
    evidence: results of `observe`, in place of new trainings. features: "pixels" or numbers [n, ...], for the scores
    that read features alone; nothing is trained then, and options of a training are refused.
    If any run has an infinite score, runs are averaged by rank.

    Raises:
        ValueError: an unknown score or option, an impossible value, or evidence of another set or of trainings with
            other options; before any training.
    """
    check_kind("score", data)
    training, own = split(options)
    asked = ask(score, data, training, own, recorded=recorded_epochs(evidence))
    if evidence is None and asked.at_end and training.passes == "train":
        raise ValueError(f"score {score}: passes must be clean, as it reads networks only after training, got train")
    if features is not None:
        if score not in FROM_FEATURES:
            raise ValueError(f"score: must be {' or '.join(FROM_FEATURES)} when features are given, got {score}")
        check_untrained(f"score {score}", evidence, options)
        seen = [_view(data, given_features(data, features))]
        return _mean(data, asked, seen, {**asked.options, "features": features_name(features)})
    if evidence is None:
        return _mean(data, asked, asked.gather(data), asked.said)
    wanted = {**options, "passes": None} if asked.at_end else options
    same = checked(data, evidence, wanted, asked.decides())
    return _mean(data, asked, same, {**agreed(same), **asked.at_end, "runs": len(same), **asked.options})


def _mean(data: CondensedSet | Source, asked: Asked, seen: Iterable[Evidence], meta: Mapping[str, Any]) -> Scores:
    """The score by these trainings; meta is handed over in one piece, as an option of it may have any name."""
    return replace(Scores.of(data, combined(map(asked.values, seen)), asked.name), meta=meta)


def combined(runs: Iterable[Tensor]) -> Tensor:
    """The mean of a score over runs, float64 [n]; the mean of its ranks, ties averaged, if any value is infinite."""
    stacked = torch.stack([values.double() for values in runs])
    if stacked.isnan().any():
        raise ValueError("scores: values must be finite, got nan")
    return stacked.mean(0) if stacked.isfinite().all() else torch.stack([_ranks(values) for values in stacked]).mean(0)


def _ranks(values: Tensor) -> Tensor:
    _, place, count = values.unique(return_inverse=True, return_counts=True)
    return (count.cumsum(0) - (count + 1) / 2)[place].double()


def recorded_epochs(evidence: Any) -> int | None:
    """How many epochs all evidence covers, up to the last one in its dynamics; None if any lacks dynamics."""
    if not isinstance(evidence, Sequence) or not all(isinstance(each, Evidence) for each in evidence):
        return None
    epochs = [0 if each.dynamics is None else each.dynamics.since + each.dynamics.epochs for each in evidence]
    return min(epochs, default=0) or None


def agreed(evidence: Sequence[Evidence], references: bool = False) -> dict[str, Any]:
    """The settings that all evidence shares; references: include which reference images were seen."""
    first, *others = (each.meta for each in evidence)
    same = {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}
    unsaid = {"unrecorded"} if references else {"unrecorded", "reference"}
    return {name: value for name, value in same.items() if name not in unsaid}


def checked(
    data: CondensedSet | Source,
    evidence: Sequence[Evidence],
    wanted: Mapping[str, Any] | None = None,
    read: Sequence[str] = (),
) -> Sequence[Evidence]:
    """Check that evidence is of this very set and has the `wanted` options of `OF_EVIDENCE`; None allows any value.

    read: further options to compare, such as the stage where features are read.

    Raises:
        ValueError: it does not match, or there is none.
    """
    if not isinstance(evidence, Sequence) or not all(isinstance(each, Evidence) for each in evidence):
        raise ValueError(f"evidence: must be a list of what yoco.prune.observe returns, got {type(evidence).__name__}")
    if not evidence:
        raise ValueError("evidence: needs at least one training, got none")
    runs = (wanted or {}).get("runs")
    if runs not in (None, len(evidence)):
        raise ValueError(f"evidence: must have one entry for each of runs={runs}, got {len(evidence)}")
    found = data.checksum
    for each in evidence:
        if each.checksum != found:
            got = f"{each.checksum[:8]}; run observe again"
            raise ValueError(f"evidence: must be observed on this set, checksum {found[:8]}, got {got}")
        for name in (*OF_EVIDENCE, *read):
            asked = (wanted or {}).get(name)
            asked = recipe_values(asked) if isinstance(asked, Recipe) else asked
            if asked is not None and each.meta.get(name, asked) != asked:
                raise ValueError(f"evidence: must have {name}={asked}, got {each.meta[name]}; run observe again")
    return evidence


OF_EVIDENCE = ("passes", "network", "recipe", "bf16")
"""Options of `Training` that decide over what one training shows, whatever is read of it."""


def _view(data: CondensedSet | Source, features: Tensor) -> Evidence:
    labels = data.labels.cpu()
    blank = torch.zeros(len(labels), len(data.classes))
    return Evidence(
        snapshot=Snapshot(logits=blank, targets=labels, features=features, inputs=features), checksum=data.checksum
    )
