"""Outcomes: one table of all that was measured, and the same as JSON that any reader takes."""

import json

import torch

from yoco.networks import build
from yoco.rng import Rng
from yoco.sparsify.certificate import certify
from yoco.sparsify.masks import Masks, weights
from yoco.sparsify.measure import measure
from yoco.sparsify.outcome import Outcome
from yoco.sparsify.pruned import Pruned, Report
from yoco.sparsify.sparse import Size


def outcome(empty: bool = False, bounded: bool = True) -> Outcome:
    network = build("mlp:width=8" if bounded else "convnet:width=4,depth=1", (1, 8, 8), 3, Rng(0))
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights(network).items()}
    masks["head.weight"][:, 4:] = False
    if empty:
        masks["head.weight"][:] = False
    pruned = Pruned(Masks(masks), {}, {"head.weight": Report(0.1234567, 0.2, 1e-6, 3)}, "own")
    sparse, images = pruned.applied(network), torch.randn(4, 1, 8, 8, generator=Rng(1).generator())
    measured = measure(sparse, (1, 8, 8), pruned.masks)
    return Outcome(
        pruned=pruned,
        measure=measured,
        accuracy={"dense": 98.765, "pruned": 50.0},
        seconds={"dense": 1.5},
        size=Size(2000, 1234),
        certificate=certify(network, sparse, [images]),
        settings={"seed": 0},
    )


def test_the_table_has_a_line_for_each_layer_and_the_total() -> None:
    made = outcome()
    lines = made.markdown().splitlines()
    assert lines[0] == "test accuracy: dense 98.77 %, pruned 50.00 %"
    head = "layer | weights | zeros | sparsity | dense flops | flops | effective | predicted | measured | ridge"
    assert lines[2] == f"| {head} |"
    error = made.certificate.layers["head.weight"].measured
    assert lines[6] == f"| head.weight | 24 | 12 | 50.00% | 24 | 12 | 12 | 0.1235 | {error:.4g} | 1e-06 |"
    assert lines[5] == "| stages.1.0.weight | 64 | 0 | 0.00% | 64 | 64 | 32 |  | 0 | 0e+00 |"
    assert lines[7] == "| total | 600 | 12 | 2.00% | 600 | 588 | 556 |  |  |  |"
    assert "file: 1,234 bytes, dense 2,000" in lines
    assert str(made.measure.effective) in lines
    assert str(made.measure.effective).startswith("effective: 556 weights, ")


def test_bounds_and_paths_that_are_not_there_are_said_so() -> None:
    assert "at most: none (spectral), none (frobenius)" in outcome(bounded=False).markdown()
    assert "effective: 0 weights, 0 of 83 nodes, no paths" in outcome(empty=True).markdown()


def test_json_has_no_numbers_that_json_does_not_know() -> None:
    for made in (outcome(), outcome(empty=True), outcome(bounded=False)):
        content = json.loads(json.dumps(made.json(), allow_nan=False))
        assert [row["layer"] for row in content["layers"]] == [*made.pruned.masks, "total"]
        assert content["bytes"] == {"dense": 2000, "file": 1234}
    assert json.loads(json.dumps(outcome(empty=True).json()))["effective"]["log10_paths"] is None
    row = outcome().json()["layers"][2]
    assert (row["effective"], row["predicted"], row["dead"]) == (12, 0.1234567, 3)
    assert {"measured", "moved", "frobenius", "spectral"} <= set(row)
