"""Files: what a study leaves in a folder, each as soon as it is there: what fails or is stopped later loses none."""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any

from safetensors.torch import save as as_bytes
from torch import nn

from yoco.artefact import python_number
from yoco.disk import at_home, check_place, replace_file
from yoco.run import alone
from yoco.sparsify.hold import held, remove
from yoco.sparsify.sparse import Size, save

DENSE, SPARSE = "dense.safetensors", "sparse.safetensors"
SAID = ("sparsify.json", "table.md", "curves.png")
"""What is said of a sparse file; that of another one is no longer true."""


class Files:
    """A folder, or None, for which nothing is written. about: what the sparse file says of its network."""

    def __init__(self, folder: Path | None, about: Mapping[str, Any]) -> None:
        self.folder = None if folder is None else at_home(folder)
        self.about, self.bytes = about, 0

    def check(self) -> None:
        """Find out ahead of long work whether they can be written.

        Raises:
            OSError: one of them cannot.
        """
        if self.folder is None:
            return
        for name in (DENSE, SPARSE, *SAID):
            check_place(self.folder / name)

    def alone(self) -> AbstractContextManager[None]:
        """Keep other processes out of the folder, which must be there.

        Raises:
            ValueError: another process works in it.
        """
        return nullcontext() if self.folder is None else alone(self.folder)

    def dense(self, network: nn.Module) -> None:
        """Write the weights as they are before they are pruned, or, at initialisation, trained.

        Sparse ones of others, and what was said of them, are taken away.
        """
        if self.folder is None:
            return
        if (self.folder / SPARSE).is_file():
            for name in (*SAID, SPARSE):  # it goes last: as long as it is there, what is said of it is taken away, too
                (self.folder / name).unlink(missing_ok=True)
        state = {name: value.cpu().contiguous().clone() for name, value in network.state_dict().items()}
        self.bytes = sum(value.numel() * value.element_size() for value in state.values())
        content = as_bytes(state)
        replace_file(self.folder / DENSE, lambda path: path.write_bytes(content))

    def sparse(self, network: nn.Module, shrunk: bool = False) -> Size | None:
        """Write the sparse weights; the network goes on to hold its zeros.

        shrunk: it is without its dead channels.
        """
        if self.folder is None:
            return None
        path, about = self.folder / SPARSE, {**self.about, "shrunk": shrunk}
        size = save(remove(deepcopy(network)), path, masks=held(network), about=about)
        return size._replace(dense=self.bytes)

    def say(self, found: Mapping[str, Any]) -> None:
        """Write all that was measured."""
        if self.folder is None:
            return
        text = json.dumps(found, indent=1, default=python_number)
        replace_file(self.folder / SAID[0], lambda path: path.write_text(text, encoding="utf-8"))
