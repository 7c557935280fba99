"""One score for all layers: a single sort says how many zeros each of them gets."""

from collections.abc import Mapping

import torch
from torch import Tensor

from yoco.sparsify.curves import Unit
from yoco.sparsify.layer import Layer
from yoco.sparsify.patterns import lowest


def by_score(units: Mapping[Unit, Layer], solver: str, zeros: int, weigh: str = "error") -> dict[Unit, int]:
    """Zeros for each unit, `zeros` in sum, from the lowest scores of all layers; ties go to the first layer.

    magnitude: w^2. obd and wanda: w_q^2 H_qq / 2. random: no scores, the same share of each layer.
    All others: w_q^2 / 2 [H^-1]_qq, the rise of the layer's error that L-OBS and OBS predict for one weight.
    weigh: "relative" divides these errors by half the mean square of the layer's outputs. Otherwise a layer of small
    outputs, such as the last, would lose everything. It does not apply to magnitude and random, which have no errors.
    Each of several similar inputs seems useless while the others are there, so that a layer may lose nearly all of its
    weights. Curves take account of that.
    """
    scales = _energies(units) if weigh == "relative" and solver not in ("magnitude", "random") else {}
    scores = [_score(layer, solver).flatten() / scales.get(unit.name, 1.0) for unit, layer in units.items()]
    gone = lowest(torch.cat(scores), zeros)
    parts = gone.split([len(score) for score in scores])
    return {unit: int(part.sum()) for unit, part in zip(units, parts, strict=True)}


def _energies(units: Mapping[Unit, Layer]) -> dict[str, float]:
    """Half the mean square of the outputs of each layer, all groups together, by the name of its weight."""
    found: dict[str, float] = {}
    for unit, layer in units.items():
        weight = layer.problem.weight
        energy = float(((weight @ layer.moments) * weight).sum()) / 2
        found[unit.name] = found.get(unit.name, 1e-300) + energy
    return found


def _score(layer: Layer, solver: str) -> Tensor:
    """Of the prunable weights, [out, columns]."""
    problem = layer.problem
    weight = problem.live[:, : problem.columns]
    if solver == "magnitude":
        return problem.weight[:, : problem.columns].square()
    if solver == "random":
        return torch.linspace(0, 1, weight.numel(), dtype=torch.float64, device=weight.device)
    if solver in ("obd", "wanda"):
        return weight.square() * problem.diagonal[: problem.columns] * (problem.scale / 2)
    return weight.square() / problem.inverse.diagonal()[: problem.columns] * (problem.scale / 2)
