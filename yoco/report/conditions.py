"""How networks were judged, in words: the protocol, and what else tells evaluations apart."""

from collections.abc import Mapping, Sequence
from typing import Any

Found = Mapping[str, Any]


def protocols(pairs: Sequence[tuple[Found, Found]]) -> list[str]:
    """The protocol of each pair of an evaluation and one of its rows, with the conditions in which the pairs differ.

    Conditions are the data, the teacher and, if the requested measurements differ, of how many accuracies `best` is the
    highest. What an evaluation does not record, such as one of an earlier version, tells nothing apart.
    """
    data = _differing([_data(found) for found, _ in pairs])
    asked = {found.get("measurements") for found, _ in pairs} - {None}
    best = _differing([_best(found, row) if len(asked) > 1 else () for found, row in pairs])
    taught = _differing([_teacher(found, row["network"]) for found, row in pairs])
    words = zip(pairs, data, best, taught, strict=True)
    return [", ".join((*_protocol(found), *on, *of, *by)) for (found, _), on, of, by in words]


def _protocol(found: Found) -> tuple[str, ...]:
    """The protocol, and what is said of it whatever holds for others."""
    always = {"weighted": "weighted", "bf16": "bfloat16"}
    return str(found.get("protocol", "")), *(word for name, word in always.items() if found.get(name))


def _data(found: Found) -> tuple[str, ...]:
    """The name of the data, their test half and their training half; "" is unknown."""
    name, test, train = (str(found.get(part) or "") for part in ("data", "test_checksum", "checksum"))
    return name and f"on {name}", test and f"test half {test[:8]}", train and f"training half {train[:8]}"


def _best(found: Found, row: Found) -> tuple[str, ...]:
    """How many accuracies there were: as many as were asked for, and no more than the row has epochs."""
    measurements = found.get("measurements")
    return (f"best of {min(measurements, row['epochs'])}" if measurements else "",)


def _teacher(found: Found, network: str) -> tuple[str, ...]:
    """Who taught a network of this name: one of its kind that was trained for it, or the one that was given for all."""
    for each in found.get("teachers") or ():
        if "epochs" not in each:
            file = f" of {each['file']}" if "file" in each else ""
            return (f"teacher {each['network']}{file} at {each['accuracy']:.2f} %",)
        if each["network"] == network:
            return (f"teacher of {each['epochs']} {'epoch' if each['epochs'] == 1 else 'epochs'}",)
    return ("",)


def _differing(ways: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Of each way the words that tell it from others which no word before them tells apart; "" is unknown."""
    kept: list[tuple[str, ...]] = [()] * len(ways)
    for words in zip(*ways, strict=True):
        longer = [(*way, word) if word else way for way, word in zip(kept, words, strict=True)]
        known = [at for at, word in enumerate(words) if word]
        if len({longer[at] for at in known}) > len({kept[at] for at in known}):
            kept = longer
    return kept
