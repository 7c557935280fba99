"""The first and second table of YOCO's paper on Fashion-MNIST: 10 images per class pruned to 1, 2 and 5.

    python experiments/idc_fashion.py --bf16                # makes the set
    python experiments/table1_fashion.py --part 0 2 &       # about an hour on two cores, in two processes
    python experiments/table1_fashion.py --part 1 2
    python experiments/table1_fashion.py                    # writes the result

Dynamics and networks are trained for 250 epochs: a quarter of the paper's, as many image passes as 1,000 epochs of
whole images. What was stopped goes on.
"""

import command_line
import grid
import table1

if __name__ == "__main__":
    options = command_line.options(
        __doc__,
        "runs/idc-fashion-bf16/at-400.safetensors",
        "runs/table1-fashion",
        "table1_fashion",
        ipc=[1, 2, 5],
        ablation=[1],
        runs=3,
        seeds=2,
        epochs=250,
        score_epochs=250,
        bf16=1,
    )
    table1.run(options, grid.Grid.of(options))
