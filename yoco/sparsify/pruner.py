"""Prune a trained network layer by layer: second moments, zeros for each layer, and its weights solved."""

import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from yoco.registry import unknown
from yoco.rng import Rng
from yoco.sparsify.allocate import ALLOCATIONS, Curve
from yoco.sparsify.calibration import Calibration
from yoco.sparsify.counts import check_allocation, counts
from yoco.sparsify.curves import COSTS, ENOUGH, WEIGHINGS, Solving, Unit, bounds_of, curves, put
from yoco.sparsify.hessian import Moments, moments, moments_after
from yoco.sparsify.hold import remove
from yoco.sparsify.layer import Layer, Solved, check_names, solver_of, try_solver
from yoco.sparsify.layout import LAYOUTS
from yoco.sparsify.masks import Masks
from yoco.sparsify.network import Prunable, biases, layers, matrix, neighbours, parts, sharers
from yoco.sparsify.patterns import parse
from yoco.sparsify.pruned import Pruned, Report


@dataclass(frozen=True, kw_only=True)
class Pruner:
    """How to prune a trained network; call it with the network, calibration images and the sparsity.

    solver: a name of SOLVERS, or module:function. options: those of the solver.
    allocation: how zeros are shared out among layers. hull, programme and tolerance compare curves of error against
    zeros, measured as `weigh` and `cost` say (see `curves`). global sorts one score over all layers, by default
    relative to their outputs (see `scores`). uniform, uniform_plus and erk are layouts, which look at shapes alone. Or
    a mapping, in place of sparsity: name of the weight to its count or share of zeros. Under layouts and a mapping, the
    groups of a convolution share the zeros of their layer by the score of `global`; with the solver random and under
    the patterns row and block:C they share them equally.
    tolerance: the largest error of a layer, measured as `weigh` says, with allocation "tolerance" in place of sparsity.
    layers: names of the weights to prune, by default all that images reach. A warning names one that they do not reach,
    such as a weight that is read without calling its layer. Layouts are for all layers and refuse such a network.
    pattern, refit, ridge: see `yoco.sparsify.solve`; the pattern N:M needs no sparsity, and takes no allocation.
    prune_bias: biases are pruned like weights and have masks, and sparsity is the share of zeros among both. Not with
    layouts or the cost flops, which count weights alone.
    sequential: a layer takes its inputs from the network that is already sparse ahead of it and its target outputs from
    the dense one, so that it makes up for the errors of the layers before it.
    """

    solver: str = "exact"
    allocation: str | Mapping[str, int | float] = "hull"
    weigh: str = "relative"
    cost: str = "weights"
    tolerance: float | None = None
    layers: Sequence[str] | None = None
    pattern: str | None = None
    refit: bool = True
    ridge: float = 1e-6
    prune_bias: bool = False
    sequential: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "Pruner":
        """A Pruner of these options; those that are no fields of it are the solver's and join its `options`."""
        check_names(options.get("solver"), [f.name for f in fields(cls)])
        own = {f.name: options[f.name] for f in fields(cls) if f.name in options}
        others = {name: value for name, value in options.items() if name not in own}
        return cls(**{**own, "options": {**own.get("options", {}), **others}})

    def __post_init__(self) -> None:
        known = {"allocation": (*ALLOCATIONS, "global", *LAYOUTS), "weigh": WEIGHINGS, "cost": COSTS}
        for kind, words in known.items():
            word = getattr(self, kind)
            given = kind == "allocation" and isinstance(word, Mapping)
            if not given and not (isinstance(word, str) and word in words):
                raise unknown(kind, str(word), words)
        form = parse(self.pattern)
        if not 0 <= self.ridge <= 1:
            raise ValueError(f"sparsify: ridge must be in 0..1, got {self.ridge:g}")
        if self.allocation == "global" and not form.group and form.step(2) > 1:
            raise ValueError(f"allocation global: prunes only single weights, got pattern {form.name}")
        if self.prune_bias and (form.group or form.block > 1):
            raise ValueError(f"sparsify: prune_bias cannot be used with patterns N:M and block:C, got {form.name}")
        if self.layers is not None and not self.layers:
            raise ValueError("sparsify: layers must name at least one, got none")
        if self.tolerance is not None and not (self.allocation == "tolerance" and 0 <= self.tolerance < float("inf")):
            got = f"{self.tolerance:g} and allocation {self.allocation}"
            raise ValueError(f"sparsify: tolerance must be at least 0 and needs allocation tolerance, got {got}")
        if form.group and (self.tolerance is not None or self.allocation != Pruner.allocation):
            shared = "zeros of each layer" if isinstance(self.allocation, Mapping) else f"allocation {self.allocation}"
            got = "a tolerance" if self.tolerance is not None else shared
            raise ValueError(f"sparsify: pattern {self.pattern} fixes the number of zeros, got {got} as well")
        if self.allocation == "global" and self.weigh in ("bound", "loss"):
            raise ValueError(f"sparsify: weigh must be relative or error with allocation global, got {self.weigh}")
        if self.prune_bias and self.cost != "weights":
            raise ValueError(f"sparsify: cost {self.cost} does not count biases, got prune_bias")
        if self.prune_bias and isinstance(self.allocation, str) and self.allocation in LAYOUTS:
            raise ValueError(f"sparsify: prune_bias needs an allocation that counts biases, got {self.allocation}")
        self._check_unread()

    def _check_unread(self) -> None:
        """Refuse a `weigh` or `cost` other than the default that nothing reads."""
        said, named = self._unpriced(), " or ".join(ALLOCATIONS)
        if said and self.cost != Pruner.cost:
            raise ValueError(f"sparsify: cost {self.cost} needs sparsity and allocation {named}, got {said}")
        if said and self.weigh != Pruner.weigh and self.allocation not in ("tolerance", "global"):
            raise ValueError(f"sparsify: weigh {self.weigh} needs allocation {named} or global, got {said}")

    def _unpriced(self) -> str:
        """What says how many zeros there are without a look at `cost`, if anything does."""
        if parse(self.pattern).group:
            return f"pattern {self.pattern}"
        if self.tolerance is not None:
            return f"tolerance {self.tolerance:g}"
        if isinstance(self.allocation, Mapping):
            return "zeros of each layer"
        return "" if self.allocation in ALLOCATIONS else f"allocation {self.allocation}"

    def check(self, sparsity: float | None) -> None:
        """Check that the solver takes its options and the pattern, and that the number of zeros is given only once.

        Raises:
            ValueError: it does not, or a tolerance, a mapping or a pattern of another sparsity is given, too.
        """
        solver_of(self.solver, self.options)
        try_solver(self.solver, self.pattern, self.options)
        if sparsity is None:
            return
        form = parse(self.pattern)
        if form.group and abs(sparsity - form.limit / form.group) > 1e-3:
            raise ValueError(f"sparsify: pattern {form.name} fixes the number of zeros, got sparsity {sparsity:g}")
        if self.tolerance is not None:
            raise ValueError(f"sparsify: needs either sparsity or tolerance, got {sparsity:g} and {self.tolerance:g}")
        if isinstance(self.allocation, Mapping):
            got = f"{sparsity:g} and {len(self.allocation)} layers"
            raise ValueError(f"sparsify: needs either sparsity or an allocation of zeros by layer, got {got}")

    def check_network(self, network: nn.Module, sparsity: float | None, names: Iterable[str]) -> None:
        """Check that these options fit the network, as far as its layers tell.

        names: of the layers that images reach.

        Raises:
            ValueError: a named layer does not exist or is not reached, a bias is not a parameter of one layer alone,
                or the pattern, the bound or the allocation does not fit the network.
        """
        form, known, own = parse(self.pattern), layers(network), biases(network)
        wanted = self._wanted(network)
        met = [name for name in names if name in wanted]
        self._idle(network, met)
        for name in met:
            if known[name].bias is not None and list(own.values()).count(own.get(name, "")) != 1:
                got = "a shared or computed one"
                raise ValueError(f"sparsify: the bias next to {name} must be a parameter of one layer alone, got {got}")
            inputs, line = known[name].weight[0].numel(), form.group or form.block
            if inputs % line:
                raise ValueError(f"pattern {form.name}: inputs must be a multiple of {line}, got {inputs} of {name}")
        if isinstance(self.allocation, str) and self.allocation in ALLOCATIONS and not form.group:
            bounds_of(network, self.weigh)
        if not form.group:
            check_allocation(network, self.allocation, sparsity, met, self.prune_bias)

    def _wanted(self, network: nn.Module) -> Sequence[str]:
        """The names in `layers`, or those of all layers."""
        known = layers(network)
        for name in self.layers or ():
            if name not in known:
                raise unknown("layer", name, known)
        return self.layers or tuple(known)

    def __call__(self, network: nn.Module, data: Calibration, *, sparsity: float | None, rng: Rng) -> Pruned:
        """Prune; sparsity: share of zeros of the weights (or of the FLOPs, with `cost`) of the chosen layers.

        Raises:
            ValueError: a layer or a word that is not known, or a sparsity that is not possible, or beside a mapping.
        """
        self.check(sparsity)
        sparsity = None if parse(self.pattern).group else sparsity  # the pattern says it, to the last zero
        found = self.moments(network, data)
        self.check_network(network, sparsity, found)
        if (idle := self._idle(network, found)) and isinstance(self.allocation, str):
            said = f"sparsify: no image reaches {len(idle)} of {len(layers(network))} layers, such as {idle[0]}"
            warnings.warn(f"{said}; they stay dense, and sparsity ignores them", stacklevel=2)
        for name, count in sharers(network).items():
            if name in found and count > 1:
                said = f"sparsify: {name} is the weight of {count} layers"
                warnings.warn(f"{said}; it is solved for the inputs of the first one only", stacklevel=2)
        units, made = self.units(network, found), dict[Unit, Curve]()
        how = Solving(self.solver, self.refit, rng.child("solve"), self.options)

        def costs() -> dict[Unit, Curve]:
            far = self.allocation == "programme" and (sparsity or 0) > ENOUGH
            made.update(curves(network, units, found, how, weigh=self.weigh, cost=self.cost, data=data, far=far))
            return made

        zeros = counts(network, units, self.allocation, sparsity, self.solver, costs, self.weigh, self.tolerance)
        pruned = self._solved(network, data, found, units, zeros, how)
        return replace(pruned, curves={unit.label: curve for unit, curve in made.items()})

    def curves(self, network: nn.Module, data: Calibration, rng: Rng) -> dict[str, Curve]:
        """What zeros in each layer cost, as `weigh` says, by the name of the weight; groups of it have numbers."""
        found = self.moments(network, data)
        how = Solving(self.solver, self.refit, rng.child("solve"), self.options)
        made = curves(network, self.units(network, found), found, how, weigh=self.weigh, cost=self.cost, data=data)
        return {unit.label: curve for unit, curve in made.items()}

    def moments(self, network: nn.Module, data: Calibration) -> dict[str, Moments]:
        """The second moments of the inputs of the chosen layers, in the order in which an image meets them.

        Raises:
            ValueError: a layer that the network does not have, or that no image meets.
        """
        self._wanted(network)
        found = moments(network, data, self.layers)
        self._idle(network, found)
        return found

    def _idle(self, network: nn.Module, met: Collection[str]) -> list[str]:
        """Layers that are to be pruned and that no image meets.

        Raises:
            ValueError: they are named, or the zeros are shared out among all layers.
        """
        idle = [name for name in self._wanted(network) if name not in met]
        if idle and self.layers is not None:
            raise ValueError(f"sparsify: layers must be reached by images, got {idle[0]}")
        if idle and isinstance(self.allocation, str) and self.allocation in LAYOUTS:
            rule = f"allocation {self.allocation} needs all layers"
            raise ValueError(f"sparsify: {rule}, got {idle[0]}, which no image reaches")
        return idle

    def units(self, network: nn.Module, found: Mapping[str, Moments]) -> dict[Unit, Layer]:
        """Each layer, or each group of it, ready to be solved."""
        places = layers(network)
        return {
            Unit(name, group): self._layer(places[name], rows, second)
            for name, sums in found.items()
            for group, (rows, second) in enumerate(zip(matrix(places[name]), sums.dense / sums.n, strict=True))
        }

    def _layer(self, place: Prunable, rows: Tensor, second: Tensor) -> Layer:
        bias = place.bias is not None
        how: Any = {"pattern": self.pattern, "ridge": self.ridge, "bias": bias, "prune_bias": self.prune_bias and bias}
        return Layer(rows, second, order=neighbours(place), **how)

    def _solved(
        self,
        network: nn.Module,
        data: Calibration,
        found: Mapping[str, Moments],
        units: Mapping[Unit, Layer],
        zeros: Mapping[Unit, int],
        how: Solving,
    ) -> Pruned:
        """Solve layer after layer, in the order in which an image meets them."""
        sparse, reports, known = remove(deepcopy(network)), {}, biases(network)
        masks, weights = dict[str, Tensor](), dict[str, Tensor]()
        for name, dense in found.items():
            place, own = layers(network)[name], [unit for unit in units if unit.name == name]
            sums = moments_after(network, sparse, data, name, dense) if self.sequential else dense
            problems = {unit: self._target(place, sums, unit) if self.sequential else units[unit] for unit in own}
            solved = [problem.solve(zeros[unit], self.solver, **how.of(unit)) for unit, problem in problems.items()]
            rows = torch.stack([one.weight for one in solved])
            put(layers(sparse)[name], rows)
            names = [name, known[name]] if name in known else [name]
            chosen = _named(names, place, torch.stack([one.mask for one in solved]))
            masks |= chosen if self.prune_bias else {name: chosen[name]}
            weights.update(_named(names, place, rows))
            reports[name] = _report(matrix(place), sums, solved)
        return Pruned(Masks(masks), weights, reports, self.solver)

    def _target(self, place: Prunable, sums: Moments, unit: Unit) -> Layer:
        """The layer on its inputs in the sparse network; its dense weights are refitted there to the dense outputs.

        The ridge pulls them towards the original weights; they equal these if nothing ahead of the layer is sparse.
        """
        rows, second = matrix(place)[unit.group], sums.sparse[unit.group] / sums.n
        problem = Layer(rows, second, ridge=self.ridge).problem
        lacking = problem.weight @ (sums.cross[unit.group].T / sums.n - second) / problem.scale
        best = problem.weight + lacking @ problem.inverse
        return self._layer(place, best.to(rows.dtype), second)


def _named(names: Sequence[str], place: Prunable, rows: Tensor) -> dict[str, Tensor]:
    """Weight and bias, if there is one, or their masks, by these parameter names."""
    weight, bias = parts(place, rows)
    found = [weight.contiguous()] if bias is None else [weight.contiguous(), bias]
    return dict(zip(names, found, strict=True))


def _report(before: Tensor, sums: Moments, solved: Sequence[Solved]) -> Report:
    after, before = torch.stack([one.weight for one in solved]).double(), before.double()
    dense, sparse, cross = (total / sums.n for total in (sums.dense, sums.sparse, sums.cross))
    change = after - before
    predicted = float(((change @ dense) * change).sum()) / 2
    crossed = ((after @ sparse) * after).sum() - 2 * ((after @ cross) * before).sum()
    target = float(crossed + ((before @ dense) * before).sum()) / 2
    ridge, dead = max(one.ridge for one in solved), sum(int(one.dead.sum()) for one in solved)
    return Report(predicted, max(target, 0.0), ridge, dead)
