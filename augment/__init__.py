"""Differentiable augmentation on batches: random parameters are drawn once and can be applied to any batch.

policy = Policy("color_crop_cutout_flip_scale_rotate", "dsa")
draw = policy.draw(1, (32, 32), torch.Generator().manual_seed(0))
real, synthetic = policy(real, draw), policy(synthetic, draw)       # the same for both (siamese)
"""

from augment.color import Brightness, Contrast, Saturation
from augment.combined import InTurn, OnePerImage
from augment.cutmix import CutMix, Mix
from augment.cutout import Cutout
from augment.geometry import Crop, Flip, ResizedCrop, Rotate, Scale, Translate
from augment.kornia_op import KorniaOp
from augment.op import Op, Params
from augment.policy import FLAVOURS, OPS, WORDS, Draw, Policy

__all__ = [
    "FLAVOURS",
    "OPS",
    "WORDS",
    "Brightness",
    "Contrast",
    "Crop",
    "CutMix",
    "Cutout",
    "Draw",
    "Flip",
    "InTurn",
    "KorniaOp",
    "Mix",
    "OnePerImage",
    "Op",
    "Params",
    "Policy",
    "ResizedCrop",
    "Rotate",
    "Saturation",
    "Scale",
    "Translate",
]
