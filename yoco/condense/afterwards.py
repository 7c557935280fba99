"""Afterwards: a teacher labels the set that a run has made, which is kept before."""

from dataclasses import dataclass
from pathlib import Path

from yoco.condense.labels import relabel_from
from yoco.condense.loop import Interrupted
from yoco.condense.method import Task
from yoco.condense.teacher import room_of
from yoco.condensed import CondensedSet
from yoco.run import Run


@dataclass(frozen=True)
class Afterwards:
    """A teacher that will learn the real data of a task for some epochs, and then label the set of a run.

    run: in whose folder the teacher is kept, if there is one.

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
        """The set with the labels; as it is, it is the result of its run until the teacher has learned.

        Raises:
            ValueError: the training diverges.
            Interrupted: Ctrl-C in the training; `condensed` is the set as it is.
        """
        if self.run:
            made.save(self.run.result)
        try:
            return relabel_from(made, self.task, self.epochs, self.seed, folder=self.folder, progress=self.progress)
        except KeyboardInterrupt:
            after = "stopped while the teacher learned"
            more = f"; the same call goes on from {self.run.folder}" if self.run else ""
            raise Interrupted(f"{after}{more}", made) from None
