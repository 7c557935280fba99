"""What interrupts a run is an object like others: it goes from process to process with what it holds."""

import pickle

import torch

from yoco.condense.loop import Interrupted as Stopped
from yoco.condensed import CondensedSet
from yoco.data.source import Splits
from yoco.evaluate import Interrupted, evaluate


def test_an_interrupted_run_can_be_pickled(tiny_set: CondensedSet) -> None:
    again = pickle.loads(pickle.dumps(Stopped("stopped after 1 of 2 episodes", tiny_set)))
    assert type(again) is Stopped
    assert str(again) == "stopped after 1 of 2 episodes"
    assert torch.equal(again.condensed.cells, tiny_set.cells)


def test_an_interrupted_evaluation_can_be_pickled(tiny: Splits, tiny_set: CondensedSet) -> None:
    found = evaluate(tiny_set, tiny, epochs=1, seeds=1, networks="mlp:width=4", device="cpu", progress=False)
    again = pickle.loads(pickle.dumps(Interrupted(found)))
    assert type(again) is Interrupted
    assert again.result.results == found.results
    assert pickle.loads(pickle.dumps(Interrupted(None))).result is None
