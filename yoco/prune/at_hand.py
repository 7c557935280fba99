"""What need not be computed: the caller's inputs, and the scores that a set carries from an earlier ranking."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from yoco.condensed import CondensedSet
from yoco.data.source import Source
from yoco.prune.material import features_name
from yoco.prune.observe import Evidence, recipe_values
from yoco.prune.probes import FROM_FEATURES
from yoco.prune.scored import Scores
from yoco.prune.training import Training
from yoco.registry import unknown
from yoco.train import Recipe


@dataclass(frozen=True, kw_only=True)
class Given:
    """The caller's inputs: scores, evidence, features, references, and options for what must still be learned.

    mode: of the rule; scores that a set carries from mode "repo" do not serve mode "paper" of a published rule.
    """

    scores: Scores | None = None
    evidence: Sequence[Evidence] | None = None
    features: Any = None
    reference: Source | None = None
    score: str | None = None
    mode: str = "paper"
    options: Mapping[str, Any] = field(default_factory=dict)

    def features_for(self, score: str) -> Any:
        """The given features if the score of this name reads features, else None."""
        return self.features if score in FROM_FEATURES else None


def carried(data: CondensedSet | Source) -> Scores | None:
    """The scores that a set keeps from an earlier ranking, if it is known how they were made."""
    made = _scorings(data)
    if isinstance(data, Source) or data.scores is None or not made:
        return None
    meta = made[-1]["scores"]
    return Scores(values=data.scores.cpu().float(), name=meta["score"], checksum=data.checksum, meta=meta)


def carried_mode(data: CondensedSet | Source) -> str:
    """The mode of the rule that made a set's scores, whichever rules have reused them since."""
    made = _scorings(data)
    return "repo" if any(e.get("mode") == "repo" and e["scores"] == made[-1]["scores"] for e in made) else "paper"


def _scorings(data: CondensedSet | Source) -> list[Mapping[str, Any]]:
    """What the history of a set says of the steps that scored it."""
    return [] if isinstance(data, Source) else [entry for entry in data.history if entry.get("scores")]


def check_same(scores: Scores, options: Mapping[str, Any], trains: bool) -> None:
    """Check that existing scores are those that the options would make. trains: the rule also needs a training.

    Raises:
        ValueError: they were made in another way, or have no such option.
    """
    usual = {f.name: f.default for f in fields(Training)} | {"epochs": None}
    for option, value in options.items():
        if option in ("device", "progress", "seed") or value is None:
            continue
        value = features_name(value) if option == "features" else value
        if "network" not in scores.meta and option in usual and (trains or value == usual[option]):
            continue
        made = {"score": scores.name, "features": "network", **scores.meta}
        if option not in made:
            raise unknown(f"option of {scores.name}", option, made)
        wanted = recipe_values(value) if isinstance(value, Recipe) else value
        if made[option] != wanted:
            got = f"{option}={wanted}"
            raise ValueError(f"prune: the existing scores have {option}={made[option]}, got {got}; score again")
