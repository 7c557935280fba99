"""The end of a run: the set of a finished run is read; that of another may be labelled by a teacher first."""

import signal
from dataclasses import dataclass
from pathlib import Path

from yoco.condense.labels import relabel_from
from yoco.condense.loop import Interrupted
from yoco.condense.method import Task
from yoco.condense.signals import answered
from yoco.condense.teacher import room_of
from yoco.condensed import CondensedSet, load
from yoco.run import Run


class Unlabelled(Interrupted):
    """Interrupted during a teacher's training; `condensed` is the set without labels, saved if there is a folder."""


def finished(run: Run, episodes: int, labelled: bool) -> CondensedSet:
    """The set of a run that has no checkpoint. labelled: whether a teacher labels it afterwards.

    Raises:
        ValueError: the run stopped before its last episode or before its labels, and its checkpoint was lost.
    """
    made = load(run.result)
    done, lost = made.config.get("episodes_done", episodes), "as there is no checkpoint to resume from"
    again = "use it as it is, or remove it to start again"
    if done < episodes:
        rule = f"must have all {episodes:,} episodes, {lost}, got {done:,}"
        raise ValueError(f"condense: {run.result} {rule}; {again}")
    if labelled and not any(step.get("step") == "relabel" for step in made.history):
        raise ValueError(f"condense: {run.result} must have the labels of a teacher, {lost}, got none; {again}")
    return made


@dataclass(frozen=True)
class Afterwards:
    """A teacher to be trained on the real data of a task for some epochs, and then to label the set of a run.

    run: the teacher is saved in its folder, if there is a run.

    Raises:
        ValueError: another teacher is kept there.
    """

    task: Task
    epochs: int
    seed: int
    run: Run | None
    progress: bool

    def __post_init__(self) -> None:
        room_of(self.task, self.epochs, self.seed, self.folder)

    @property
    def folder(self) -> Path | None:
        """Where the teacher is kept."""
        return self.run.folder / "teacher" if self.run else None

    def label(self, made: CondensedSet) -> CondensedSet:
        """The set with the teacher's labels; until these are there, the run's result is the set without them.

        Raises:
            ValueError: the training diverges.
            Unlabelled: Ctrl-C or SIGTERM in the training.
        """
        if self.run:
            made.save(self.run.result)
        try:
            with answered(signal.default_int_handler, signal.SIGTERM):
                return relabel_from(made, self.task, self.epochs, self.seed, folder=self.folder, progress=self.progress)
        except KeyboardInterrupt:
            after = "stopped while the teacher was being trained"
            more = f"; the same call goes on from {self.run.folder}" if self.run else ""
            raise Unlabelled(f"{after}{more}", made) from None
