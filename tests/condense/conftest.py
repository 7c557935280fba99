import pytest
from yoco.data import load, Splits
import torch


@pytest.fixture(scope="session")
def tiny():
    d = load("digits")

    def three(s):
        keep = torch.cat([m[:40] for m in s.by_class[:3]])
        from dataclasses import replace

        t = s.take(keep)
        return replace(t, classes=t.classes[:3])

    return Splits(three(d.train), three(d.test))
