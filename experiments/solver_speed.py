"""Time and peak memory of every solver of one layer, beside a literal loop of the procedure that L-OBS released.

    python experiments/solver_speed.py     # every measurement is a process of its own, of one thread, and is kept

The literal loop takes the inverse Hessian from one rank-one update for each sample, and removes one weight after the
other. Ours begins from the same samples, too: second moments, factorisation, choice and weights are all in the time.
column, which is SparseGPT's choice, exact, rounds and admm end with a refit here; the others do not, as published.
"""

import argparse
import json
from typing import Any

import apart
import command_line
import numpy as np
import result
import torch

from yoco.allocator import keep_freed_memory
from yoco.rng import Rng
from yoco.sparsify import SOLVERS, solve

LAYERS = [(785, 300), (1153, 128), (1153, 256), (4608, 512)]
LITERAL = "literal"
SLOW = (LITERAL, "rounds")
"""Ways that take hours on a layer of thousands of inputs."""
AS_PUBLISHED = ("lobs", "obd", "wanda", "magnitude", "random")
"""Without the refit that their papers do not have."""


def main() -> None:
    """Measure what is not measured yet, write the table."""
    options = read_options()
    torch.set_num_threads(1)
    if options.one:
        keep_freed_memory()
        print(json.dumps(measured(**json.loads(options.one))))
        return
    rows = []
    for d, m in options.layers:
        for solver in (LITERAL, *options.solvers):
            if solver not in SLOW or d <= options.slow:
                how = {"solver": solver, "d": d, "m": m, "samples": options.samples, "sparsity": options.sparsity}
                rows.append(apart.kept(__file__, how, options.out / f"{'-'.join(map(str, how.values()))}.json"))
    content = {
        "data": "correlated normal inputs",
        "checksum": rows[0]["checksum"],
        "protocol": "time",
        "seeds": [0],
        "threads": torch.get_num_threads(),
        "samples": options.samples,
        "sparsity": options.sparsity,
        "rows": rows,
    }
    print(f"written to {result.write(options.name, folder=options.results, **content)}")


def measured(solver: str, d: int, m: int, samples: int, sparsity: float) -> dict[str, Any]:
    """Seconds, MiB and the error of one solver on one layer, from its inputs on."""
    inputs, weight = made(d, m, samples)
    zeros = int(sparsity * d * m)
    if solver == LITERAL:
        weights, spent = apart.timed(lambda: literal(inputs, weight, zeros))
    else:
        solve(weight[:8, :8], inputs[:, :8].T @ inputs[:, :8] / samples, zeros=9, solver=solver, rng=Rng(0))
        weights, spent = apart.timed(lambda: ours(inputs, weight, zeros, solver))
    change = (weights - weight).double()
    error = float((inputs.double() @ change.T).square().sum()) / samples / 2
    energy = float((inputs.double() @ weight.double().T).square().sum()) / samples / 2
    return {**spent, "error": error / energy, "checksum": result.digest(inputs)}


def ours(inputs: torch.Tensor, weight: torch.Tensor, zeros: int, solver: str) -> torch.Tensor:
    """What the library does, from the inputs of the layer on."""
    hessian = torch.zeros(inputs.shape[1], inputs.shape[1], dtype=torch.float64)
    for part in inputs.split(1000):
        hessian += part.double().T @ part.double()
    how: Any = {"zeros": zeros, "solver": solver, "refit": solver not in AS_PUBLISHED, "rng": Rng(0)}
    return solve(weight, hessian / len(inputs), **how).weight


def literal(inputs: torch.Tensor, weight: torch.Tensor, zeros: int) -> torch.Tensor:
    """The released procedure, as one would write it down: NumPy, sample by sample and weight by weight."""
    x, w = inputs.double().numpy(), weight.double().numpy().copy()
    inverse = 1e6 * np.eye(x.shape[1])
    for sample in x:
        moved = inverse @ sample
        inverse -= np.outer(moved, moved) / (len(x) + sample @ moved)
    scores = 0.5 * w**2 / np.diag(inverse)
    mask = np.ones_like(w)
    for place in np.argsort(scores, axis=None)[:zeros]:
        row, q = divmod(int(place), w.shape[1])
        w[row] -= w[row, q] / inverse[q, q] * inverse[:, q]
        mask[row, q] = 0
    return torch.from_numpy(w * mask).to(weight.dtype)


def made(d: int, m: int, samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs [samples, d] that are correlated as those of neighbouring pixels are, not below 0, and weights [m, d]."""
    draw = Rng(0).child("layer", d, m).generator()
    noise = torch.randn(samples, d, generator=draw)
    inputs = torch.nn.functional.avg_pool1d(noise[:, None], 9, 1, 4)[:, 0].mul(3).add(0.5).relu()
    return inputs, torch.randn(m, d, generator=draw) / d**0.5


def size(word: str) -> tuple[int, int]:
    """785x300 as two numbers."""
    inputs, outputs = word.split("x")
    return int(inputs), int(outputs)


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", nargs="+", type=size, default=LAYERS, metavar="INPUTSxOUTPUTS")
    parser.add_argument("--solvers", nargs="+", choices=list(SOLVERS), default=list(SOLVERS), metavar="SOLVER")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--sparsity", type=float, default=0.9)
    parser.add_argument(
        "--slow", type=int, default=1200, help="largest number of inputs for the literal loop and rounds"
    )
    command_line.add_places(parser, "runs/solver-speed", "solver_speed")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
