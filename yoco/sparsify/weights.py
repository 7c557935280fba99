"""Weights of a network out of a file."""

from errno import EISDIR
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from yoco.disk import at_home
from yoco.sparsify.sparse import BITS, load


def load_weights(network: nn.Module, path: Path, who: str = "sparsify") -> None:
    """Load a state_dict into the network, from a .safetensors file, a .pt file of tensors alone, or a sparse file.

    who: the command, which error messages begin with.

    Raises:
        FileNotFoundError: there is no such file.
        IsADirectoryError: it is a folder.
        ValueError: it does not fit the network.
    """
    path = at_home(path)
    if path.is_dir():
        raise IsADirectoryError(EISDIR, "Is a folder, name a file", str(path))
    if not path.is_file():
        raise FileNotFoundError(2, "No such file", str(path))
    if path.suffix not in (".safetensors", ".pt", ".pth"):
        raise ValueError(f"{who}: weights must be .safetensors or .pt, got {path.name!r}")
    try:
        tensors = path.suffix == ".safetensors"
        state = load_file(path) if tensors else torch.load(path, map_location="cpu", weights_only=True)
        sparse = any(name.endswith(BITS) for name in state)
        network.load_state_dict(load(path).state if sparse else state)
    except Exception as error:
        line = (str(error) or type(error).__name__).splitlines()[-1].strip()
        raise ValueError(f"{who}: {path} must hold weights of this network, got: {line}") from None
