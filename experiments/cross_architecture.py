r"""The third table of YOCO's paper: pruned sets, ranked with a ConvNet, train other networks.

    python experiments/cross_architecture.py --part 0 2 &
    python experiments/cross_architecture.py --part 1 2
    python experiments/cross_architecture.py

On digits, by default. On Fashion-MNIST:

    python experiments/cross_architecture.py --set runs/idc-fashion-bf16/at-400.safetensors --out runs/table1-fashion \
        --epochs 250 --score-epochs 250 --bf16 1 --networks convnet resnet10:width=32 --ipc 1 \
        --name cross_architecture_fashion

It shares its set and its trials with table1_digits.py, or table1_fashion.py, which say how the set is made. (The
committed table of digits is of an earlier set, made by the same settings.)
"""

import command_line
import grid
import result

if __name__ == "__main__":
    options = command_line.options(
        __doc__,
        "runs/idc-digits/condensed.safetensors",
        "runs/table1-digits",
        "cross_architecture",
        networks=["convnet", "resnet10:width=32", "densenet"],
        known={"ways": grid.WAYS},
        ways=["yoco", "random", "ccs"],
        ipc=[1, 2],
        runs=3,
        seeds=1,
        epochs=1000,
        score_epochs=1000,
        bf16=0,
    )
    shared = grid.Grid.of(options)
    wanted = [
        grid.Trial(way, run, ipc, seed, network)
        for seed in range(options.seeds)
        for network in options.networks
        for ipc in options.ipc
        for run in range(options.runs)
        for way in options.ways
    ]
    done = shared.judged(wanted, options.part)
    if done is not None:
        rows = grid.summary(done, ("network", "way", "ipc"))
        content = {**shared.about(done), "networks": options.networks, "rows": rows}
        print(f"written to {result.write(options.name, folder=options.results, **content)}")
