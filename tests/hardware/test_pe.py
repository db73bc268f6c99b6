"""Units: cycles and energy of a product at (bits_a, bits_b), as their papers state them."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter

from fxsim.hardware.pe import PE

COMMON = {
    "energy_pj_per_unit_cycle": 2.0,
    "leakage_uw_per_unit": 0,
    "area_um2_per_unit": 1,
    "source": "test",
}


def unit(**fields):
    return TypeAdapter(PE).validate_python({**COMMON, **fields})


def test_a_fixed_multiplier_takes_a_pass_for_each_pair_of_parts():
    pe = unit(kind="bit_parallel", width_bits=8)
    pairs = ((2, 2), (8, 8), (8, 9), (16, 16), (24, 8))
    assert [pe.step_cycles(a, b) for a, b in pairs] == [1, 1, 2, 4, 3]
    assert pe.energy_pj(16, 16) == 8.0
    assert unit(kind="bit_parallel", width_bits=8, right_width_bits=4).step_cycles(8, 8) == 2


def test_vector_instructions_halve_their_lanes():
    """VNNI: 4 products of 8 bits, 2 of 16, 1 of 32 a lane, whichever operand is the wider."""
    pe = unit(kind="bit_parallel", width_bits=8, passes="widest", lanes={"C": 4})
    assert [
        pe.sub_operations(a, b) for a, b in ((8, 8), (8, 16), (16, 16), (9, 8), (24, 8), (32, 32))
    ] == [
        1,
        2,
        2,
        2,
        4,
        4,
    ]


def test_bit_fusion_products_in_a_unit_and_cycle():
    """16 / (ceil(a/2) ceil(b/2)) products, Bit Fusion's figure 2: 16, 4 and 1."""
    pe = unit(kind="composable", brick_bits=2, bricks=16, packs="C", skip_zero_blocks=True)
    products = {(a, b): pe.packed(a, b)["C"] for a in (2, 4, 8) for b in (2, 4, 8)}
    assert products[2, 2] == 16
    assert products[4, 4] == products[8, 2] == products[2, 8] == 4
    assert products[8, 8] == 1
    assert (pe.sub_operations(16, 16), pe.sub_operations(0, 8), pe.sub_operations(3, 8)) == (
        64,
        0,
        8,
    )


def test_stripes_takes_the_bits_of_the_serial_operand():
    pe = unit(kind="serial", lanes={"C": 16})
    assert [pe.step_cycles(a, 8) for a in (1, 4, 8, 16)] == [1, 4, 8, 16]
    assert pe.step_cycles(8, 16) == 8  # whole words of up to 16 bits beside
    assert unit(kind="serial", serial_operand="right", lanes={"C": 16}).step_cycles(8, 3) == 3
    assert unit(kind="serial", bits_per_cycle=2, lanes={"C": 16}).step_cycles(5, 8) == 3
    assert pe.statistic("left") is None
    assert unit(kind="serial", adaptive=True).statistic("left") == "top_bit"


def test_loom_takes_the_product_of_both_word_lengths():
    pe = unit(kind="serial_serial", lanes={"C": 16})
    assert [pe.step_cycles(a, b) for a, b in ((1, 1), (4, 8), (16, 16))] == [1, 32, 256]


def test_term_serial_units_are_bounded_by_their_word_lengths():
    pragmatic, laconic = (
        unit(kind="term_serial", operands=operands, lanes={"C": 16})
        for operands in (["left"], ["left", "right"])
    )
    assert pragmatic.sub_operations(8, 8) == 7  # magnitude bits
    assert laconic.sub_operations(8, 4) == 21
    booth = unit(kind="term_serial", operands=["left"], booth=True)
    assert (
        booth.sub_operations(8, 8) == 5
    )  # canonical digits of 8 bits: at most every other, and a carry
    assert laconic.statistic("right") == "ones"
    assert pragmatic.statistic("right") is None


@pytest.mark.parametrize(
    ("format_", "bits"), [("fp32", 32), ("bf16", 16), ("fp16", 16), ("fp8", 8)]
)
def test_floating_point_units_have_one_word_length(format_, bits):
    pe = unit(kind="floating_point", format=format_)
    assert pe.word_bits == bits
    assert pe.sub_operations(4, 8) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "bit_parallel", "width_bits": 8},
        {"kind": "composable", "brick_bits": 2, "bricks": 16},
        {"kind": "serial"},
        {"kind": "serial_serial"},
        {"kind": "term_serial", "operands": ["left", "right"]},
        {"kind": "bit_parallel", "width_bits": 8, "passes": "widest"},
    ],
)
def test_more_bits_never_cost_less(fields):
    pe = unit(**fields)
    for a in range(1, 16):
        for b in range(1, 16):
            assert pe.sub_operations(a, b) <= pe.sub_operations(a + 1, b)
            assert pe.sub_operations(a, b) <= pe.sub_operations(a, b + 1)
