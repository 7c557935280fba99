"""The table of rules: mechanisms that take any score, and published methods by their names."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from yoco.prune.own import own_rule
from yoco.prune.rules import Rule, with_options
from yoco.registry import resolve

Mode = Literal["paper", "repo"]


class Row(NamedTuple):
    """what: one line for the help; target: module:Class of a Rule; options: its fields."""

    what: str
    target: str
    options: Mapping[str, Any] = {}


_BY_SCORE = "yoco.prune.rules:ByScore"
_HARD = {"prefer": "hard"}
_FAITHFUL = {"faithful": True}

_POOL = {"settings": {"runs": 3, "epochs": 60}}

RULES: dict[str, Row] = {
    "yoco": Row("lowest LBPE, as many of each class (YOCO)", _BY_SCORE, {"score": "lbpe", "quota": "equal"}),
    "kernel": Row("best predicts the others by kernel regression: ours", "yoco.prune.kernel:KernelGreedy", _POOL),
    "easy": Row("lowest scores first, any score", _BY_SCORE),
    "hard": Row("highest scores first, any score", _BY_SCORE, _HARD),
    "random": Row("uniform choice, the baseline of every table", "yoco.prune.rules:AtRandom"),
    "first": Row("the set's own order: the prefixes of MDC", "yoco.prune.rules:InOrder", {"quota": "equal"}),
    "window": Row("scores nearest to a quantile, any score", "yoco.prune.sampling:Window"),
    "stratified": Row("equal shares of strata of the score range, any score", "yoco.prune.sampling:Stratified"),
    "beta": Row("sampling by score and a Beta density of the confidence", "yoco.prune.sampling:BetaSampling"),
    "el2n": Row("highest early error norm (Paul et al.)", _BY_SCORE, {**_HARD, "score": "el2n"}),
    "forgetting": Row("most forgetting events (Toneva et al.)", _BY_SCORE, {**_HARD, "score": "forgetting"}),
    "aum": Row("lowest area under the margin (Pleiss et al.)", _BY_SCORE, {**_HARD, "score": "aum"}),
    "margin": Row("lowest accumulated probability margin (CCS's code)", _BY_SCORE, {**_HARD, "score": "margin"}),
    "variability": Row("most variable confidence (data maps)", _BY_SCORE, {**_HARD, "score": "variability"}),
    "dyn-unc": Row("largest dynamic uncertainty (He et al.)", _BY_SCORE, {**_HARD, "score": "dyn-unc"}),
    "tdds": Row("largest temporal dual-depth score (Zhang et al.)", _BY_SCORE, {**_HARD, "score": "tdds"}),
    "dual": Row("difficulty and uncertainty, Beta sampling (DUAL)", "yoco.prune.sampling:BetaSampling", _FAITHFUL),
    "ccs": Row(
        "coverage-centric: strata without the hardest (CCS)",
        "yoco.prune.sampling:Stratified",
        {**_FAITHFUL, "beta": None},
    ),
    "entropy": Row("highest entropy of one network", _BY_SCORE, {**_HARD, "score": "entropy"}),
    "grand": Row(
        "largest gradient of one network at its end (early in Paul et al.: --epochs, --runs)",
        _BY_SCORE,
        {**_HARD, "score": "grand"},
    ),
    "ssp": Row(
        "farthest from k-means centres of features (Sorscher et al.)",
        _BY_SCORE,
        {**_HARD, "score": "ssp", "quota": "floor"},
    ),
    "medoids": Row("the sample nearest to each k-means centre", "yoco.prune.geometry:Medoids"),
    "herding": Row(
        "the mean of the chosen features follows the mean of all", "yoco.prune.geometry:Herding", {"quota": "equal"}
    ),
    "k-center": Row("each next sample is the farthest from the chosen ones", "yoco.prune.geometry:KCenter"),
    "moderate": Row("distance to the class centre nearest to the median (Moderate)", "yoco.prune.geometry:Moderate"),
    "d2": Row("difficulty spread over a neighbour graph (D2)", "yoco.prune.d2:D2", {**_FAITHFUL, "quota": "equal"}),
    "log-det": Row("samples that span the largest volume (DPP)", "yoco.prune.determinant:LogDet", {"quota": "equal"}),
    "facility-location": Row(
        "every sample is similar to a chosen one", "yoco.prune.submodular:FacilityLocation", {"quota": "equal"}
    ),
    "graph-cut": Row("similar to all, dissimilar to each other", "yoco.prune.submodular:GraphCut", {"quota": "equal"}),
    "craig": Row("medoids of last-layer gradients, weighted (CRAIG)", "yoco.prune.coresets:CRAIG", {"quota": "equal"}),
    "gradmatch": Row(
        "weighted gradients that sum to the full one (GradMatch)", "yoco.prune.coresets:GradMatch", {"quota": "equal"}
    ),
}
"""name -> the rule, as its paper has it."""

_TRAIN = {"passes": "train"}
REPO: dict[str, Row] = {
    "yoco": RULES["yoco"]._replace(options={**RULES["yoco"].options, "settings": _TRAIN}),
    "el2n": Row(
        "the sum of ten epochs of one run, while training",
        _BY_SCORE,
        {**_HARD, "score": "el2n", "settings": {"how": "sum", "epochs": 10, **_TRAIN}},
    ),
    "forgetting": Row(
        "never learned counts as never forgotten, while training",
        _BY_SCORE,
        {**_HARD, "score": "forgetting", "settings": {"never_learned": "zero", **_TRAIN}},
    ),
    "aum": Row(
        "the sum of margins of probabilities, while training",
        _BY_SCORE,
        {**_HARD, "score": "margin", "settings": _TRAIN},
    ),
    "ssp": Row(
        "medoids of the features of the network that scores, as many centres as kept", "yoco.prune.geometry:Medoids"
    ),
    "ccs": Row(
        "strata of the summed early error norm, the hardest of each, while training",
        "yoco.prune.sampling:Stratified",
        {
            **RULES["ccs"].options,
            "usual": "el2n",
            "fixed": True,
            "settings": {"how": "sum", "epochs": 10, **_TRAIN},
        },
    ),
    "moderate": Row(
        "ranks around the median distance, centres are medians",
        "yoco.prune.sampling:Window",
        {"score": "prototype", "settings": {"centre": "median"}},
    ),
    "d2": Row(
        "weights fall with distance, both ways; never learned is never forgotten; while training",
        "yoco.prune.d2:D2",
        {**RULES["d2"].options, "mode": "repo", "drop": "margin", "settings": {"never_learned": "zero", **_TRAIN}},
    ),
}
"""name -> the same rule as the released code has it, where that differs."""


def find(name: str, mode: Mode = "paper", **options: Any) -> Rule:
    """The rule of this name, or at `module:Class`, with the given options.

    Raises:
        ValueError: an unknown rule or option, a rule that has no mode "repo", or see `own_rule`.
    """
    if not isinstance(name, str):
        raise ValueError(f"rule: must be a name, or module:Class, got {name!r}")
    if mode not in ("paper", "repo"):
        raise ValueError(f"rule {name}: mode must be paper or repo, got {mode!r}")
    table = RULES if mode == "paper" else REPO
    if mode == "repo" and name in RULES and name not in REPO:
        raise ValueError(f"rule {name}: mode must be paper, as this rule has no mode repo, got 'repo'")
    target = resolve("rule", {key: row.target for key, row in table.items()}, name)
    base: Any = target(**table[name].options) if name in table else own_rule(name, target)
    if not isinstance(base, Rule):
        raise ValueError(f"rule {name}: must be a yoco.prune.Rule, got {type(base).__name__}")
    return with_options(name, base, options)
