"""Node-Path Balance: its layer problem against an integer solver, and what is made of the answer."""

import numpy as np
import pytest
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from torch import Tensor, nn

from yoco.networks import build
from yoco.rng import Rng
from yoco.sparsify.layout import erk
from yoco.sparsify.masks import Masks, budget, weights
from yoco.sparsify.methods.npb import Aim, Problem, assigned, most_paths, npb, placed, refilled, solved
from yoco.sparsify.methods.random import random
from yoco.sparsify.methods.synflow import synflow
from yoco.sparsify.paths import effective


def problem(seed: int, groups: int = 1) -> tuple[Problem, Aim]:
    """A small layer with paths, budget and rewards at random."""
    rng = np.random.default_rng(seed)
    inputs, width, size = groups * int(rng.integers(1, 5)), int(rng.integers(1, 6)), int(rng.choice([1, 4, 9]))
    paths = rng.integers(0, 6, inputs).astype(float) if seed % 2 else rng.random(inputs) * (rng.random(inputs) < 0.7)
    if not paths.any():
        paths[0] = 1
    weight = torch.zeros(groups * width, inputs // groups, size, 1)
    count = int(rng.integers(1, weight.numel() + 1))
    cap = int(rng.integers(1, size + 1)) if seed % 3 else None
    aim = Aim(
        alpha=float(rng.choice([0, 0.01, 0.3, 0.99, 1])),
        beta=float(rng.choice([0, 0.001, 1, 2])),
        cap=cap,
        mode=("paper", "repo")[seed // 2 % 2],
    )
    return Problem.of(torch.tensor(paths).log(), weight, count, cap), aim


def literal_most(p: Problem, mode: str) -> float:
    """The normaliser of B: greedy by loops; as the release computes it where that is not greedy."""
    row, order = p.width * p.cap, np.sort(p.paths.numpy())
    rows = p.budget // row
    if mode == "repo" and rows == 0:
        return (order * row).sum() + (p.budget - rows * row) * order[-1]
    most, left = 0.0, p.budget
    for value in order[::-1]:
        most += value * min(left, row)
        left -= min(left, row)
    return most


def objective(p: Problem, aim: Aim, matrix: np.ndarray) -> float:
    """alpha A + (1 - alpha) B + beta R of M [out, in / groups], term by term."""
    inputs, outputs, per = len(p.paths), p.groups * p.width, len(p.paths) // p.groups
    alive = p.reached.numpy() if aim.mode == "paper" else np.ones(inputs, dtype=bool)
    nodes, flow, full = 0.0, 0.0, 0
    for i in range(inputs):
        group = i // per
        column = matrix[group * p.width : (group + 1) * p.width, i % per]
        nodes += min(column.sum(), 1) * alive[i]
        flow += p.paths[i].item() * column.sum()
        full += (column > 0).sum()
    for j in range(outputs):
        group = j // p.width
        nodes += min((matrix[j] * alive[group * per : (group + 1) * per]).sum(), 1)
    share = nodes / (inputs + outputs)
    empty = matrix.size - full
    reward = aim.alpha * share + (1 - aim.alpha) * flow / literal_most(p, aim.mode)
    return reward + aim.beta * (1 - empty / p.budget)


def best(p: Problem, aim: Aim) -> float:
    """The optimum of the integer program: M, whether a kernel, an input and an output have a weight."""
    inputs, outputs, per = len(p.paths), p.groups * p.width, len(p.paths) // p.groups
    alive = p.reached.numpy() if aim.mode == "paper" else np.ones(inputs, dtype=bool)
    pairs = [(j, c) for j in range(outputs) for c in range(per)]
    source = [j // p.width * per + c for j, c in pairs]
    k = len(pairs)
    gain = np.concatenate(
        [
            (1 - aim.alpha) * p.paths.numpy()[source] / literal_most(p, aim.mode),
            np.full(k, aim.beta / p.budget),
            np.full(inputs + outputs, aim.alpha / (inputs + outputs)),
        ]
    )
    rows, high = [np.concatenate([np.ones(k), np.zeros(k + inputs + outputs)])], [float(p.budget)]
    for e in range(k):
        row = np.zeros(len(gain))
        row[k + e], row[e] = 1, -1
        rows.append(row)
    for i in range(inputs):
        row = np.zeros(len(gain))
        row[2 * k + i] = 1
        row[[e for e in range(k) if source[e] == i]] = -1.0 * alive[i]
        rows.append(row)
    for j in range(outputs):
        row = np.zeros(len(gain))
        row[2 * k + inputs + j] = 1
        for e in range(k):
            if pairs[e][0] == j:
                row[e] = -1.0 * alive[source[e]]
        rows.append(row)
    high += [0.0] * (len(rows) - 1)
    upper = np.concatenate([np.full(k, p.cap), np.ones(k + inputs + outputs)])
    answer = milp(
        -gain,
        constraints=LinearConstraint(np.array(rows), -np.inf, high),
        bounds=Bounds(0, upper),
        integrality=np.ones(len(gain)),
        options={"mip_rel_gap": 0},
    )
    assert answer.success
    return gain @ answer.x.round() + aim.beta * (1 - k / p.budget)


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_sorting_finds_what_an_integer_solver_finds(groups: int) -> None:
    for seed in range(36):
        p, aim = problem(seed + 100 * groups, groups)
        matrix = assigned(p, *solved(p, aim), Rng(seed)).numpy()
        assert matrix.sum() == p.budget
        assert matrix.min() >= 0
        assert matrix.max() <= p.cap
        assert -1e-9 < objective(p, aim, matrix) - best(p, aim) < 1e-5, seed  # the solver stops 1e-6 ahead


@pytest.mark.parametrize("mode", ["paper", "repo"])
def test_paths_are_divided_by_their_largest_number_or_as_the_release_does(mode: str) -> None:
    for seed in range(40):
        p, _ = problem(seed)
        assert most_paths(p, mode) == pytest.approx(literal_most(p, mode), rel=1e-12)


def test_inputs_without_paths_earn_nothing_but_in_the_release() -> None:
    p = Problem.of(torch.tensor([1.0, 0.0, 0.0]).log(), torch.zeros(4, 3), 4, None)
    assert solved(p, Aim(alpha=1, beta=0))[0].tolist() == [4, 0, 0]
    assert solved(p, Aim(alpha=1, beta=0, mode="repo"))[0].tolist() == [2, 1, 1]


def test_a_cap_is_raised_where_the_budget_needs_it_and_bounded_by_the_kernel() -> None:
    weight = torch.zeros(4, 2, 3, 3)
    caps = [Problem.of(torch.zeros(2), weight, count, cap).cap for count, cap in [(8, 5), (41, 5), (8, 20), (8, None)]]
    assert caps == [5, 6, 9, 9]


def test_counts_of_paths_may_be_of_any_size() -> None:
    logs = torch.tensor([5000.0, 4000.0, -torch.inf, 5000.0 - np.log(2)], dtype=torch.float64)
    p = Problem.of(logs, torch.zeros(2, 4), 3, None)
    assert p.paths.tolist() == pytest.approx([1, 0, 0, 0.5])
    assert p.reached.tolist() == [True, True, False, True]
    none = Problem.of(torch.full((2,), -torch.inf), torch.zeros(2, 2), 2, None)
    assert assigned(none, *solved(none, Aim()), Rng(0)).sum() == 2


def test_outputs_share_the_weights_as_evenly_as_can_be() -> None:
    generator = Rng(0).generator()
    p = Problem.of(torch.rand(8, generator=generator).log(), torch.zeros(6, 8, 3, 3), 50, None)
    matrix = assigned(p, *solved(p, Aim(beta=0.01)), Rng(0))
    sums = (matrix > 0).sum(1)
    assert sums.max() - sums.min() <= 1


def test_the_largest_keys_of_each_kernel_are_kept() -> None:
    counts, keys = torch.tensor([[2, 0], [4, 1]]), torch.rand(2, 2, 4, generator=Rng(0).generator())
    mask = placed(counts, keys)
    for o, i in np.ndindex(2, 2):
        assert set(np.flatnonzero(mask[o, i].numpy())) == set(keys[o, i].topk(int(counts[o, i])).indices.tolist())


def refill(kept: list[str], live: list[str], budgets: list[int], size: int = 2) -> list[str]:
    """Masks of one row as strings, for kernels of this size; keys fall from left to right."""

    def mask(text: str) -> Tensor:
        return torch.tensor([c == "1" for c in text]).reshape(1, -1, size)

    names = [str(k) for k in range(len(kept))]
    keys = {
        name: -torch.arange(len(text)).reshape(1, -1, size) / 100.0 + 1 for name, text in zip(names, kept, strict=True)
    }
    found = refilled(
        {name: mask(text) for name, text in zip(names, kept, strict=True)},
        {name: mask(text) for name, text in zip(names, live, strict=True)},
        keys,
        dict(zip(names, budgets, strict=True)),
    )
    return ["".join("01"[int(bit)] for bit in part.flatten()) for part in found.values()]


@pytest.mark.parametrize(
    ("kept", "live", "budgets", "expected"),
    [
        (["0010"], ["1111"], [2], ["0011"]),
        (["0010"], ["1110"], [2], ["1010"]),
        (["000010"], ["111111"], [4], ["110011"]),
        (["1000", "0100"], ["1000", "0111"], [2, 1], ["1000", "0110"]),
        (["1000", "0100"], ["1100", "0100"], [1, 3], ["1110", "0100"]),
        (["10", "10"], ["10", "10"], [2, 1], ["11", "10"]),
        (["00", "10"], ["00", "11"], [1, 1], ["00", "11"]),
    ],
)
def test_weights_without_a_path_move_to_where_one_is(
    kept: list[str], live: list[str], budgets: list[int], expected: list[str]
) -> None:
    assert refill(kept, live, budgets) == expected


@pytest.mark.parametrize(
    "name", ["lenet", "resnet20:width=4", "densenet:blocks=2-2,growth=4", "convnet:width=8,depth=2"]
)
@pytest.mark.parametrize("sparsity", [0.5, 0.9, 0.98])
def test_every_kept_weight_lies_on_a_path(name: str, sparsity: float) -> None:
    network = build(name, (1, 8, 8), 3, Rng(0))
    masks = npb(network, sparsity=sparsity, rng=Rng(1), shape=(1, 8, 8))
    found = effective(network, (1, 8, 8), masks)
    assert found.weights == masks.kept == budget(masks.total, sparsity)


def test_layers_keep_what_erk_says_and_kernels_no_more_than_the_cap() -> None:
    network = build("convnet:width=8,depth=2", (1, 16, 16), 3, Rng(0))
    free, capped = (npb(network, sparsity=0.8, rng=Rng(1), shape=(1, 16, 16), beta=0, cap=cap) for cap in (None, 1))
    many = [int((masks["stages.1.0.weight"].sum((2, 3)) > 1).sum()) for masks in (free, capped)]
    assert many[0] > 5
    assert many[1] <= 1, "weights that move from elsewhere may fill a kernel"
    spread = npb(network, sparsity=0.8, rng=Rng(1), shape=(1, 16, 16))
    assert spread["stages.1.0.weight"].sum((2, 3)).max() == 1
    assert {name: count.kept for name, count in spread.by_layer().items()} == erk(network, 0.8)


def test_positions_go_by_magnitude_where_asked() -> None:
    network = build("convnet:width=8,depth=2", (1, 16, 16), 3, Rng(0))
    masks = npb(network, sparsity=0.8, rng=Rng(1), shape=(1, 16, 16), positions="magnitude")
    for name in ("stages.0.0.weight", "stages.1.0.weight"):
        kernels, kept = weights(network)[name].abs().flatten(2), masks[name].flatten(2)
        for o, i in np.ndindex(kernels.shape[:2]):
            count = int(kept[o, i].sum())
            assert set(np.flatnonzero(kept[o, i].numpy())) == set(kernels[o, i].topk(count).indices.tolist())
    assert masks != npb(network, sparsity=0.8, rng=Rng(1), shape=(1, 16, 16))


def test_other_streams_give_other_masks_and_weights_do_not_count() -> None:
    network, other = (build("convnet:width=8,depth=2", (1, 8, 8), 3, Rng(seed)) for seed in (0, 1))
    masks = npb(network, sparsity=0.8, rng=Rng(1), shape=(1, 8, 8))
    assert masks == npb(other, sparsity=0.8, rng=Rng(1), shape=(1, 8, 8))
    assert masks != npb(network, sparsity=0.8, rng=Rng(2), shape=(1, 8, 8))


def test_nodes_and_paths_are_balanced_at_high_sparsity() -> None:
    network = build("resnet20:width=8", (3, 16, 16), 10, Rng(0))
    makers = {
        "paper": npb(network, sparsity=0.97, rng=Rng(0), shape=(3, 16, 16)),
        "repo": npb(network, sparsity=0.97, rng=Rng(0), shape=(3, 16, 16), mode="repo"),
        "random": random(network, sparsity=0.97, rng=Rng(0)),
        "synflow": synflow(network, sparsity=0.97, rng=Rng(0), shape=(3, 16, 16), iterations=20),
    }
    found = {name: effective(network, (3, 16, 16), masks) for name, masks in makers.items()}
    paths = {name: one.log10_paths for name, one in found.items()}
    nodes = {name: one.nodes for name, one in found.items()}
    assert paths["random"] < paths["repo"] < paths["paper"] < paths["synflow"]
    assert nodes["repo"] > max(nodes["paper"], nodes["synflow"])
    assert nodes["repo"] > 0.75 * found["repo"].all_nodes


class Idle(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.idle = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.used(images.flatten(1))


def test_a_layer_that_does_not_run_gives_its_weights_away() -> None:
    masks = npb(Idle(), sparsity=0.6, rng=Rng(0), shape=(4, 1, 1))
    assert (masks["used.weight"].sum(), masks["idle.weight"].sum()) == (13, 0)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"alpha": 1.5}, r"npb: alpha must be in 0..1, got 1.5"),
        ({"alpha": -0.1}, r"npb: alpha must be in 0..1, got -0.1"),
        ({"beta": -1}, r"npb: beta must be at least 0, got -1"),
        ({"beta": float("inf")}, r"npb: beta must be at least 0, got inf"),
        ({"cap": 0}, r"npb: cap must be at least 1, got 0"),
        ({"mode": "code"}, r"npb mode: unknown name 'code'; .*"),
        ({"positions": "all"}, r"npb positions: unknown name 'all'; .*"),
        ({"layout": "none"}, r"layout: unknown name 'none'; .*"),
        ({"shape": None}, r"npb: needs shape=\(C, H, W\) of an image, or data, got neither"),
        ({"sparsity": 1.0}, r"sparsity: must be at least 0 and below 1, got 1"),
    ],
)
def test_bad_options_are_said_in_one_line(options: dict[str, object], complaint: str) -> None:
    given = {"sparsity": 0.5, "rng": Rng(0), "shape": (4, 1, 1), **options}
    with pytest.raises(ValueError, match=f"^{complaint}$"):
        npb(Idle(), **given)  # type: ignore[arg-type]


def test_the_result_is_masks_of_the_whole_network() -> None:
    masks = npb(Idle(), sparsity=0.6, rng=Rng(0), shape=(4, 1, 1))
    assert isinstance(masks, Masks)
    masks.check(Idle())
