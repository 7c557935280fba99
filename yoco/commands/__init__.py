"""The commands: for each a form of options (tyro reads it) and what is done with them."""

from typing import NamedTuple


class Command(NamedTuple):
    """target: module:function, called with the words; does: a line for the help."""

    target: str
    does: str


COMMANDS = {
    "condense": Command("yoco.commands.condense:condense", "learn a small synthetic set from a data set"),
    "experts": Command(
        "yoco.commands.experts:experts", "record the trajectories of trained networks that mtt and datm need"
    ),
    "relabel": Command(
        "yoco.commands.relabel:relabel", "give a condensed set soft labels, by a network that learns the real data"
    ),
    "prune": Command("yoco.commands.prune:prune", "make a smaller set out of a condensed set or a data set"),
    "score": Command("yoco.commands.prune:score", "say how hard each sample of a set is"),
    "evaluate": Command(
        "yoco.commands.evaluate:evaluate", "train networks on a set from scratch and measure their accuracy"
    ),
    "sparsify": Command(
        "yoco.commands.sparsify:sparsify", "prune the weights of a network, after training or at initialisation"
    ),
    "report": Command("yoco.commands.files:report", "draw the images and curves of a run, and its table; compare runs"),
    "convert": Command(
        "yoco.commands.files:convert", "read and write npz, PNG folders and the files that papers published"
    ),
}
