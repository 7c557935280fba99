"""The first and second table of YOCO's paper on scikit-learn's digits, by the full protocols.

    yoco condense --data digits --ipc 10 --pretrain 0 --inner 100 --network-images 500 --out runs/idc-digits
    python experiments/table1_digits.py

The set is made with networks that know nothing at first, as published, not with the better settings for digits.

Dynamics of 1,000 epochs, networks of the protocol's 1,000 epochs. What was stopped goes on.
"""

import command_line
import grid
import table1

if __name__ == "__main__":
    options = command_line.options(
        __doc__,
        "runs/idc-digits/condensed.safetensors",
        "runs/table1-digits",
        "table1_digits",
        ipc=[1, 2, 5],
        ablation=[1, 2, 5],
        runs=3,
        seeds=2,
        epochs=1000,
        score_epochs=1000,
    )
    table1.run(options, grid.Grid.of(options))
