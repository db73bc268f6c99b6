"""Array cycles of mixed blocks, by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from elements import element_bits
from hypothesis import given
from hypothesis import strategies as st
from machines import machine
from windows import windows

from fxsim.cost.tile_cycles import Grid, Tiled, lockstep, step_cycles, tiled, uniform_step_cycles
from fxsim.engine.contractions import Convolved, Matrix, Pairwise, Transposed
from fxsim.engine.geometry import Convolution
from fxsim.numerics.block_map import BlockMap

FLOWS = ("weight_stationary", "output_stationary", "input_stationary")


def lockstep_compute(on, left, right):
    """`lockstep` of the word lengths of every element of an (m, k) and a (k, n) matrix."""
    grid, known = Grid.of(on), np.unique(np.concatenate([left.ravel(), right.ravel()]))
    tm, tn, tk = grid.tile
    a = np.searchsorted(known, tile_maxima(left, tm, tk)) + 1
    b = np.searchsorted(known, tile_maxima(right, tk, tn)) + 1
    levels = (x.astype(np.uint8) for x in (a, b))
    return lockstep(on, grid, Tiled(known.astype(np.int64), *levels))


def brute_force(on, a, b):
    """Walk folds, groups and steps; max over a group's units at each step."""
    flow, tile = Grid.of(on), on.pe.tile
    time = on.dataflow.time
    m, k, n = -(-a.shape[0] // tile), -(-a.shape[1] // tile), -(-b.shape[1] // tile)
    sizes = {"m": m, "n": n, "k": k}

    def tile_bits(x, i, j):
        return int(x[i * tile : (i + 1) * tile, j * tile : (j + 1) * tile].max())

    def unit(row, column, step):
        at = {flow.rows: row, flow.columns: column, time: step}
        if any(at[d] >= sizes[d] for d in at):
            return 0
        return step_cycles(on, tile_bits(a, at["m"], at["k"]), tile_bits(b, at["k"], at["n"]))

    rows, columns = on.pe_array.rows, on.pe_array.columns
    gr, gc = on.sync.rows, on.sync.columns
    total = 0
    for fold_row in range(0, sizes[flow.rows], rows):
        for fold_column in range(0, sizes[flow.columns], columns):
            groups = [
                sum(
                    max(
                        unit(fold_row + r, fold_column + c, step)
                        for r in range(top, top + gr)
                        for c in range(left, left + gc)
                    )
                    for step in range(sizes[time])
                )
                for top in range(0, rows, gr)
                for left in range(0, columns, gc)
            ]
            total += max(groups)
    return total


@pytest.mark.parametrize("dataflow", FLOWS)
@given(
    m=st.integers(1, 10),
    n=st.integers(1, 10),
    k=st.integers(1, 10),
    tile=st.integers(1, 3),
    sync=st.sampled_from([(1, 1), (2, 1), (2, 2), (1, 4), (2, 4)]),
    pe=st.sampled_from(["bit_parallel", "composable"]),
    seed=st.integers(0, 99),
)
def test_lockstep_equals_brute_force(dataflow, m, n, k, tile, sync, pe, seed):
    on = machine(pe, 2, 4, dataflow, tile, sync)
    rng = np.random.default_rng(seed)
    a, b = (rng.choice([0, 2, 4, 8, 12], s).astype(np.uint8) for s in ((m, k), (k, n)))
    assert lockstep_compute(on, a, b) == brute_force(on, a, b)


@given(m=st.integers(1, 30), n=st.integers(1, 30), k=st.integers(1, 30), tile=st.integers(1, 4))
def test_an_all_8_bit_map_costs_what_uniform_8_bits_cost(m, n, k, tile):
    on = machine("composable", tile=tile)
    constant = uniform_step_cycles(on, [8], [8])
    eights = (np.full(s, 8, np.uint8) for s in ((m, k), (k, n)))
    assert lockstep_compute(on, *eights) == Grid.of(on).steps(on, m, n, k) * constant


@given(seed=st.integers(0, 99))
def test_more_bits_never_cost_fewer_cycles_and_less_sync_never_more(seed):
    rng = np.random.default_rng(seed)
    a, b = (rng.choice([0, 2, 4], (12, 12)).astype(np.uint8) for _ in range(2))
    on = machine("composable", 2, 2, sync=(2, 2))
    assert lockstep_compute(on, a, b) <= lockstep_compute(on, a + 2, b)
    assert lockstep_compute(machine("composable", 2, 2, sync=(1, 1)), a, b) <= lockstep_compute(
        on, a, b
    )


def test_bit_fusion_products_in_a_unit_and_cycle():
    """16 / (ceil(a/2) ceil(b/2)) products, Bit Fusion's figure 2: 16, 4 and 1."""
    pe = machine("composable").pe
    products = {
        (a, b): pe.sub_operations_per_cycle / pe.sub_operations(a, b)
        for a in (2, 4, 8)
        for b in (2, 4, 8)
    }
    assert products[2, 2] == 16
    assert products[4, 4] == products[8, 2] == products[2, 8] == 4
    assert products[8, 8] == 1
    assert (pe.sub_operations(16, 16), pe.sub_operations(0, 8), pe.sub_operations(3, 8)) == (
        64,
        0,
        8,
    )


def test_a_fixed_multiplier_takes_passes_and_wastes():
    pe = machine("bit_parallel").pe
    assert [pe.sub_operations(a, b) for a, b in ((2, 2), (8, 8), (9, 8), (16, 16), (0, 8))] == [
        1,
        1,
        2,
        4,
        1,
    ]


def random_map(rng, rows, columns):
    grid = (-(-rows // 4), -(-columns // 4))
    bits = rng.choice([0, 2, 4, 8], grid).astype(np.uint8)
    return BlockMap(bits, np.zeros_like(bits), rows, columns, 4, 4, 2)


def tile_maxima(bits, tall, wide):
    """The longest word of each tile, element by element."""
    out = np.zeros((-(-bits.shape[0] // tall), -(-bits.shape[1] // wide)), np.int64)
    for i in range(bits.shape[0]):
        for j in range(bits.shape[1]):
            out[i // tall, j // wide] = max(out[i // tall, j // wide], bits[i, j])
    return out


@pytest.mark.parametrize("pass_", ["forward", "grad_input", "grad_weight"])
@given(
    seed=st.integers(0, 999),
    tile=st.tuples(*[st.integers(1, 5)] * 3),
    kind=st.sampled_from([Matrix, Convolved, Transposed, Pairwise]),
    down=windows(stride=2, padding=1, dilation=1),
    across=windows(stride=2, padding=1, dilation=1),
    groups=st.sampled_from([1, 2]),
)
def test_tiles_are_the_maxima_of_their_elements(pass_, seed, tile, kind, down, across, groups):
    rng = np.random.default_rng(seed)
    batch = 1
    if kind in (Matrix, Pairwise):
        contraction = kind()
        batch = 2 if kind is Pairwise else 1
        m, n, k = (int(rng.integers(1, 9)) for _ in range(3))
        shapes = {
            "forward": ((batch * m, k), (batch * n, k)),
            "grad_input": ((batch * m, k), (batch * k, n)),
            "grad_weight": ((batch * k, m), (batch * k, n)),
        }[pass_]
    else:
        g = Convolution(5, 4, 2 * groups, 4 * groups, down, across, groups)
        contraction = kind(g)
        image, error = (2 * 20, g.channels), (2 * g.out_height * g.out_width, g.filters)
        weight = (g.filters, g.depth)
        into = "grad_input" if kind is Convolved else "forward"
        shapes = (
            (image, error)
            if pass_ == "grad_weight"
            else (error, weight)
            if pass_ == into
            else (image, weight)
        )
    left, right = (random_map(rng, *shape) for shape in shapes)
    elements = list(element_bits(pass_, left, right, contraction, batch))
    tm, tn, tk = tile
    found = list(tiled(pass_, left, right, contraction, Grid(tile, "m", "n"), batch))
    assert len(found) == len(elements)
    for product, (a, b) in zip(found, elements, strict=True):
        words = np.concatenate([[0], product.lengths])  # 0: no tile, of which there is none here
        assert product.left.min() > 0
        assert (words[product.left] == tile_maxima(a, tm, tk)).all()
        assert (words[product.right] == tile_maxima(b, tk, tn)).all()
