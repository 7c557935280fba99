"""Random streams by name."""

import numpy as np
import pytest
import torch

from yoco.rng import Rng


def test_the_same_names_give_the_same_stream_whatever_was_drawn_before() -> None:
    first = torch.rand(4, generator=Rng(3).child("real", 2).generator())
    torch.rand(7)
    Rng(3).child("other").generator()
    again = torch.rand(4, generator=Rng(3).child("real").child(2).generator())
    assert torch.equal(first, again)


def test_streams_of_other_seeds_and_names_differ() -> None:
    streams = [Rng(0), Rng(1), Rng(0).child("a"), Rng(0).child("b"), Rng(0).child("a", "b"), Rng(0).child("ab")]
    streams += [Rng(0).child(1), Rng(0).child("1"), Rng(0).child("a", 1), Rng(0).child(1, "a")]
    assert len({stream.key() for stream in streams}) == len(streams)


def test_the_key_is_fixed_for_all_time_and_fits_63_bits() -> None:
    assert Rng(0).key() == 0x7F73B54EA5EFFC30
    assert Rng(7).child("real", 3).key() == 0x2EEEA95B42849D2B
    assert all(0 <= Rng(seed).key() < 2**63 for seed in range(50))


def test_numpy_numbers_name_the_same_stream_as_pythons() -> None:
    assert Rng(np.int64(4)).child(np.int64(2), np.str_("a")).key() == Rng(4).child(2, "a").key()  # type: ignore[arg-type]


@pytest.mark.parametrize(("n", "count", "length"), [(10, 4, 4), (3, 5, 3), (3, 0, 0)])
def test_choice_draws_distinct_numbers(n: int, count: int, length: int) -> None:
    drawn = Rng(0).choice(n, count).tolist()
    assert len(drawn) == len(set(drawn)) == length
    assert set(drawn) <= set(range(n))


def test_choice_reaches_every_number_about_equally_often() -> None:
    drawn = torch.stack([Rng(seed).choice(5, 2) for seed in range(2000)])
    torch.testing.assert_close(torch.bincount(drawn.flatten()) / 4000, torch.full((5,), 0.2), atol=0.03, rtol=0)


def test_as_global_lends_the_stream_and_gives_the_state_back() -> None:
    before = torch.random.get_rng_state()
    with Rng(5).as_global():
        inside = torch.rand(3)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(inside, torch.rand(3, generator=Rng(5).generator()))


def test_as_global_gives_the_state_back_after_an_error() -> None:
    before = torch.random.get_rng_state()
    with pytest.raises(ValueError, match="channels"), Rng(5).as_global():
        torch.nn.Conv2d(3, 4, 1, groups=2)
    assert torch.equal(torch.random.get_rng_state(), before)
