"""A progress bar with an honest estimate: of the episodes, or of the time budget when that ends first."""

from math import isnan

from tqdm import tqdm

from yoco.condense.loop import Progress


class Bar:
    """A callback that draws one line on stderr, and nothing where stderr is no terminal.

    The estimate is the mean pace of this start times what is left; with a time budget it is the time left, if less.
    """

    def __init__(self, minutes: float | None = None) -> None:
        self.minutes = minutes
        self._bar: tqdm | None = None  # type: ignore[type-arg]
        self._origin: Progress | None = None

    def __call__(self, progress: Progress) -> None:
        """Show where the run stands."""
        if self._bar is None:
            shape = "condense {percentage:3.0f}%|{bar}| {desc}"
            self._bar, self._origin = tqdm(total=1.0, bar_format=shape, disable=None), progress
        left = self.left(progress)
        done = progress.seconds / (progress.seconds + left) if progress.seconds + left > 0 else 1.0
        self._bar.n = min(1.0, done)
        spent = f"{tqdm.format_interval(progress.seconds)} spent, {tqdm.format_interval(left)} left"
        loss = "" if isnan(progress.loss) else f"loss {progress.loss:.4g}, "
        self._bar.set_description_str(f"step {progress.episode}, {loss}{spent}")
        if progress.episode >= progress.episodes or left <= 0:
            self.close()

    def left(self, progress: Progress) -> float:
        """Seconds that are still to come."""
        assert self._origin is not None
        steps, seconds = progress.episode - self._origin.episode, progress.seconds - self._origin.seconds
        pace = seconds / steps if steps else progress.seconds / max(1, progress.episode)
        left = pace * (progress.episodes - progress.episode)
        return left if self.minutes is None else min(left, max(0.0, 60 * self.minutes - progress.seconds))

    def close(self) -> None:
        """Leave the line as it stands."""
        if self._bar is not None:
            self._bar.close()
