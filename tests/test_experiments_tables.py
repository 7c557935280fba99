"""The tables that the README has of results: words beside the numbers say what holds for these."""

from collections.abc import Callable
from typing import Any


def test_step_sizes_have_fallen_where_nearly_all_episodes_were_done(experiment: Callable[[str], Any]) -> None:
    table = experiment("readme_methods")
    steps = {"readout": [850, 800], "sre2l": [330], "pdd": [69], "frepo": [372], "rded": [2]}
    groups = {method: [{"steps": [0]}, {"steps": done}] for method, done in steps.items()}
    changed = {"readout": {"episodes": 850}, "sre2l": {"squeeze": 1, "episodes": 1001}, "pdd": {"episodes": 110}}
    changed |= {"rded": {"episodes": 2}, "mtt": {"count": 1}}
    fallen, short, others = table.falling(groups, changed)
    assert fallen == "Step sizes that fall over a whole run have fallen at the end of these minutes with `readout`."
    assert short == "They have not fallen to their end with `sre2l` (330 of 1,001 episodes)."
    assert others == "Those of `frepo`, whose published runs are far longer, hardly fall."
    (alone,) = table.falling({"sre2l": groups["sre2l"]}, changed)
    assert alone == short.replace("They", "Step sizes that fall over a whole run")
    said = table.changes(table.fitted(groups, changed))
    assert said == (
        "`readout` episodes 850 (825 done); `sre2l` squeeze 1, episodes 1001 (330 done); `pdd` episodes 110 (69 done);"
        " `rded` episodes 2; `mtt` count 1"
    )
    assert changed["pdd"] == {"episodes": 110}
