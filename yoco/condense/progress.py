"""A progress bar with an honest estimate: of the episodes, or of the time budget when that ends first."""

from collections import deque
from collections.abc import Sequence
from math import isnan

from tqdm import tqdm

from yoco.condense.loop import Progress

LEAST = 10
"""Episodes over which the pace is taken, at least."""


class Bar:
    """A callback that draws one line on stderr, and nothing where stderr is no terminal.

    The estimate is the pace of the last tenth of the episodes times those to come; with a time budget it is the time
    left, if less. changes: episodes after which others begin, of another pace; what they take is not known before.
    """

    def __init__(self, minutes: float | None = None, changes: Sequence[int] = ()) -> None:
        self.minutes, self.changes = minutes, changes
        self._bar: tqdm | None = None  # type: ignore[type-arg]
        self._seen: deque[tuple[int, float]] = deque()

    def __call__(self, progress: Progress) -> None:
        """Show where the run stands."""
        if self._bar is None:
            shape = "condense {percentage:3.0f}%|{bar}| {desc}"
            self._bar = tqdm(total=1.0, bar_format=shape, disable=None)
        left, end = self.left(progress), self.end(progress.episode, progress.episodes)
        done = progress.seconds / (progress.seconds + left) if progress.seconds + left > 0 else 1.0
        self._bar.n = min(1.0, done * end / max(1, progress.episodes))
        more = "more than " if end < progress.episodes else ""
        spent = f"{tqdm.format_interval(progress.seconds)} spent, {more}{tqdm.format_interval(left)} left"
        loss = "" if isnan(progress.loss) else f"loss {progress.loss:.4g}, "
        self._bar.set_description_str(f"step {progress.episode}, {loss}{spent}")
        if progress.episode >= progress.episodes or (self.minutes is not None and left <= 0):
            self.close()

    def end(self, episode: int, episodes: int) -> int:
        """Where the episodes of the present pace end."""
        return min((change for change in self.changes if episode < change < episodes), default=episodes)

    def left(self, progress: Progress) -> float:
        """Seconds that the episodes of the present pace still take."""
        if progress.episode in self.changes:
            self._seen.clear()
        self._seen.append((progress.episode, progress.seconds))
        while len(self._seen) > 2 and progress.episode - self._seen[1][0] >= max(LEAST, progress.episode // 10):
            self._seen.popleft()
        steps, seconds = (now - then for now, then in zip(self._seen[-1], self._seen[0], strict=True))
        pace = seconds / steps if steps else progress.seconds / max(1, progress.episode)
        left = pace * (self.end(progress.episode, progress.episodes) - progress.episode)
        return left if self.minutes is None else min(left, max(0.0, 60 * self.minutes - progress.seconds))

    def close(self) -> None:
        """Leave the line as it stands."""
        if self._bar is not None:
            self._bar.close()
