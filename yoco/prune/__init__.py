"""Rank and prune the samples of a condensed set or of any data. A larger score means harder; a budget sets the size."""

from yoco.prune.asked import ALL_SCORES
from yoco.prune.budget import Budget
from yoco.prune.choosing import as_set, draw_references, prune, rank, select
from yoco.prune.dynamics import Dynamics, measure
from yoco.prune.observe import Evidence, observe, yoco_recipe
from yoco.prune.presets import REPO, RULES, find
from yoco.prune.probes import PROBES
from yoco.prune.recorder import Recorder
from yoco.prune.rules import Choice, Items, Rule
from yoco.prune.running import Running
from yoco.prune.scored import Scores
from yoco.prune.scores import LBPE_SETTINGS, SCORES
from yoco.prune.scoring import score
from yoco.prune.selection import Selection, report
from yoco.prune.snapshot import Snapshot, look
from yoco.verb import make_callable

__all__ = [
    "ALL_SCORES",
    "LBPE_SETTINGS",
    "PROBES",
    "REPO",
    "RULES",
    "SCORES",
    "Budget",
    "Choice",
    "Dynamics",
    "Evidence",
    "Items",
    "Recorder",
    "Rule",
    "Running",
    "Scores",
    "Selection",
    "Snapshot",
    "as_set",
    "draw_references",
    "find",
    "look",
    "measure",
    "observe",
    "prune",
    "rank",
    "report",
    "score",
    "select",
    "yoco_recipe",
]

make_callable(__name__)
