"""Files of DATM: labels that were learned as logits, and the step size beside them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from yoco.condensed import load
from yoco.convert import convert
from yoco.data.source import Splits
from yoco.evaluate import evaluate


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def datm(folder: Path, images: Tensor, labels: Tensor, lr: Any = None) -> Path:
    """Files as DATM writes them."""
    torch.save(images, folder / "images_best.pt")
    torch.save(labels, folder / "labels_best.pt")
    if lr is not None:
        torch.save(lr, folder / "lr_best.pt")
    return folder / "images_best.pt"


@pytest.mark.parametrize("lr", [0.02, torch.tensor(0.02)])
def test_labels_are_the_softmax_of_logits_and_the_step_size_is_read(lr: Any, tmp_path: Path) -> None:
    logits = (3 * torch.eye(10) + 0.1 * drawn(10, 10)).flip(0)
    source = datm(tmp_path, drawn(10, 3, 4, 4), logits, lr)
    convert(source, tmp_path / "set.safetensors", data="cifar10")
    made = load(tmp_path / "set.safetensors")
    assert (made.space, made.whitening, made.classes[3]) == ("zca", {"eps": 0.1}, "cat")
    assert made.labels.tolist() == list(range(10))[::-1]
    assert made.soft_labels is not None
    torch.testing.assert_close(made.soft_labels, logits.softmax(1))
    assert made.config["learned"] == {"lr": pytest.approx(0.02)}


def test_shares_stay_and_classes_without_a_name_are_counted(tmp_path: Path) -> None:
    shares = drawn(4, 5).softmax(1)
    made = convert(datm(tmp_path, drawn(4, 3, 4, 4), shares), tmp_path / "x.npz")
    assert made.soft_labels is not None
    assert torch.equal(made.soft_labels, shares)
    assert torch.equal(made.labels, shares.argmax(1))
    assert made.classes == ("0", "1", "2", "3", "4")
    assert "learned" not in made.config


def test_networks_learn_from_such_a_set_at_its_step_size(tiny: Splits, tmp_path: Path) -> None:
    made = convert(datm(tmp_path, drawn(3, 1, 8, 8), 3 * torch.eye(3), 0.02), tmp_path / "set.safetensors")
    how: dict[str, Any] = {"networks": "mlp:width=8", "epochs": 1, "seeds": 1, "progress": False, "device": "cpu"}
    assert evaluate(made, tiny, protocol="mtt", **how).results[0].images == 3


@pytest.mark.parametrize(("lr", "said"), [(torch.tensor(-0.5), "-0.5"), (torch.ones(2), "nan"), (float("inf"), "inf")])
def test_a_step_size_that_cannot_be_is_left_out(tmp_path: Path, lr: Any, said: str) -> None:
    source = datm(tmp_path, drawn(3, 3, 4, 4), torch.eye(3), lr)
    with pytest.warns(
        UserWarning, match=f"lr_best.pt next to it holds no step size above 0, got {said}; it is left out$"
    ):
        assert "learned" not in convert(source, tmp_path / "x.npz").config


def test_learned_labels_leave_no_doubt_of_the_space(tmp_path: Path) -> None:
    """Sets of this size are not whitened where they are MTT's own, whose labels are whole numbers."""
    assert convert(datm(tmp_path, drawn(200, 3, 2, 2), 3 * torch.eye(200)), tmp_path / "x.npz").space == "zca"


def test_what_is_no_such_file_is_one_line(tmp_path: Path) -> None:
    def refused(rule: str, source: Path, **given: Any) -> None:
        with pytest.raises(ValueError) as caught:
            convert(source, tmp_path / "x.npz", **given)
        assert str(caught.value) == f"convert: {source}: {rule}"

    images, eye = drawn(3, 3, 4, 4), torch.eye(3)
    source = datm(tmp_path, images, eye, 0.5)
    refused("condensed set: soft_labels must be [3, 10], got [3, 3]", source, data="cifar10")
    refused("labels must be whole numbers [3], got torch.int64 [2]", datm(tmp_path, images, eye[:2]))
    refused("labels must be whole numbers [3], got torch.float32 [3, 1]", datm(tmp_path, images, eye[:, :1]))
    plain = source.rename(tmp_path / "images_zca_best.pt")
    rule = "holds the learned images with the whitening undone; give the file without zca in its name"
    refused(f"{rule}, got images_zca_best.pt", plain)
