"""How words lie in memory, by hand."""

from __future__ import annotations

import pytest

from fxsim.hardware.memory import MemoryLevel, Packing

BITS = (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 32)


@pytest.mark.parametrize(
    ("words", "container_bits", "stored"),
    [
        ("dense", 8, (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 32)),
        ("containers", 8, (8, 8, 8, 8, 8, 8, 8, 8, 16, 16, 16, 24, 32)),
        ("containers", 0, (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 32)),
        ("power_of_two", 8, (0, 1, 2, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32)),
        ("aligned_blocks", 8, (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 32)),
    ],
)
def test_what_a_word_takes(words, container_bits, stored):
    packing = Packing(words=words, container_bits=container_bits, source="test")
    assert tuple(packing.stored_bits(bits) for bits in BITS) == stored


def test_what_a_block_takes():
    aligned = Packing(words="aligned_blocks", container_bits=32, source="test")
    assert [aligned.block_bits(bits, 16) for bits in (0, 1, 2, 3, 4)] == [0, 32, 32, 64, 64]
    dense = Packing(words="dense", container_bits=32, source="test")
    assert [dense.block_bits(bits, 16) for bits in (0, 1, 3)] == [0, 16, 48]
    power = Packing(words="power_of_two", source="test")
    assert [power.block_bits(bits, 16) for bits in (3, 8)] == [64, 128]


@pytest.mark.parametrize(
    ("double_buffered", "per_pe", "overlapped", "overlaps", "usable"),
    [
        (True, False, None, True, 50),
        (False, False, None, False, 101),
        (False, True, None, True, 101),
        (True, False, False, False, 50),
        (False, False, True, True, 101),
    ],
)
def test_what_a_tile_may_occupy_and_whether_transfers_overlap(
    double_buffered, per_pe, overlapped, overlaps, usable
):
    level = MemoryLevel(
        name="buffer",
        source="test",
        holds=("left",),
        capacity_bits=101,
        bandwidth_bits_per_cycle=1,
        read_energy_pj_per_bit=0,
        write_energy_pj_per_bit=0,
        double_buffered=double_buffered,
        per_pe=per_pe,
        overlapped=overlapped,
    )
    assert level.overlaps is overlaps
    assert level.usable_bits == usable
