"""Finished: the set of a run that is over."""

from yoco.condensed import CondensedSet, load
from yoco.run import Run


def finished(run: Run, episodes: int) -> CondensedSet:
    """What a run has made that has nothing to go on from.

    Raises:
        ValueError: a time budget ended it ahead of its last episode, and its checkpoint was lost.
    """
    made = load(run.result)
    done = made.config.get("episodes_done", episodes)
    if done < episodes:
        rule = f"must have all {episodes:,} episodes, as there is no checkpoint to go on from, got {done:,}"
        raise ValueError(f"condense: {run.result} {rule}; take it as it stands, or remove it to start again")
    return made
