"""Finished: the set of a run that is over."""

from yoco.condensed import CondensedSet, load
from yoco.run import Run


def finished(run: Run, episodes: int, labelled: bool) -> CondensedSet:
    """What a run has made that has nothing to go on from. labelled: whether a teacher labels it afterwards.

    Raises:
        ValueError: a time budget ended it ahead of its last episode, or a stop ahead of its labels, and its checkpoint
            was lost.
    """
    made = load(run.result)
    done, lost = made.config.get("episodes_done", episodes), "as there is no checkpoint to go on from"
    again = "take it as it stands, or remove it to start again"
    if done < episodes:
        rule = f"must have all {episodes:,} episodes, {lost}, got {done:,}"
        raise ValueError(f"condense: {run.result} {rule}; {again}")
    if labelled and not any(step.get("step") == "relabel" for step in made.history):
        raise ValueError(f"condense: {run.result} must have the labels of a teacher, {lost}, got none; {again}")
    return made
