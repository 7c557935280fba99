"""Features of evidence are those of the stage that was asked for."""

import pytest
import torch

from yoco.condensed import CondensedSet
from yoco.prune import observe
from yoco.rng import Rng
from yoco.train import Recipe


@pytest.mark.parametrize("stage", [0, 1])
def test_evidence_has_the_features_of_the_stage(stage: int, tiny_set: CondensedSet) -> None:
    network, recipe = "convnet:width=4,depth=2,norm=batch", Recipe(epochs=1, batch=10)
    how = {"network": network, "stage": stage, "dynamics": False, "snapshot": True}
    seen = observe(tiny_set, epochs=1, recipe=recipe, rng=Rng(5), **how).snapshot  # type: ignore[arg-type]
    assert seen is not None
    with torch.no_grad():
        outputs = seen.network.features(seen.images)  # type: ignore[operator, union-attr]
    assert len(outputs) == 2
    torch.testing.assert_close(seen.features, outputs[stage].flatten(1))
