"""Node-Path Balance (Pham et al., NeurIPS 2023): masks with many effective nodes and many effective paths.

each layer keeps n weights, by ERK; layer by layer, from the image on, with P_i paths into each input i:
    M = argmax  alpha A + (1 - alpha) B + beta R     over whole 0 <= M_ij <= cap with sum M <= n
        A = share of the inputs and outputs that have a weight       M_ij = weights kept in the kernel of i and j
        B = sum_ij P_i M_ij / (its largest possible value)           R = 1 - (empty kernels) / n
    keep M_ij positions of each kernel
move the weights that no path crosses to where one does
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from yoco.data.source import Batch
from yoco.registry import unknown
from yoco.rng import Rng
from yoco.sparsify.flow import follow
from yoco.sparsify.layout import layout_of
from yoco.sparsify.masks import Masks, weights
from yoco.sparsify.paths import on_paths
from yoco.sparsify.trial import Normaliser, image_shape

MODES = ("paper", "repo")
POSITIONS = ("random", "magnitude")


@dataclass(frozen=True, kw_only=True)
class Aim:
    """What a layer's mask is rewarded for, and the most weights of a kernel; see `npb`."""

    alpha: float = 0.01
    beta: float = 1.0
    cap: int | None = None
    mode: str = "paper"

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"npb: alpha must be in 0..1, got {self.alpha:g}")
        if not 0 <= self.beta < float("inf"):
            raise ValueError(f"npb: beta must be at least 0, got {self.beta:g}")
        if self.cap is not None and self.cap < 1:
            raise ValueError(f"npb: cap must be at least 1, got {self.cap}")
        if self.mode not in MODES:
            raise unknown("npb mode", self.mode, MODES)


def npb(
    network: nn.Module,
    *,
    sparsity: float,
    rng: Rng,
    data: Batch | None = None,
    normalise: Normaliser | None = None,
    shape: tuple[int, int, int] | None = None,
    layout: str = "erk",
    alpha: float = 0.01,
    beta: float = 1.0,
    cap: int | None = None,
    mode: str = "paper",
    positions: str = "random",
) -> Masks:
    """Balance effective nodes and paths in every layer, and leave no weight without a path.

    shape: (C, H, W) of an image, by default that of the data, whose images are not read.
    cap: most weights of a kernel, where the layer's budget allows it (the paper's max_p: 9 on CIFAR-10, 6 on
    Tiny-ImageNet, there with beta 2); by default the whole kernel. positions: which weights of a kernel are kept,
    "random" ones or the largest ("magnitude").
    mode: "repo" follows the authors' code in two points: inputs without paths count in A, and where a layer keeps fewer
    weights than one input could take, B is divided by a far larger number (`most_paths`), so that nodes count more.
    The authors run their code with alpha 0.01 and beta 1; its own defaults are alpha 0.99, beta 0.001 and cap 5.

    Raises:
        ValueError: sparsity is not in [0, 1), an option out of its range, or a network that cannot be followed.

    Not in the paper: the layers are solved exactly by sorting, whole, where the paper calls an integer solver on
    chunks; P counts pools by their windows; all convolutions and linear layers are treated alike, by their kernels.
    """
    aim, size = Aim(alpha=alpha, beta=beta, cap=cap, mode=mode), image_shape("npb", data, shape)
    budgets, keys = layout_of(layout)(network, sparsity), _keys(network, positions, rng.child("positions"))

    def choose(name: str, weight: Tensor, log: Tensor) -> Tensor:
        """The mask of a layer, from the paths that reach its inputs."""
        if name not in budgets:
            return weight != 0
        paths = (log.flatten(2).logsumexp(2) if log.ndim > 2 else log)[0].cpu()
        problem = Problem.of(paths, weight, budgets[name], aim.cap)
        counts = assigned(problem, *solved(problem, aim), rng.child(name))
        return placed(counts, keys[name]).reshape(weight.shape)

    used = on_paths(follow(network, size, choose))
    kept = {
        name: used.get(name, weight.new_zeros(weight.shape, dtype=torch.bool))
        for name, weight in weights(network).items()
    }
    live = follow(network, size, lambda name, weight, _: kept.get(name, weight != 0)).live()
    return Masks(refilled(kept, live, keys, budgets))


@dataclass(frozen=True)
class Problem:
    """One layer: which kernels get how many of `budget` weights.

    paths: P up to a factor, float64 [in], in 0..1; reached: P > 0, bool [in]; width: outputs that each input may go to.
    groups: inputs of a group, in order, share their `width` outputs. cap: most weights of a kernel.
    """

    paths: Tensor
    reached: Tensor
    width: int
    groups: int
    budget: int
    cap: int

    @classmethod
    def of(cls, log: Tensor, weight: Tensor, budget: int, cap: int | None) -> "Problem":
        """The problem of a weight [out, in / groups, ...] with log counts of paths into its inputs, [in].

        The cap is raised where the budget could not be spent otherwise.
        """
        groups, size = len(log) // weight.shape[1], weight[0, 0].numel()
        width = len(weight) // groups
        least = -(-budget // (len(log) * width))
        top = log.max() if log.max() > -torch.inf else log.new_zeros(())
        return cls((log - top).exp(), log > -torch.inf, width, groups, budget, max(least, min(cap or size, size)))


def solved(problem: Problem, aim: Aim) -> tuple[Tensor, Tensor]:
    """The best M by its rows: how many kernels of each input are not empty, and the weights beyond one in each; [in].

    A weight is worth its paths; beside that the first of an input, and the first of an output, earn a node, the first
    of a kernel earns R. All rewards fall the more is had, and P depends on the input alone: so the budget goes to the
    most valuable first. Outputs are all alike; the first kernels, as many as there are outputs, each reach a new one.
    """
    inputs, width, cap = len(problem.paths), problem.width, problem.cap
    path = (1 - aim.alpha) * problem.paths / most_paths(problem, aim.mode)
    node = aim.alpha / (inputs + problem.groups * width)
    counts = problem.reached if aim.mode == "paper" else torch.ones_like(problem.reached)
    kernel = path + aim.beta / max(1, problem.budget)
    values = torch.stack([kernel + node * counts, kernel])
    sizes = torch.stack([torch.ones(inputs), torch.full((inputs,), width - 1.0)]).double()
    fresh = torch.zeros_like(sizes)
    for group in range(problem.groups):
        rows = slice(group * inputs // problem.groups, (group + 1) * inputs // problem.groups)
        order = values[:, rows].flatten().argsort(descending=True, stable=True)
        offered = (sizes * counts)[:, rows].flatten()
        taken = torch.empty_like(offered)
        taken[order] = _shared(offered[order], width)
        fresh[:, rows] = taken.reshape(2, -1)
    values = torch.cat([values + node, values, path[None]])
    sizes = torch.cat([fresh, sizes - fresh, torch.full((1, inputs), width * (cap - 1.0)).double()])
    order = values.flatten().argsort(descending=True, stable=True)
    chosen = torch.empty(sizes.numel(), dtype=torch.float64)
    chosen[order] = _shared(sizes.flatten()[order], problem.budget)
    chosen = chosen.reshape(sizes.shape)
    return chosen[:4].sum(0).long(), chosen[4].long()


def most_paths(problem: Problem, mode: str) -> float:
    """What B is divided by: sum P M of the greedy mask, which fills the kernels of the inputs with most paths.

    mode "repo": if the budget does not fill all kernels of one input, those of all inputs are counted as full, beside
    that, as the authors' code does; B then weighs little, and nodes decide.
    """
    rich, row = problem.paths.sort(descending=True).values, problem.width * problem.cap
    most = float((rich * _shared(torch.full((len(rich),), row), problem.budget)).sum())
    if mode == "repo" and problem.budget < row:
        most += float(rich.sum()) * row
    return most or 1.0


def _shared(offers: Tensor, budget: int) -> Tensor:
    """How much each of the offers, in order, gets of the budget."""
    before = offers.cumsum(0) - offers
    return (budget - before).clamp(min=0).minimum(offers)


def assigned(problem: Problem, kernels: Tensor, extras: Tensor, rng: Rng) -> Tensor:
    """M, long [out, in / groups], with these numbers of kernels and further weights for each input.

    The inputs choose in turns, those with most paths first: kernels of the outputs that have fewest, then of those the
    lightest; chance decides between equals.
    """
    per = len(kernels) // problem.groups
    counts = torch.zeros(problem.groups, problem.width, per, dtype=torch.long)
    ties = torch.rand(len(kernels), problem.width, generator=rng.generator(), dtype=torch.float64)
    degree, load = torch.zeros(2, problem.groups, problem.width, dtype=torch.float64)
    for i in torch.where(problem.reached, problem.paths, -1.0).argsort(descending=True, stable=True).tolist():
        group, column = divmod(i, per)
        chosen = (degree[group] + ties[i]).argsort(stable=True)[: int(kernels[i])]
        if not len(chosen):
            continue
        each, rest = divmod(int(extras[i]), len(chosen))
        light = chosen[(load[group, chosen] + ties[i, chosen]).argsort(stable=True)]
        counts[group, chosen, column] = 1 + each
        counts[group, light[:rest], column] += 1
        degree[group, chosen] += 1
        load[group] += counts[group, :, column]
    return counts.flatten(0, 1)


def placed(counts: Tensor, keys: Tensor) -> Tensor:
    """The positions of each kernel that are kept, those of the largest keys: bool, keys [out, in, size]."""
    rank = keys.argsort(dim=2, descending=True, stable=True).argsort(dim=2)
    return rank < counts[..., None]


def refilled(
    kept: Mapping[str, Tensor], live: Mapping[str, Tensor], keys: Mapping[str, Tensor], budgets: Mapping[str, int]
) -> dict[str, Tensor]:
    """Keep more weights, up to the budgets, in places where they lie on a path: the fullest kernels first.

    kept: only weights on a path; live: those and all others that would be on one. What finds no place in its layer goes
    on to the next one, then to any before, at last to places without a path. Equally full kernels go by their keys.
    """
    full, spare = {name: mask.cpu().clone() for name, mask in kept.items()}, 0
    for name, mask in full.items():
        spare += budgets[name] - int(mask.sum())
        spare -= _fill(mask, live[name].cpu() if name in live else torch.zeros_like(mask), keys[name], spare)
    for anywhere in (False, True):
        for name, mask in full.items():
            allowed = live[name].cpu() if name in live and not anywhere else torch.full_like(mask, anywhere)
            spare -= _fill(mask, allowed, keys[name], spare)
    return {name: mask.to(kept[name].device) for name, mask in full.items()}


def _fill(kept: Tensor, allowed: Tensor, keys: Tensor, count: int) -> int:
    """Keep up to `count` more of the allowed weights, in place; how many there were."""
    free = (allowed & ~kept).reshape(keys.shape)
    fullness = kept.reshape(keys.shape).sum(2).double()
    order = (fullness + keys.amax(2) / (1 + keys.amax())).flatten().argsort(descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    inside = keys.argsort(dim=2, descending=True, stable=True).argsort(dim=2)
    places = (rank.reshape(fullness.shape)[..., None] * keys.shape[2] + inside).masked_fill(~free, keys.numel())
    first = places.flatten().argsort(stable=True)[: min(count, int(free.sum()))]
    kept.view(-1)[first] = True
    return len(first)


def _keys(network: nn.Module, positions: str, rng: Rng) -> dict[str, Tensor]:
    """What decides between weights that are otherwise alike, larger first: float64 [out, in, size]."""
    if positions not in POSITIONS:
        raise unknown("npb positions", positions, POSITIONS)
    flat = {name: weight.reshape(*weight.shape[:2], -1).cpu().double() for name, weight in weights(network).items()}
    if positions == "magnitude":
        return {name: weight.abs() for name, weight in flat.items()}
    return {
        name: torch.rand(weight.shape, generator=rng.child(name).generator(), dtype=torch.float64)
        for name, weight in flat.items()
    }
