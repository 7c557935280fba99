"""DPaI against its steps written out, and what its two aims do."""

import numpy as np
import pytest
import torch

from yoco.networks import build
from yoco.rng import Rng
from yoco.sparsify.layout import erk
from yoco.sparsify.masks import weights
from yoco.sparsify.methods.dpai import _dead, dpai
from yoco.sparsify.paths import effective

SHAPE = (1, 2, 3)


def chosen(score: np.ndarray, count: int) -> np.ndarray:
    order = np.argsort(-np.abs(score).ravel(), kind="stable")[:count]
    return np.isin(np.arange(score.size), order).reshape(score.shape).astype(float)


def literal(
    scores: list[np.ndarray], counts: list[int], alpha: float, beta: float, lr: float, steps: int
) -> list[np.ndarray]:
    """Linear layers: the gradient of log P by products of masks, and Adam by its formulas."""
    first, second = ([np.zeros_like(s) for s in scores] for _ in range(2))
    for step in range(1, steps + 1):
        masks = [chosen(s, n) for s, n in zip(scores, counts, strict=True)]
        into, out = [np.ones(scores[0].shape[1])], [np.ones(len(scores[-1]))]
        for mask in masks:
            into.append(mask @ into[-1])
        for mask in reversed(masks):
            out.insert(0, mask.T @ out[0])
        total = into[-1].sum() or 1.0
        for k, mask in enumerate(masks):
            g = np.outer(out[k + 1], into[k]) / total
            used = g * mask
            nodes, kernels = (used.sum(1, keepdims=True) == 0), (used == 0)
            g = -g * (1 - alpha + alpha * ((1 - beta) * nodes + beta * kernels)) * np.sign(scores[k])
            first[k] = 0.9 * first[k] + 0.1 * g
            second[k] = 0.999 * second[k] + 0.001 * g**2
            mean, square = first[k] / (1 - 0.9**step), second[k] / (1 - 0.999**step)
            scores[k] = scores[k] - lr * mean / (np.sqrt(square) + 1e-8)
    return [chosen(s, n).astype(bool) for s, n in zip(scores, counts, strict=True)]


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 0.5), (0.99, 0.5), (1.0, 0.0), (0.7, 1.0)])
@pytest.mark.parametrize("sparsity", [0.6, 0.93])
def test_scores_move_as_written(alpha: float, beta: float, sparsity: float) -> None:
    network = build("mlp:width=7", SHAPE, 3, Rng(1))
    counts = erk(network, sparsity)
    start = [
        torch.randn(w.shape, generator=Rng(4).child(n).generator(), dtype=torch.float64).numpy()
        for n, w in weights(network).items()
    ]
    expected = literal(start, list(counts.values()), alpha, beta, 0.05, 25)
    found = dpai(network, sparsity=sparsity, rng=Rng(4), shape=SHAPE, alpha=alpha, beta=beta, lr=0.05, steps=25)
    for mask, right in zip(found.values(), expected, strict=True):
        assert (mask.numpy() == right).all()


def test_one_weight_that_is_used_keeps_its_whole_kernel_and_node_alive() -> None:
    used = torch.zeros(2, 3, 2, 2, dtype=torch.float64)
    used[0, 1, 0, 1] = 0.25
    nodes, kernels = (part.expand_as(used) for part in _dead(used))
    alone = torch.ones_like(used)
    alone[0, 1] = 0
    assert torch.equal(kernels, alone)
    assert torch.equal(nodes[0], torch.zeros(3, 2, 2, dtype=torch.float64))
    assert torch.equal(nodes[1], torch.ones(3, 2, 2, dtype=torch.float64))


def test_without_steps_it_is_random_by_erk() -> None:
    network = build("convnet:width=8,depth=2", (1, 8, 8), 3, Rng(0))
    masks = dpai(network, sparsity=0.9, rng=Rng(0), shape=(1, 8, 8), steps=0)
    assert {name: count.kept for name, count in masks.by_layer().items()} == erk(network, 0.9)
    assert masks != dpai(network, sparsity=0.9, rng=Rng(1), shape=(1, 8, 8), steps=0)


@pytest.mark.parametrize("name", ["convnet:width=16,depth=2,norm=batch", "resnet20:width=4"])
def test_paths_or_nodes_grow_by_what_alpha_says(name: str) -> None:
    network = build(name, (1, 8, 8), 3, Rng(0))
    aims = {
        "start": {"steps": 0},
        "paths": {"alpha": 0.0, "steps": 40},
        "nodes": {"alpha": 1.0, "beta": 0.0, "steps": 40},
    }
    found = {
        aim: effective(network, (1, 8, 8), dpai(network, sparsity=0.96, rng=Rng(0), shape=(1, 8, 8), **options))  # type: ignore[arg-type]
        for aim, options in aims.items()
    }
    assert found["paths"].log10_paths > found["start"].log10_paths + 0.3
    assert found["nodes"].nodes > found["start"].nodes
    assert found["nodes"].nodes > found["paths"].nodes


def test_norms_and_biases_have_no_part() -> None:
    network = build("convnet:width=8,depth=1,norm=batch", (1, 4, 4), 3, Rng(0))
    plain = dpai(network, sparsity=0.8, rng=Rng(0), shape=(1, 4, 4), steps=20)
    with torch.no_grad():
        network.stages[0][1].running_var.copy_(torch.logspace(-3, 3, 8))
        network.stages[0][1].weight.copy_(torch.linspace(-1, 1, 8))
        network.stages[0][0].bias.fill_(7)
    assert dpai(network, sparsity=0.8, rng=Rng(0), shape=(1, 4, 4), steps=20) == plain


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"alpha": 1.1}, "dpai: alpha must be in 0..1, got 1.1"),
        ({"beta": -1.0}, "dpai: beta must be in 0..1, got -1"),
        ({"lr": 0.0}, "dpai: lr must be above 0, got 0"),
        ({"steps": -1}, "dpai: steps must be at least 0, got -1"),
        ({"shape": None}, r"dpai: needs shape=\(C, H, W\) of an image, or data, got neither"),
    ],
)
def test_bad_options_are_said_in_one_line(options: dict[str, object], complaint: str) -> None:
    given = {"sparsity": 0.5, "rng": Rng(0), "shape": SHAPE, **options}
    with pytest.raises(ValueError, match=f"^{complaint}$"):
        dpai(build("mlp:width=4", SHAPE, 3, Rng(0)), **given)  # type: ignore[arg-type]


def test_too_many_paths_are_said() -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), *(torch.nn.Linear(60, 60) for _ in range(200)))
    with pytest.raises(ValueError, match=r"^dpai: the network has too many paths for float64$"):
        dpai(network, sparsity=0.1, rng=Rng(0), shape=(60, 1, 1), steps=1)
