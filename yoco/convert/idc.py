"""data.pt of IDC (ICML 2022), DREAM (ICCV 2023) and YOCO (NeurIPS 2023): [images, labels], canvases of factor^2 tiles.

Image e of a class, once decoded, is tile e div n of canvas e mod n.
"""

import torch

from yoco.cells import cut
from yoco.condensed import CondensedSet
from yoco.convert import checkpoint
from yoco.convert.origin import Origin
from yoco.convert.pixels import space_of


def read(origin: Origin) -> CondensedSet:
    """Cells of all tiles, class by class in the order of decoding; pixels may leave [0, 1], and stay so.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged or of another form, or the factor is not in 1..H.
    """
    content = checkpoint.read(origin.path)
    if not isinstance(content, list | tuple) or len(content) != 2:
        origin.refuse("must hold [images, labels]", type(content).__name__)
    images, labels = origin.check_pair(*content)
    height, width = images.shape[2:]
    if not 1 <= origin.factor <= min(height, width):
        raise ValueError(f"convert: factor must be in 1..{min(height, width)}, got {origin.factor}")
    groups = [images[labels == label] for label in range(int(labels.max()) + 1)]
    counts = torch.tensor([len(group) for group in groups])
    return origin.condensed(
        torch.cat([cut(group, origin.factor) for group in groups]),
        torch.arange(len(groups)).repeat_interleave(counts * origin.factor**2),
        factor=origin.factor,
        size=(height, width),
        space=space_of(images, origin.path),
    )
