"""Policies: words such as "color_crop_cutout" to ops, drawn together, in the two published flavours."""

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from augment.color import Brightness, Contrast, Saturation
from augment.cutout import Cutout
from augment.geometry import Crop, Flip, Rotate, Scale, Translate
from augment.op import Op, Params

OPS: dict[str, Callable[[float], Op]] = {
    "brightness": Brightness,
    "saturation": Saturation,
    "contrast": Contrast,
    "flip": Flip,
    "crop": Crop,
    "scale": Scale,
    "rotate": Rotate,
    "translate": Translate,
    "cutout": Cutout,
}
"""Word -> the op of one magnitude behind it."""

WORDS = ("color", *OPS)
FLAVOURS = ("dsa", "idc")
JITTER = ("brightness", "saturation", "contrast")
ALWAYS_BEFORE = ("flip", *JITTER, "color")

Draw = tuple[tuple[str, Params], ...]
"""The ops of one call, in order, each with its parameters."""


@dataclass(frozen=True)
class Policy:
    """Augmentations by name, drawn with an explicit generator, applied to any number of batches.

    words: of WORDS, joined by "_"; "color" is brightness, saturation and contrast; no words are the identity.
    flavour: "dsa" applies exactly one of the words a call (Zhao and Bilen, ICML 2021); "idc" always applies flip,
    colour and cutout where listed, in the order flip, colour, one of the others, cutout (Kim et al., ICML 2022).
    The rest are the magnitudes, in units of normalised pixels, shares of a side, factors and degrees.

    Raises:
        ValueError: an unknown or repeated word, an unknown flavour, or a magnitude out of its range.
    """

    words: str = ""
    flavour: str = "idc"
    brightness: float = 0.5
    saturation: float = 2.0
    contrast: float = 0.5
    flip: float = 0.5
    crop: float = 0.125
    scale: float = 1.2
    rotate: float = 15.0
    translate: float = 0.125
    cutout: float = 0.5

    def __post_init__(self) -> None:
        if self.flavour not in FLAVOURS:
            raise _unknown("flavour", self.flavour, FLAVOURS)
        for word in self.listed:
            if word not in WORDS:
                raise _unknown("word", word, WORDS)
        if len(set(self.listed)) < len(self.listed):
            raise ValueError(f"augment: words must not repeat, got {self.words!r}")
        for word in OPS:
            self.op(word)

    @property
    def listed(self) -> list[str]:
        """The words one by one."""
        return self.words.split("_") if self.words else []

    def op(self, word: str) -> Op:
        """The op behind a word other than "color", at this policy's magnitude."""
        return OPS[word](getattr(self, word))

    def draw(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Draw:
        """The ops of one call and `count` rows of parameters for each: 1 to share among batches, or n for n images."""
        words = self._choose(generator)
        single = [part for word in words for part in (JITTER if word == "color" else (word,))]
        return tuple((word, self.op(word).draw(count, size, generator)) for word in single)

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        """Images float [n, C, H, W] after the drawn ops, in turn."""
        for word, params in draw:
            images = self.op(word).apply(images, params)
        return images

    def _choose(self, generator: torch.Generator) -> list[str]:
        """The words of one call, in the order of their application."""
        listed = self.listed
        if self.flavour == "dsa":
            return _one(listed, generator)
        before = [word for word in ALWAYS_BEFORE if word in listed]
        others = [word for word in listed if word not in (*ALWAYS_BEFORE, "cutout")]
        return [*before, *_one(others, generator), *(["cutout"] if "cutout" in listed else [])]


def _unknown(kind: str, name: str, known: Iterable[str]) -> ValueError:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return ValueError(f"augment: unknown {kind} {name!r}; {hint}known: {', '.join(known)}")


def _one(words: list[str], generator: torch.Generator) -> list[str]:
    return [words[int(torch.randint(len(words), (1,), generator=generator))]] if words else []
