"""Draws as rounding uses them: uniform, independent along a tensor and between tensors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxsim.engine import casts
from fxsim.engine.kernels import rounding as kernels
from fxsim.engine.tensor import FixedTensor
from fxsim.errors import FormatError
from fxsim.numerics import specification
from fxsim.numerics.draws import MAXIMAL_TAPS, Lfsr, stream_key
from fxsim.numerics.formats import Cast, FixedPoint, Rounding

COUNT = 1 << 14


def draws(key: int, count: int = COUNT, bits: int = 16) -> np.ndarray:
    """Draws as a cast sees them: what 0 plus n dropped bits rounds up from is the draw itself."""
    return np.array(
        [kernels.draw(np.uint64(key), np.int64(i), np.int64(bits)) for i in range(count)]
    )


@given(key=st.integers(0, 2**64 - 1), index=st.integers(0, 2**40), bits=st.integers(1, 32))
def test_draws_equal_reference(key, index, bits):
    got = kernels.draw(np.uint64(key), np.int64(index), np.int64(bits))
    assert int(got) == specification.draw(key, index, bits)


KEYS = [
    stream_key(0, step, layer, role)
    for step, layer, role in (
        (0, "conv1", "error"),
        (1, "conv1", "error"),
        (1, "conv2", "error"),
        (1, "conv2", "weight"),
    )
]


@pytest.fixture(scope="module")
def streams():
    """(4, COUNT) the draws of neighbouring steps, layers and roles."""
    return np.stack([draws(key) for key in KEYS])


def test_draws_are_uniform(streams):
    """Chi-squared over 256 cells, high bits and low bits: within five deviations of 255."""
    for cells in (streams >> 8, streams & 255):
        for row in cells:
            counts = np.bincount(row, minlength=256)
            chi = ((counts - COUNT / 256) ** 2 / (COUNT / 256)).sum()
            assert abs(chi - 255) < 5 * (2 * 255) ** 0.5


def test_every_bit_is_fair_and_independent_of_every_other(streams):
    bits = (streams[:, :, None] >> np.arange(16)) & 1
    signs = (2 * bits - 1).reshape(-1, 16)
    limit = 5 * len(signs) ** 0.5
    assert (np.abs(signs.sum(axis=0)) < limit).all()
    products = signs.T @ signs - np.eye(16, dtype=int) * len(signs)
    assert (np.abs(products) < limit).all()


@pytest.mark.parametrize("lag", [1, 2, 3, 4, 16, 64, 256, 1024])
def test_elements_do_not_follow_from_earlier_ones(streams, lag):
    centred = streams / 2**16 - 0.5
    correlation = 12 * (centred[:, lag:] * centred[:, :-lag]).mean(axis=1)
    assert (np.abs(correlation) < 5 / (COUNT - lag) ** 0.5).all()


def test_streams_of_steps_layers_and_roles_are_independent(streams):
    centred = streams / 2**16 - 0.5
    for i in range(len(KEYS)):
        for j in range(i):
            for shift in (0, 1, -1, 7):
                correlation = 12 * (centred[i] * np.roll(centred[j], shift)).mean()
                assert abs(correlation) < 5 / COUNT**0.5


def test_one_bit_of_key_or_index_changes_half_the_draw():
    rng = np.random.default_rng(0)
    flips = []
    for _ in range(400):
        key, index = int(rng.integers(2**63)), int(rng.integers(2**31))
        before = specification.draw32(key, index)
        bit = int(rng.integers(64))
        flips.append((before ^ specification.draw32(key ^ (1 << bit), index)).bit_count())
        flips.append((before ^ specification.draw32(key, index ^ (1 << (bit % 32)))).bit_count())
    assert abs(np.mean(flips) - 16) < 5 * (8 / len(flips)) ** 0.5 + 0.5


def test_the_probability_of_rounding_up_is_quantised_to_the_draw():
    """One random bit knows only 0, 1/2 and 1; sixteen tell 5/16 from 1/4."""
    x = FixedTensor(np.full(40_000, 5, np.int64), FixedPoint(8, 4))
    for bits, share in ((1, 0.0), (2, 1 / 4), (3, 1 / 4), (4, 5 / 16), (16, 5 / 16), (32, 5 / 16)):
        got, _ = casts.cast(
            x, Cast(FixedPoint(8, 0), Rounding.STOCHASTIC, random_bits=bits), KEYS[0]
        )
        deviation = (share * (1 - share) / 40_000) ** 0.5
        assert abs(got.codes.mean() - share) <= 5 * deviation, bits


@pytest.mark.parametrize("width", MAXIMAL_TAPS)
def test_registers_equal_reference(width):
    register = Lfsr.maximal(width, seed=3)
    want = [specification.lfsr(width, register.taps, 3, i + 1) >> (width - 4) for i in range(50)]
    assert casts.lfsr_draws(register, 50, 4).tolist() == want


@pytest.mark.parametrize("width", [4, 8, 12, 16])
def test_maximal_registers_visit_every_state_but_zero(width):
    states = casts.lfsr_draws(Lfsr.maximal(width), (1 << width) - 1, width)
    assert sorted(states.tolist()) == list(range(1, 1 << width))


def test_a_register_drives_stochastic_rounding():
    x = FixedTensor(np.arange(200, dtype=np.int64), FixedPoint(9, 3))
    register = Lfsr.maximal(16, seed=77)
    got, _ = casts.cast(
        x, Cast(FixedPoint(9, 0), Rounding.STOCHASTIC, random_bits=3), lfsr=register
    )
    noise = casts.lfsr_draws(register, 200, 3).tolist()
    want = [specification.stochastic(c, 3, d, 3) for c, d in zip(range(200), noise, strict=True)]
    assert got.codes.tolist() == want


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Lfsr(1, (1,)), "width must be 2 to 48, not 1"),
        (lambda: Lfsr(8, (6, 5)), "8 among them, not \\(6, 5\\)"),
        (lambda: Lfsr(8, (8, 9)), "taps must be positions 1 to 8"),
        (lambda: Lfsr(8, (8, 4), 0), "seed must be 1 to 2\\*\\*8 - 1 \\(0 never changes\\), not 0"),
        (lambda: Lfsr.maximal(9), "known for widths 4, 8, .* not 9"),
        (lambda: casts.lfsr_draws(Lfsr.maximal(8), 3, 9), "8-bit register has no 9 bits"),
    ],
)
def test_impossible_registers_say_why(build, message):
    with pytest.raises(FormatError, match=message):
        build()
