"""What every network is: stages one after another, and a linear head on the last."""

from contextlib import nullcontext

import torch
from torch import Tensor, nn


class Network(nn.Module):
    """Stages and a head; a subclass only fills `stages` and `head`.

    It is made by Class(channels, classes, (height, width), **options), and expects normalised images, float
    [n, C, H, W]. Whatever its constructor draws at random must be a parameter, with requires_grad=False if it does not
    learn, not a buffer: methods that start from the weights of another network (MTT, DATM) copy only its parameters.
    autocast: a dtype, such as torch.bfloat16, in which the device may compute; outputs are float32 all the same.
    """

    stages: nn.ModuleList
    head: nn.Linear
    autocast: torch.dtype | None = None

    def forward(self, images: Tensor) -> Tensor:
        """Logits, [n, classes]."""
        with self._precision(images):
            logits: Tensor = self.head(self._last(images).flatten(1))
        return self._plain(logits)

    def seen(self, images: Tensor) -> Tensor:
        """The input of the head, [n, D]: the last of `features`, flattened, without memory for the other stages."""
        with self._precision(images):
            last = self._last(images)
        return self._plain(last.flatten(1))

    def features(self, images: Tensor) -> list[Tensor]:
        """The output of every stage; the last one, flattened, is what the head sees."""
        with self._precision(images):
            outputs = self._stage_outputs(images)
        return [self._plain(output) for output in outputs]

    def _stage_outputs(self, images: Tensor) -> list[Tensor]:
        outputs = [images]
        for stage in self.stages:
            outputs.append(stage(outputs[-1]))
        return outputs[1:]

    def _last(self, images: Tensor) -> Tensor:
        for stage in self.stages:
            images = stage(images)
        return images

    def _precision(self, images: Tensor) -> torch.autocast | nullcontext[None]:
        return nullcontext() if self.autocast is None else torch.autocast(images.device.type, self.autocast)

    def _plain(self, output: Tensor) -> Tensor:
        return output if self.autocast is None else output.float()
