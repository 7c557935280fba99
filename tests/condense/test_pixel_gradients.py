"""What the optimiser gets is the slope of the loss, and which mode the networks are in that the loss is made with."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from yoco.condense.method import Task
from yoco.condense.methods.acc_dd import AccDD
from yoco.condense.methods.cafe import CAFE
from yoco.condense.methods.datadam import DataDAM
from yoco.condense.methods.datm import DATM
from yoco.condense.methods.dc import DC
from yoco.condense.methods.dm import DM
from yoco.condense.methods.dream import DREAM
from yoco.condense.methods.dsa import DSA
from yoco.condense.methods.frepo import FRePo
from yoco.condense.methods.idc import IDC
from yoco.condense.methods.idm import IDM
from yoco.condense.methods.m3d import M3D
from yoco.condense.methods.mdc import MDC
from yoco.condense.methods.mtt import MTT
from yoco.condense.methods.readout import Readout
from yoco.condense.methods.sre2l import SRe2L
from yoco.data import Splits
from yoco.rng import Rng

NETWORK = "convnet:width=4,depth=2"
BATCH = "convnet:width=4,depth=2,norm=batch"
PLAIN: dict[str, Any] = {"real_batch": 8, "augment": ""}
INNER: dict[str, Any] = {**PLAIN, "network_images": 16, "network_batch": 16}
EXPERTS: dict[str, Any] = {"count": 1, "expert_epochs": 3, "expert_batch": 60, "max_start": 1}
FOLLOWED: dict[str, Any] = {**EXPERTS, "student_steps": 3, "lr_start": 0.05, "augment": ""}

STEPPED: dict[str, Any] = {
    "cafe": CAFE(**PLAIN, query=8, inner=1, centre_weight=1.0),
    "datadam": DataDAM(**PLAIN, feature_weight=1.0),
    "datm": DATM(**FOLLOWED, threshold=1e9),
    "dc": DC(**PLAIN, outer=2, inner=1),
    "dm": DM(**PLAIN),
    "dsa": DSA(real_batch=8, outer=2, inner=1),
    "idm": IDM(**PLAIN, pool_start=2, network_batch=16, network_steps=1),
    "mtt": MTT(**FOLLOWED),
}
"""Methods that step as on normalised pixels: a gradient is the slope times the variance of the channel."""
METHODS: dict[str, Any] = {
    **STEPPED,
    "acc-dd": AccDD(**INNER, early=1, early_epochs=1),
    "dream": DREAM(**INNER),
    "frepo": FRePo(real_batch=20, pool=1, ridge=1e-2),
    "idc": IDC(**INNER),
    "m3d": M3D(**PLAIN, kernel="polynomial"),  # the widths of the Gaussian one follow the pixels, but take no gradient
    "mdc": MDC(**INNER),
    "readout": Readout(real_batch=20, pool=1, head_steps=5, network_steps=1),
    "sre2l": SRe2L(episodes=3, squeeze=1, teacher=BATCH, norm_weight=1.0),
}
IN_TRAINING: dict[str, Any] = {**METHODS, "tesla": MTT(**FOLLOWED, constant_memory=True)}


@pytest.fixture
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def pixels(synthetic: Any) -> Tensor:
    """Those that are learned: of DATM, not the cells, which are their running mean."""
    learned: Tensor = synthetic.beside.get("pixels", synthetic.cells)
    return learned


def begun(method: Any, task: Task) -> tuple[Any, Any]:
    """The synthetic set and the memory at the start; no pixel is near a bound."""
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(1))
    with torch.no_grad():
        pixels(synthetic).uniform_(0.2, 0.8)
    return synthetic, memory


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("name", METHODS)
def test_gradients_are_the_slopes_of_the_loss(tiny: Splits, name: str) -> None:
    """In the second episode, whose networks have learned something where a method trains them."""
    method, task = METHODS[name], Task(tiny.train, 2, NETWORK)
    synthetic, memory = begun(method, task)
    list(method.episode(task, synthetic, memory, Rng(2)))

    def loss() -> Tensor:
        return next(method.episode(task, synthetic, memory, Rng(3)))

    synthetic.take_gradient(loss())
    assert pixels(synthetic).grad.any()
    for leaf in synthetic.parameters():
        place, way, values = leaf.detach().clone(), torch.randn_like(leaf), []
        for step in (-1e-6, 1e-6):
            leaf.data.copy_(place + step * way)
            values.append(loss().item())
        leaf.data.copy_(place)
        slope = (values[1] - values[0]) / 2e-6
        scale = task.real.std[0] ** 2 if name in STEPPED and leaf is pixels(synthetic) else 1.0
        assert (leaf.grad * way).sum().item() == pytest.approx(scale * slope, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("name", sorted({*IN_TRAINING} - {"dream", "sre2l"}))
def test_networks_are_matched_in_training_mode(tiny: Splits, name: str) -> None:
    """Every batch passes the batch norms under its own statistics, also in a network that has been trained or asked.

    DREAM's network first chooses images, in evaluation mode; SRe2L's teacher stays in it.
    """
    method, task, seen, modes = IN_TRAINING[name], Task(tiny.train, 2, BATCH), list[bool](), list[bool]()
    synthetic, memory = begun(method, task)

    def look(module: nn.Module, given: Any) -> None:
        if isinstance(module, nn.BatchNorm2d):
            seen.append(module.training)

    with register_module_forward_pre_hook(look):
        for episode in range(2):
            for _ in method.episode(task, synthetic, memory, Rng(2).child(episode)):
                modes += seen
                seen.clear()
            seen.clear()  # what came after the last loss
    assert modes
    assert all(modes)
