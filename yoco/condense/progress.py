"""A progress bar with an honest estimate: of the episodes, or of the time budget when that ends first."""

from collections import deque
from collections.abc import Sequence
from math import ceil, inf, isnan
from typing import Self

from tqdm import tqdm

from yoco.condense.loop import Progress
from yoco.condense.method import Method
from yoco.screen import hidden

LEAST = 10
"""Least number of episodes over which the pace is taken."""


class Bar:
    """A callback that draws one line on stderr, and nothing where stderr is a file.

    The estimate is the pace of the last tenth of the episodes times those to come, or the rest of a time budget if that
    is less. changes: episodes after which the pace is another one, not known before. period: episodes in which all work
    that recurs comes once.
    """

    def __init__(self, minutes: float | None = None, changes: Sequence[int] = (), period: int = 0) -> None:
        self.minutes, self.changes, self.period = minutes, changes, period
        self._bar: tqdm | None = None  # type: ignore[type-arg]
        self._seen: deque[tuple[int, float]] = deque()

    @classmethod
    def of(cls, method: Method, minutes: float | None) -> Self:
        """A bar that knows the recurring work of a method, and where episodes of another pace begin."""
        again = getattr(method, "renewals", 1) if getattr(method, "recurs", True) else 1
        return cls(minutes, getattr(method, "changes", ()), ceil(method.episodes / again) if again > 1 else 0)

    def __call__(self, progress: Progress) -> None:
        """Show where the run stands."""
        if self._bar is None:
            shape = "condense {percentage:3.0f}%|{bar}| {desc}"
            self._bar = tqdm(total=1.0, bar_format=shape, disable=hidden())
        left, whole = self.left(progress)
        done = progress.seconds / max(progress.seconds + left, 1e-9) if whole else progress.episode / progress.episodes
        self._bar.n = min(1.0, done)
        more = "" if whole else "more than "
        spent = f"{tqdm.format_interval(progress.seconds)} spent, {more}{tqdm.format_interval(left)} left"
        loss = "" if isnan(progress.loss) else f"loss {progress.loss:.4g}, "
        self._bar.set_description_str(f"step {progress.episode}, {loss}{spent}")
        late = self.minutes is not None and progress.seconds >= 60 * self.minutes
        if progress.episode >= progress.episodes or late:
            self.close()

    def left(self, progress: Progress) -> tuple[float, bool]:
        """Seconds left, and whether they are all that is left, which is not so if episodes of another pace follow."""
        end = min((c for c in self.changes if progress.episode < c < progress.episodes), default=progress.episodes)
        pace = self._pace(progress)
        left = 0.0 if pace is None else pace * (end - progress.episode)
        budget = inf if self.minutes is None else max(0.0, 60 * self.minutes - progress.seconds)
        return min(left, budget), left >= budget or (pace is not None and end == progress.episodes)

    def _pace(self, progress: Progress) -> float | None:
        """Seconds of one of the last episodes; None where the first one since a change is not over."""
        if progress.episode in self.changes:
            self._seen.clear()
        self._seen.append((progress.episode, progress.seconds))
        window = max(LEAST, progress.episode // 10)
        window = ceil(window / self.period) * self.period if self.period else window
        while len(self._seen) > 2 and progress.episode - self._seen[1][0] >= window:
            self._seen.popleft()
        (first, then), (last, now) = self._seen[0], self._seen[-1]
        if last > first:
            return (now - then) / (last - first)
        changed = any(change <= progress.episode for change in self.changes)
        return None if changed else progress.seconds / max(1, progress.episode)

    def close(self) -> None:
        """Leave the line as it stands."""
        if self._bar is not None:
            self._bar.close()
