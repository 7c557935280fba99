"""Rank and prune samples: of a condensed set, or of any data. Larger score = harder; a budget says what is kept."""

from yoco.prune.budget import Budget
from yoco.prune.dynamics import Dynamics, measure
from yoco.prune.recorder import Recorder
from yoco.prune.rules import RULES, Items, Rule, balanced
from yoco.prune.scores import LBPE_SETTINGS, SCORES
from yoco.prune.scoring import Scores, score
from yoco.prune.selection import prune, rank
from yoco.prune.summary import report
from yoco.verb import make_callable

__all__ = [
    "LBPE_SETTINGS",
    "RULES",
    "SCORES",
    "Budget",
    "Dynamics",
    "Items",
    "Recorder",
    "Rule",
    "Scores",
    "balanced",
    "measure",
    "prune",
    "rank",
    "report",
    "score",
]

make_callable(__name__)
