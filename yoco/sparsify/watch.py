"""Watch: how long the stages of a study took, and what the network was worth after each."""

import time
from collections.abc import Callable
from typing import TypeVar

from torch import nn

T = TypeVar("T")


class Watch:
    """Accuracies and seconds of the stages."""

    def __init__(self, judge: Callable[[nn.Module], float]) -> None:
        self.judge = judge
        self.accuracies: dict[str, float] = {}
        self.seconds: dict[str, float] = {}

    def __call__(self, stage: str, network: nn.Module, work: Callable[[nn.Module], T], judged: bool = True) -> T:
        """Do the work, and note how long it took and what the network is worth then."""
        began = time.monotonic()
        answer = work(network)
        self.seconds[stage] = round(time.monotonic() - began, 3)
        if judged:
            self.accuracies[stage] = self.judge(network)
        return answer
