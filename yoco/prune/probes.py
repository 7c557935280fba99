"""Probes: Snapshot -> float32 [n], larger = harder, always: scores that one trained network gives.

Under soft labels the label is their largest one, and an error norm is the distance to the soft label.
"""

from copy import deepcopy
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import softplus

from yoco.device import at_work
from yoco.prune.geometry import prototype_distance, ssp_distance
from yoco.prune.snapshot import Snapshot, place_of
from yoco.rng import Rng

PROBES: dict[str, str] = {
    "entropy": "yoco.prune.probes:entropy",
    "last-loss": "yoco.prune.probes:last_loss",
    "least-confidence": "yoco.prune.probes:least_confidence",
    "p-margin": "yoco.prune.probes:p_margin",
    "grand": "yoco.prune.probes:grand",
    "prototype": "yoco.prune.probes:prototype",
    "ssp": "yoco.prune.probes:ssp",
}
"""name -> function(snapshot, *, options)."""

FROM_FEATURES = ("prototype", "ssp")
"""The probes that read features and labels alone, so that any features will do."""


def entropy(snapshot: Snapshot) -> Tensor:
    """Entropy of the probabilities in nats, in [0, log C]."""
    log_p = snapshot.logits.double().log_softmax(1)
    return -(log_p.exp() * log_p).sum(1).float()


def last_loss(snapshot: Snapshot) -> Tensor:
    """Cross-entropy of the label, -log p_y, in nats: softplus of how far the others, by logsumexp, are above it."""
    logits, at = snapshot.logits.double(), snapshot.labels[:, None]
    others = logits.scatter(1, at, -torch.inf).logsumexp(1)
    return softplus(others - logits.gather(1, at).squeeze(1)).float()


def least_confidence(snapshot: Snapshot) -> Tensor:
    """1 - p of the likeliest class, in [0, 1), as the sum of all other probabilities, which loses nothing near 0."""
    return _others(snapshot).sum(1).float()


def p_margin(snapshot: Snapshot) -> Tensor:
    """1 - (p of the likeliest class - p of the second), in [0, 1], whatever the label says.

    So it is the margin of uncertainty sampling turned round; the 1 keeps apart what is nearly sure.
    """
    others = _others(snapshot)
    return (others.sum(1) + others.amax(1)).float()


def _others(snapshot: Snapshot) -> Tensor:
    """Probabilities with 0 in place of the largest: float64 [n, C]."""
    p = snapshot.logits.double().softmax(1)
    return p.scatter(1, p.argmax(1, keepdim=True), 0)


def grand(snapshot: Snapshot, *, parameters: Literal["last", "all"] = "last", chunk: int = 32) -> Tensor:
    """Norm of the gradient of each sample's own cross-entropy (Paul et al., GraNd, NeurIPS 2021).

    parameters: "last", those of the linear head with its bias, in closed form ||p - y|| sqrt(1 + ||h||^2), h being
    `snapshot.inputs`; or "all", which needs the network and its images. chunk: samples at a time, each of which takes
    the memory of all parameters once more; the scores do not depend on it. The paper averages networks at their start
    or early in training (`runs`, `epochs`); at the end of a long one the errors of what was learned are nearly 0.

    Raises:
        ValueError: an unknown word, a chunk below 1, or a snapshot without its network.
    """
    if parameters not in ("last", "all"):
        raise ValueError(f"grand: parameters must be last or all, got {parameters!r}")
    if chunk < 1:
        raise ValueError(f"grand: chunk must be at least 1, got {chunk}")
    if parameters == "last":
        height = torch.linalg.vector_norm(snapshot.inputs, dim=1).double()
        return (snapshot.errors.double().norm(dim=1) * (1 + height.square()).sqrt()).float()
    if snapshot.network is None or snapshot.images is None:
        raise ValueError("grand: parameters=all needs the network and its images, got a snapshot without them")
    return _gradient_norms(snapshot.network, snapshot.images, snapshot.errors, chunk)


def _gradient_norms(network: nn.Module, images: Tensor, errors: Tensor, chunk: int) -> Tensor:
    """||d loss_i / d theta|| over all parameters: that of <errors_i, logits_i> with the errors held fixed.

    The network is evaluated as it is, without a change of its batch statistics. Images are brought to it in chunks.
    """
    frozen = deepcopy(network).eval()
    weights = {name: weight.detach() for name, weight in frozen.named_parameters()}

    def product(weights: dict[str, Tensor], image: Tensor, error: Tensor) -> Tensor:
        logits: Tensor = functional_call(frozen, weights, (image[None],))
        return (logits[0] * error).sum()

    def squares(image: Tensor, error: Tensor) -> Tensor:
        return torch.stack([part.square().sum() for part in grad(product)(weights, image, error).values()])

    place, every = place_of(frozen), vmap(squares)
    chunks = zip(images.split(int(chunk)), errors.split(int(chunk)), strict=True)
    with at_work(place):
        found = [every(some.to(place), wrong.to(place)).cpu() for some, wrong in chunks]
    return torch.cat(found).double().sum(1).sqrt().float()


def prototype(
    snapshot: Snapshot,
    *,
    centre: Literal["mean", "median"] = "mean",
    metric: Literal["euclidean", "cosine"] = "euclidean",
) -> Tensor:
    """Distance of the features from the centre of the own class; options as of `prototype_distance`.

    Raises:
        ValueError: an unknown word.
    """
    return prototype_distance(snapshot.features, snapshot.labels, centre=centre, metric=metric)


def ssp(snapshot: Snapshot, *, clusters: int | None = None, start: int = 0) -> Tensor:
    """1 - cosine to the own k-means centre of the features (Sorscher et al., NeurIPS 2022, self-supervised there).

    clusters: how many centres, by default one for each class, and never more than samples; start: the seed of the
    random first centres, which no seed of a training or a pruning changes.

    Raises:
        ValueError: clusters below 1.
    """
    wanted = snapshot.logits.shape[1] if clusters is None else clusters
    return ssp_distance(snapshot.features, min(wanted, len(snapshot)), Rng(start))
