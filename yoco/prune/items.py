"""Items for a rule: all that it reads of samples, whether given, carried by the set, or learned by training once."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from yoco.data.source import Source
from yoco.prune.material import features_name, given_features
from yoco.prune.observe import Evidence
from yoco.prune.references import told
from yoco.prune.request import Request
from yoco.prune.rules import Items
from yoco.prune.scored import Scores
from yoco.prune.scores import mean_confidence
from yoco.prune.scoring import agreed, checked, combined, score
from yoco.prune.snapshot import pooled


def items_for(request: Request) -> tuple[Items, Scores | None]:
    """The items of all samples in the order of the set, and the scores among them.

    Raises:
        ValueError: scores, evidence or options that do not fit the rule, the set or each other, or are not read by it.
    """
    request.refuse()
    rule, labels, classes = request.rule, request.data.labels.cpu(), len(request.data.classes)
    if request.reads_nothing:
        return Items(None, labels, classes), None
    evidence = _evidence(request)
    scores = request.at_hand
    if scores is None and "scores" in rule.needs:
        scores = _scored(request, evidence)
    seen = _seen(request, evidence)
    if request.features is not None:
        seen |= {"features": request.features, "reference": _pixels(request, request.features)}
    if rule.dropped_by is not None:
        seen["doubts"] = _doubts(request, scores, evidence)
    return Items(None if scores is None else scores.values, labels, classes, **seen), scores


def scores_of(request: Request) -> Scores:
    """Compute the scores of a request that needs nothing else.

    Raises:
        ValueError: as `items_for`.
    """
    request.refuse()
    ranking = request.ranking
    looks = request.given.features_for(ranking.name) is None
    return _scored(request, list(ranking.gather(request.data)) if looks else None)


def views_of(request: Request, reference: Source | None = None) -> dict[str, Any]:
    """How the features or gradients that a rule reads were made, as {"views": JSON values}; {} for one without.

    reference: all images out of which the references were drawn; evidence says itself which it has seen.
    """
    if not request.reads_views:
        return {}
    rule, given = request.rule, request.given
    made: dict[str, Any] = {"features": "network"}
    if given.features is not None:
        made["features"] = features_name(given.features)
    if given.features is None or "errors" in rule.needs:
        if given.evidence is not None:
            looks = [each.snapshot for each in given.evidence]
            met = rule.refers and all(look is not None and look.reference is not None for look in looks)
            made |= {**agreed(given.evidence, references=met), "runs": len(looks)}
        else:
            ranking = request.ranking
            made |= {**ranking.training.said(ranking.recipe), "epochs": ranking.epochs}
        made["passes"] = "clean"
    if reference is not None:
        made["reference"] = told(reference)
    return {"views": made}


def _evidence(request: Request) -> Sequence[Evidence] | None:
    """The given evidence, or that of new trainings where something is lacking, else None."""
    given, lacks, dropping = request.given, request.lacks, request.dropping
    if given.evidence is not None or not lacks:
        return given.evidence
    new = request.ranking.gather(
        request.data,
        snapshot="snapshot" in lacks,
        dynamics="dynamics" in lacks,
        shift=dropping is not None and dropping.shifts,
        images=dropping is not None and dropping.looks,
        reference=given.reference,
        since=request.since,
        until=request.until,
    )
    return list(new)


def _scored(request: Request, evidence: Sequence[Evidence] | None) -> Scores:
    """The scores that rank, computed from given features or from evidence."""
    data, ranking, given = request.data, request.ranking, request.given
    features = given.features_for(ranking.name)
    if features is not None:  # a training, if there is one, is for other things
        return score(data, score=ranking.name, features=features, **ranking.options)
    own = {**request.named_score[1], **given.options}
    return score(data, score=ranking.name, evidence=evidence, features=None, **own)


def _seen(request: Request, evidence: Sequence[Evidence] | None) -> dict[str, Any]:
    """Features, errors and confidence that the rule reads of the evidence, as parts of `Items`.

    Features are those of all trainings; beside errors they are the inputs of the last layer, as in its gradients.
    Confidence is the mean over the epochs that the score reads.
    """
    needs = request.rule.needs
    if evidence is None or set(needs) <= {"scores"}:
        return {}
    views = [each.snapshot for each in checked(request.data, evidence) if each.snapshot is not None]
    found: dict[str, Any] = {}
    if views and "features" in needs:
        found["features"], found["reference"] = pooled(views)
    if views and "errors" in needs:
        found |= {"errors": views[0].errors.float(), "features": views[0].inputs.float()}
    dynamics = [each.dynamics for each in evidence if each.dynamics is not None]
    if "confidence" in needs and dynamics:
        epochs = request.ranking.options.get("epochs")
        found["confidence"] = torch.stack([mean_confidence(each, epochs) for each in dynamics]).mean(0)
    return found


def _pixels(request: Request, features: Tensor) -> tuple[Tensor, Tensor] | None:
    """Pixels and labels of the references, if any; the features of the samples must be pixels, too."""
    given = request.given
    if given.reference is None:
        return None
    if not isinstance(given.features, str):
        got = f"numbers {list(features.shape)}"
        raise ValueError(f"reference: can only be used with features of the network or pixels, got {got}")
    return given_features(given.reference, "pixels"), given.reference.labels.cpu()


def _doubts(request: Request, scores: Scores | None, evidence: Sequence[Evidence] | None) -> Tensor | None:
    """The values of the score that leaves samples out."""
    if request.dropping is None:
        return None if scores is None else scores.values
    return combined(map(request.dropping.values, checked(request.data, evidence or ()))).float()
