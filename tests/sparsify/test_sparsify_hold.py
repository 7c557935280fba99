"""Zeros stay zeros whatever trains, copies, stores or moves the network."""

import io
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from yoco.networks import build
from yoco.rng import Rng
from yoco.sparsify.hold import MASK, Hold, held, install, remove
from yoco.sparsify.masks import Masks, weights

NETWORKS = ("mlp:width=8", "convnet:width=4,depth=2,norm=batch", "resnet10:width=4")


def network(name: str = "mlp:width=8") -> nn.Module:
    return build(name, (1, 8, 8), 3, Rng(0))


def masks_of(given: nn.Module, seed: int = 1, share: float = 0.6) -> Masks:
    return Masks(
        {
            name: torch.rand(weight.shape, generator=Rng(seed).child(name).generator()) >= share
            for name, weight in weights(given).items()
        }
    )


def batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = Rng(seed).generator()
    return torch.randn(6, 1, 8, 8, generator=generator), torch.randint(3, (6,), generator=generator)


def gone(given: nn.Module, masks: Masks) -> bool:
    """Whether all that is masked is exactly zero, and not all the rest."""
    found = weights(given)
    return all(not found[name][~mask].any() and bool(found[name][mask].any()) for name, mask in masks.items())


def backward(given: nn.Module, seed: int = 0) -> None:
    images, labels = batch(seed)
    cross_entropy(given(images), labels).backward()


def train(given: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 5) -> None:
    given.train()
    for step in range(steps):
        optimizer.zero_grad()
        backward(given, step)
        optimizer.step()


def masked_gradients(given: nn.Module, masks: Masks) -> bool:
    return all(not given.get_parameter(name).grad[~mask].any() for name, mask in masks.items())


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_zeros_survive_training(name: str, optimizer: str) -> None:
    sparse = network(name)
    masks = masks_of(sparse)
    before = {key: value.clone() for key, value in sparse.named_parameters()}
    assert install(sparse, masks) is sparse
    assert gone(sparse, masks)
    assert held(sparse) == masks
    made = {
        "sgd": lambda: torch.optim.SGD(sparse.parameters(), 0.1, momentum=0.9, weight_decay=0.1, nesterov=True),
        "adam": lambda: torch.optim.Adam(sparse.parameters(), 0.01, weight_decay=0.1),
        "adamw": lambda: torch.optim.AdamW(sparse.parameters(), 0.01),
    }[optimizer]()
    train(sparse, made)
    assert gone(sparse, masks)
    assert masked_gradients(sparse, masks)
    for key, mask in masks.items():
        assert not torch.equal(before[key][mask], sparse.get_parameter(key)[mask])


def test_gradients_of_what_is_kept_are_those_of_the_masked_weights() -> None:
    sparse = network()
    masks = masks_of(sparse)
    plain = deepcopy(sparse)
    with torch.no_grad():
        for name, mask in masks.items():
            plain.get_parameter(name).mul_(mask)
    install(sparse, masks)
    backward(sparse)
    backward(plain)
    for name, parameter in plain.named_parameters():
        wanted = parameter.grad if name not in masks else parameter.grad * masks[name]
        assert torch.equal(sparse.get_parameter(name).grad, wanted)


def test_momentum_from_before_is_undone_ahead_of_each_pass() -> None:
    sparse = network()
    optimizer = torch.optim.SGD(sparse.parameters(), 0.1, momentum=0.9)
    train(sparse, optimizer)
    masks = masks_of(sparse)
    install(sparse, masks)
    train(sparse, optimizer, 3)
    assert not gone(sparse, masks)
    sparse(batch()[0])
    assert gone(sparse, masks)


def test_two_passes_ahead_of_one_backward() -> None:
    sparse = network("convnet:width=4,depth=2,norm=batch").eval()
    masks = masks_of(sparse)
    install(sparse, masks)
    one, two = (cross_entropy(sparse(batch(seed)[0]), batch(seed)[1]) for seed in (0, 1))
    (one + two).backward()
    assert masked_gradients(sparse, masks)
    both = {name: parameter.grad.clone() for name, parameter in sparse.named_parameters()}
    sparse.zero_grad()
    backward(sparse, 0)
    backward(sparse, 1)
    for name, parameter in sparse.named_parameters():
        torch.testing.assert_close(parameter.grad, both[name])


def test_gradients_are_masked_once_however_many_passes_there_were() -> None:
    sparse = install(network(), masks_of(network()))
    for _ in range(4):
        backward(sparse)
    assert len(sparse.head.weight._backward_hooks) == 1
    assert sum(isinstance(hook, Hold) for hook in sparse.head._forward_pre_hooks.values()) == 1


def test_a_weight_that_is_frozen_is_held_from_when_it_thaws() -> None:
    sparse = install(network(), masks_of(network())).requires_grad_(False)
    sparse(batch()[0])
    sparse.requires_grad_(True)
    backward(sparse)
    assert masked_gradients(sparse, masks_of(sparse))


@pytest.mark.parametrize("ran", [False, True])
@pytest.mark.parametrize("how", ["deepcopy", "file"])
def test_copies_hold_the_zeros_on_their_own(ran: bool, how: str) -> None:
    sparse = install(network(), masks_of(network()))
    masks = masks_of(sparse)
    if ran:
        backward(sparse)
        sparse.zero_grad()
    if how == "deepcopy":
        copied = deepcopy(sparse)
    else:
        file = io.BytesIO()
        torch.save(sparse, file)
        file.seek(0)
        copied = torch.load(file, weights_only=False)
    remove(sparse)
    assert held(sparse) is None
    assert held(copied) == masks
    backward(copied)
    assert masked_gradients(copied, masks)
    train(copied, torch.optim.Adam(copied.parameters(), 0.1))
    assert gone(copied, masks)
    assert all(parameter.grad is None for parameter in sparse.parameters())


def test_state_dicts_are_those_of_the_dense_network() -> None:
    dense = network("convnet:width=4,depth=2,norm=batch")
    masks = masks_of(dense)
    sparse = install(deepcopy(dense), masks)
    train(sparse, torch.optim.Adam(sparse.parameters(), 0.01))
    saved = sparse.state_dict()
    assert list(saved) == list(dense.state_dict())
    dense.load_state_dict(saved)
    assert gone(dense, masks)
    install(dense, masks)
    for given in (sparse, dense):
        given.zero_grad()
        train(given, torch.optim.Adam(given.parameters(), 0.01))
    assert all(torch.equal(*pair) for pair in zip(sparse.parameters(), dense.parameters(), strict=True))


def test_a_state_dict_can_be_loaded_where_zeros_are_held() -> None:
    dense, sparse = network(), install(network(), masks_of(network()))
    masks = masks_of(sparse)
    sparse.load_state_dict({name: value + 1 for name, value in dense.state_dict().items()})
    assert not gone(sparse, masks)
    backward(sparse)
    assert gone(sparse, masks)
    assert masked_gradients(sparse, masks)
    for name, mask in masks.items():
        assert torch.equal(sparse.get_parameter(name)[mask], (dense.get_parameter(name) + 1)[mask])


def test_functional_calls_take_what_they_are_given() -> None:
    sparse = install(network(), masks_of(network()))
    given = {name: (parameter.detach() + 1).requires_grad_() for name, parameter in sparse.named_parameters()}
    before = {name: tensor.clone() for name, tensor in given.items()}
    plain = network()
    outputs = torch.func.functional_call(sparse, given, (batch()[0],))
    assert torch.equal(outputs, torch.func.functional_call(plain, given, (batch()[0],)))
    outputs.sum().backward()
    assert all(torch.equal(given[name], before[name]) for name in given)
    assert gone(sparse, masks_of(sparse))
    own = torch.func.functional_call(sparse, dict(sparse.named_parameters()), (batch()[0],))
    assert torch.equal(own, sparse(batch()[0]))

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        return cross_entropy(torch.func.functional_call(sparse, parameters, (batch()[0],)), batch()[1])

    gradients = torch.func.grad(loss)({name: parameter.detach() for name, parameter in sparse.named_parameters()})
    assert all(bool(gradients[name].isfinite().all()) for name in gradients)
    train(sparse, torch.optim.SGD(sparse.parameters(), 0.1))
    assert gone(sparse, masks_of(sparse))


def test_masks_move_with_the_network() -> None:
    sparse = install(network(), masks_of(network()))
    masks = masks_of(sparse)
    backward(sparse)
    sparse.zero_grad(set_to_none=True)
    sparse.double().to("cpu")
    assert sparse.head.weight.dtype == torch.float64
    assert held(sparse) == masks
    images, labels = batch()
    cross_entropy(sparse(images.double()), labels).backward()
    assert masked_gradients(sparse, masks)
    assert gone(sparse, masks)
    assert gone(sparse.float(), masks)
    assert {name for name, _ in sparse.to("meta").named_buffers()} == {
        f"{n.removesuffix('weight')}{MASK}" for n in masks
    }
    assert sparse.head.get_buffer(MASK).device.type == "meta"


def test_remove_lets_go() -> None:
    sparse = install(network(), masks_of(network()))
    masks = masks_of(sparse)
    backward(sparse)
    assert remove(sparse) is sparse
    assert gone(sparse, masks)
    assert held(sparse) is None
    assert not list(sparse.buffers())
    assert not any(module._forward_pre_hooks for module in sparse.modules())
    sparse.zero_grad()
    backward(sparse)
    assert not masked_gradients(sparse, masks)
    train(sparse, torch.optim.SGD(sparse.parameters(), 0.1))
    assert not gone(sparse, masks)
    assert remove(network()) is not None


def test_masks_can_be_replaced() -> None:
    sparse = install(network(), masks_of(network()))
    backward(sparse)
    first, second = masks_of(sparse), masks_of(sparse, seed=2, share=0.2)
    new = {name: torch.ones_like(weight) for name, weight in sparse.named_parameters()}
    install(sparse, second, new)
    assert held(sparse) == second
    assert all(torch.equal(sparse.get_parameter(name), mask.float()) for name, mask in second.items())
    sparse.zero_grad()
    backward(sparse)
    assert masked_gradients(sparse, second)
    train(sparse, torch.optim.SGD(sparse.parameters(), 0.1, momentum=0.9))
    assert gone(sparse, second)
    assert not gone(sparse, first)
    assert sum(isinstance(hook, Hold) for hook in sparse.head._forward_pre_hooks.values()) == 1


def test_masks_of_some_layers_hold_those_alone() -> None:
    sparse = network()
    masks = Masks({"head.weight": masks_of(sparse)["head.weight"]})
    install(sparse, masks)
    assert held(sparse) == masks
    train(sparse, torch.optim.Adam(sparse.parameters(), 0.01))
    assert gone(sparse, masks)
    assert bool(weights(sparse)["stages.0.1.weight"].all())


def test_biases_are_held_as_weights_are() -> None:
    sparse, bias = network(), "head.bias"
    both = Masks({"head.weight": masks_of(sparse)["head.weight"], bias: torch.tensor([True, False, True])})
    install(sparse, both)
    assert held(sparse) == both
    assert list(sparse.state_dict()) == list(network().state_dict())
    for copied in (deepcopy(sparse), sparse):
        train(copied, torch.optim.Adam(copied.parameters(), 0.1, weight_decay=0.1))
        assert copied.head.bias.detach().ne(0).tolist() == both[bias].tolist()
        assert masked_gradients(copied, both)
        assert gone(copied, Masks({"head.weight": both["head.weight"]}))
        assert sum(isinstance(hook, Hold) for hook in copied.head._forward_pre_hooks.values()) == 1
    alone = Masks({bias: torch.tensor([False, True, True])})
    assert held(install(sparse, alone)) == alone
    train(sparse, torch.optim.SGD(sparse.parameters(), 0.1))
    assert sparse.head.bias.detach().ne(0).tolist() == alone[bias].tolist()
    assert held(remove(sparse)) is None
    assert not list(sparse.buffers())
