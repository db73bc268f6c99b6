"""The specification: every operation of the datapath in Python integers.

Slow, obvious, and without a single import of ours. The kernels are tested against this, bit for
bit; tests compose these functions into whole training steps. Tensors are nested lists.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Matrix = list[list[int]]

# --- rounding: code * 2**-shift to an integer, 0 <= shift ------------------------------------


def _nearest(code: int, shift: int, tie_up: Callable[[int], bool]) -> int:
    quotient, remainder = divmod(code, 1 << shift)
    twice = 2 * remainder
    return quotient + (twice > 1 << shift or (twice == 1 << shift and tie_up(quotient)))


def rnd(code: int, shift: int) -> int:
    """Nearest, ties to +infinity."""
    return _nearest(code, shift, lambda q: True)


def rnd_zero(code: int, shift: int) -> int:
    """Nearest, ties to zero."""
    return _nearest(code, shift, lambda q: q < 0)


def rnd_min_inf(code: int, shift: int) -> int:
    """Nearest, ties to -infinity."""
    return _nearest(code, shift, lambda q: False)


def rnd_inf(code: int, shift: int) -> int:
    """Nearest, ties away from zero."""
    return _nearest(code, shift, lambda q: q >= 0)


def rnd_conv(code: int, shift: int) -> int:
    """Nearest, ties to even."""
    return _nearest(code, shift, lambda q: q % 2 == 1)


def rnd_conv_odd(code: int, shift: int) -> int:
    """Nearest, ties to odd."""
    return _nearest(code, shift, lambda q: q % 2 == 0)


def trn(code: int, shift: int) -> int:
    """Towards -infinity."""
    return code // (1 << shift)


def trn_zero(code: int, shift: int) -> int:
    """Towards zero."""
    return code // (1 << shift) if code >= 0 else -(-code // (1 << shift))


def jam(code: int, shift: int) -> int:
    """Towards -infinity, then the last kept bit OR-ed with "any lost bit" (von Neumann)."""
    return trn(code, shift) | (code % (1 << shift) != 0)


def trn_inf(code: int, shift: int) -> int:
    """Towards +infinity."""
    return -(-code // (1 << shift))


def trn_away(code: int, shift: int) -> int:
    """Away from zero."""
    return trn_inf(code, shift) if code >= 0 else trn(code, shift)


def trn_mag(code: int, shift: int) -> int:
    """Towards -infinity plus the sign bit: magnitude truncation without looking at lost bits."""
    return trn(code, shift) + (code < 0)


def jam_always(code: int, shift: int) -> int:
    """Towards -infinity, then the last kept bit set, whatever was lost."""
    return trn(code, shift) | 1


def stochastic(code: int, shift: int, draw: int, draw_bits: int = 16) -> int:
    """Up if the top `draw_bits` dropped bits plus the draw carry out: probability 2**-draw_bits."""
    quotient, remainder = divmod(code, 1 << shift)
    top = (remainder << draw_bits) >> shift
    return quotient + ((top + draw) >> draw_bits)


ROUNDINGS: dict[str, Callable[[int, int], int]] = {
    "RND": rnd,
    "RND_ZERO": rnd_zero,
    "RND_MIN_INF": rnd_min_inf,
    "RND_INF": rnd_inf,
    "RND_CONV": rnd_conv,
    "RND_CONV_ODD": rnd_conv_odd,
    "TRN": trn,
    "TRN_ZERO": trn_zero,
    "JAM": jam,
    "TRN_INF": trn_inf,
    "TRN_AWAY": trn_away,
    "TRN_MAG": trn_mag,
    "JAM_ALWAYS": jam_always,
}


def round_code(code: int, shift: int, mode: str, draw: int = 0, draw_bits: int = 16) -> int:
    """`code * 2**-shift` rounded; a negative shift is a left shift, which loses nothing.

    TRN_MAG and JAM_ALWAYS do not look at what is lost; JAM_ALWAYS sets the last bit even of a code
    that is not shifted right.
    """
    if shift <= 0:
        exact = code << -shift
        return jam_always(exact, 0) if mode == "JAM_ALWAYS" else exact
    if mode == "STOCHASTIC":
        return stochastic(code, shift, draw, draw_bits)
    return ROUNDINGS[mode](code, shift)


# --- overflow --------------------------------------------------------------------------------


def limits(bits: int, signed: bool, mode: str) -> tuple[int, int]:
    """(smallest, largest) code; SAT_SYM gives up the most negative one."""
    high = (1 << (bits - 1)) - 1 if signed else (1 << bits) - 1
    low = (-high if mode == "SAT_SYM" else -high - 1) if signed else 0
    return low, high


def wrap(code: int, bits: int, signed: bool) -> int:
    """The low `bits` bits, sign-extended for signed formats."""
    word = code % (1 << bits)
    return word - (1 << bits) if signed and word >> (bits - 1) else word


def _saturate_top(low: int, bits: int, signed: bool, n: int, over: bool) -> int:
    """`low` in the low bits - n bits; the n bits above are those of the nearest limit."""
    if signed:
        top = (1 << (bits - 1)) - (1 << (bits - n)) if over else -(1 << (bits - 1))
    else:
        top = (1 << bits) - (1 << (bits - n)) if over else 0
    return top + low % (1 << (bits - n))


def wrap_n(code: int, bits: int, signed: bool, n: int) -> int:
    """SystemC SC_WRAP, n: the top n bits saturate (the sign is kept), the others wrap."""
    return _saturate_top(code, bits, signed, n, code >= 0) if n else wrap(code, bits, signed)


def wrap_sign_magnitude(code: int, bits: int, n: int) -> int:
    """SystemC SC_WRAP_SM, n: as WRAP, n, but mirrored on every second lap."""
    above = code >> bits if n == 0 else -(code < 0)
    mirrored = (above ^ (code >> (bits - max(n, 1)))) & 1
    if n > 1:
        mirrored = not mirrored
    word = ~code if mirrored else code
    return wrap(word, bits, True) if n < 2 else _saturate_top(word, bits, True, n, code >= 0)


def limit_code(code: int, bits: int, signed: bool, mode: str, n: int = 0) -> tuple[int, bool]:
    """(code inside the format, whether it overflowed)."""
    low, high = limits(bits, signed, mode)
    if low <= code <= high:
        return code, False
    if mode == "SAT_ZERO":
        return 0, True
    if mode in ("SAT", "SAT_SYM", "ERROR") or (n >= bits and mode.startswith("WRAP")):
        return (high if code > high else low), True
    if mode == "WRAP":
        return wrap_n(code, bits, signed, n), True
    if mode == "NUMERIC_STD":
        return code % (1 << (bits - 1)) - ((code < 0) << (bits - 1)), True
    return wrap_sign_magnitude(code, bits, n), True


def cast(
    code: int,
    shift: int,
    bits: int,
    signed: bool = True,
    rounding: str = "RND_CONV",
    overflow: str = "SAT",
    n: int = 0,
    draw: int = 0,
    draw_bits: int = 16,
) -> tuple[int, bool, bool]:
    """(code, any non-zero bit dropped, overflowed) of a move by `shift` binary places."""
    quantised = shift > 0 and code % (1 << shift) != 0
    result, overflowed = limit_code(
        round_code(code, shift, rounding, draw, draw_bits), bits, signed, overflow, n
    )
    return result, quantised, overflowed


# --- draws -----------------------------------------------------------------------------------


def draw64(key: int, index: int) -> int:
    """splitmix64's output number `index` of stream `key`."""
    mask = (1 << 64) - 1
    z = (key + (index + 1) * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def draw32(key: int, index: int) -> int:
    """The draw of element `index` in the stream `key`: two multiplications with the key around.

    The multipliers and shifts are those of `lowbias32` (Wellons, "Prospecting for Hash Functions",
    2018); the second half of the key, and the index beyond 32 bits, enter between them.
    """
    mask = (1 << 32) - 1
    z = (index + key) & mask
    z = ((z ^ (z >> 16)) * 0x7FEB352D) & mask
    z ^= ((key >> 32) + (index >> 32) * 0x9E3779B9) & mask
    z = ((z ^ (z >> 15)) * 0x846CA68B) & mask
    return z ^ (z >> 16)


def draw(key: int, index: int, bits: int = 16) -> int:
    """The bits of a draw that a rounding unit uses: the highest ones."""
    return draw32(key, index) >> (32 - bits)


def lfsr(width: int, taps: Sequence[int], state: int, steps: int) -> int:
    """A Fibonacci shift register after some steps: the taps' parity enters below the lowest bit.

    taps : positions counted from 1 (the bit shifted in) to `width`, as in Xilinx XAPP 052
    """
    for _ in range(steps):
        parity = sum(state >> (tap - 1) for tap in taps) & 1
        state = ((state << 1) | parity) & ((1 << width) - 1)
    return state


# --- tensors to operands ---------------------------------------------------------------------


def quantise_tensor(codes: Sequence[int], bits: int, mode: str, key: int) -> tuple[list[int], int]:
    """(codes in `bits` bits, binary places dropped): dynamic scale by leading-zero count."""
    largest = max((abs(c) for c in codes), default=0)
    shift = max(0, largest.bit_length() - (bits - 1))
    return [
        cast(c, shift, bits, True, mode, "SAT", 0, draw(key, i))[0] for i, c in enumerate(codes)
    ], shift


def _tile(x: Matrix, top: int, left: int, rows: int, columns: int) -> list[tuple[int, int]]:
    return [
        (r, c)
        for r in range(top, min(top + rows, len(x)))
        for c in range(left, min(left + columns, len(x[0])))
    ]


def quantise_blocks(
    x: Matrix,
    rows: int,
    columns: int,
    candidates: Sequence[int],
    threshold: int,
    window: int,
    gain: Callable[[int, int], int],
    skip_penalty: int,
    mode: str,
    key: int,
) -> tuple[Matrix, Matrix, Matrix, int]:
    """(aligned codes, bits of each tile, exponent of each tile, places dropped by the grid)."""
    peak = max(abs(c) for line in x for c in line)
    base = max(0, peak.bit_length() - (candidates[-1] - 1) - window)
    base += peak > ((1 << (candidates[-1] - 1)) - 1) << (base + window)
    most = (1 << (candidates[-1] + window - 1)) - 1
    tops, lefts = range(0, len(x), rows), range(0, len(x[0]), columns)
    signal = sum(
        sum(abs(x[r][c]) for r, c in _tile(x, top, left, rows, columns)) * gain(i, j)
        for i, top in enumerate(tops)
        for j, left in enumerate(lefts)
    )
    limit = (signal // (len(tops) * len(lefts))) * threshold >> 16
    codes = [[0] * len(x[0]) for _ in x]
    bits, exponents = ([[0] * len(lefts) for _ in tops] for _ in range(2))
    for i, top in enumerate(tops):
        for j, left in enumerate(lefts):
            tile = _tile(x, top, left, rows, columns)
            peak = max(abs(x[r][c]) for r, c in tile)
            for n in candidates:
                shift, loss = base, sum(abs(x[r][c]) for r, c in tile) * skip_penalty
                high = (1 << (n - 1)) - 1 if n else 0
                if n:
                    while high << shift < peak:
                        shift += 1
                    loss = rows * columns * ((1 << shift) - (1 << base))
                loss = loss * gain(i, j) >> (2 if n else 0)
                fits = high << (shift - base) <= most
                if (loss <= limit and fits) or n == candidates[-1]:
                    break
            bits[i][j], exponents[i][j] = n, shift - base
            for r, c in tile:
                drawn = draw(key, r * len(x[0]) + c)
                code = round_code(x[r][c], shift, mode, drawn) if n else 0
                codes[r][c] = min(max(code, -high), high) << (shift - base)
    return codes, bits, exponents, base


def cost_aware_blocks(
    x: Matrix,
    rows: int,
    columns: int,
    candidates: Sequence[int],
    threshold: int,
    prices: Sequence[Sequence[int]],
    groups: tuple[int, int],
    work: Sequence[int],
    rounds: int,
    gain: Callable[[int, int], int],
    skip_penalty: int,
) -> tuple[Matrix, Matrix, int]:
    """(bits of each tile, its exponent, places dropped): least sensitivity plus price.

    prices : (fixed, by row, by column), 32 fractional bits; the window is 0.
    """
    peak = max(abs(c) for line in x for c in line)
    base = max(0, peak.bit_length() - (candidates[-1] - 1))
    base += peak > ((1 << (candidates[-1] - 1)) - 1) << base
    most = (1 << (candidates[-1] - 1)) - 1
    tops, lefts = range(0, len(x), rows), range(0, len(x[0]), columns)
    tiles = [[[x[r][c] for r, c in _tile(x, i, j, rows, columns)] for j in lefts] for i in tops]
    signal = sum(
        sum(map(abs, tile)) * gain(i, j)
        for i, line in enumerate(tiles)
        for j, tile in enumerate(line)
    )
    scale = signal // (len(tops) * len(lefts)) * threshold
    fixed, by_row, by_column = (
        [min(scale * price >> 48, 1 << 47) for price in part] for part in prices
    )
    row_weights, column_weights = [256] * len(tops), [256] * len(lefts)
    chosen: list[list[tuple[int, int]]] = []
    for turn in range(rounds + 1):
        if turn:
            done = [[work[n] for n, _ in line] for line in chosen]
            row_weights = _balance(row_weights, [sum(line) for line in done], groups[0])
            lines = [sum(line[j] for line in done) for j in range(len(lefts))]
            column_weights = _balance(column_weights, lines, groups[1])
        chosen = []
        for i, line in enumerate(tiles):
            chosen.append([])
            for j, tile in enumerate(line):
                options = []
                for n, bits in enumerate(candidates):
                    shift, high = base, (1 << (bits - 1)) - 1 if bits else 0
                    loss = sum(map(abs, tile)) * gain(i, j) * skip_penalty
                    if bits:
                        while high << shift < max(map(abs, tile)):
                            shift += 1
                        if high << (shift - base) > most and n < len(candidates) - 1:
                            continue
                        step = (1 << shift) - (1 << base)
                        loss = rows * columns * step * gain(i, j) >> 2
                    price = fixed[n] + (by_row[n] * row_weights[i] >> 8)
                    price += by_column[n] * column_weights[j] >> 8
                    options.append((loss + price, n, shift))
                chosen[-1].append(min(options)[1:])
    bits_of_tiles = [[candidates[n] for n, _ in line] for line in chosen]
    exponents = [[s - base if candidates[n] else 0 for n, s in line] for line in chosen]
    return bits_of_tiles, exponents, base


def _balance(weights: Sequence[int], work: Sequence[int], group: int) -> list[int]:
    """Weights times work over the group's mean work, within 1/4 and 4, back to a mean of 1."""
    if group == 1:
        return list(weights)
    balanced = []
    for first in range(0, len(work), group):
        part = work[first : first + group]
        total = max(sum(part), 1)
        moved = []
        for weight, mine in zip(weights[first : first + group], part, strict=True):
            ratio = min(max((mine * len(part) << 8) // total, 64), 1024)
            moved.append(max(weight * ratio >> 8, 1))
        balanced += [
            min(max((m * len(part) << 8) // max(sum(moved), 1), 1), 1 << 14) for m in moved
        ]
    return balanced


# --- products --------------------------------------------------------------------------------


def accumulate(
    pairs: Sequence[tuple[int, int]],
    bits: int,
    overflow: str,
    start: int = 0,
    signed: bool = True,
    n: int = 0,
) -> tuple[int, int]:
    """(sum of products in order, additions that overflowed), limited after every addition."""
    total, overflows = start, 0
    for a, b in pairs:
        total, over = limit_code(total + a * b, bits, signed, overflow, n)
        overflows += over
    return total, overflows


Register = dict[str, Any]  # bits, overflow, and where not plain: signed, n, sum_rounding


def add_to(register: Register, total: int, term: int, finer: int) -> tuple[int, bool]:
    """(register after one addition of a term with `finer` more fractional bits, overflowed)."""
    bits, signed, overflow, n = (
        register["bits"],
        register.get("signed", True),
        register["overflow"],
        register.get("n", 0),
    )
    shift = max(finer, 0)
    exact = (total << shift) + (term << max(-finer, 0))
    mode = register.get("sum_rounding", "TRN") if shift else "TRN"
    result, _, over = cast(exact, shift, bits, signed, mode, overflow, n)
    return result, over


def accumulate_in(
    pairs: Sequence[tuple[int, int]],
    finer: int,
    register: Register,
    product: tuple[int, int, bool, str, str, int] | None = None,
    product_rounding: str = "TRN",
    tree: int = 1,
    chunk: int = 0,
    partial: Register | None = None,
    draws: Sequence[int] | None = None,
) -> tuple[int, int]:
    """(sum, additions that overflowed) of products with `finer` more fractional bits than the sum.

    product : the cast of each product: (shift, bits, signed, rounding, overflow, n)
    """
    terms = [a * b for a, b in pairs]
    if product is not None:
        terms = [cast(term, *product)[0] for term in terms]
        finer -= product[0]
    if "sum_rounding" not in register:
        noise = draws or [0] * len(terms)
        mode = product_rounding if finer > 0 else "TRN"  # what is not finer is not rounded
        terms = [round_code(t, finer, mode, d) for t, d in zip(terms, noise, strict=True)]
        finer = 0
    terms = [sum(terms[k : k + tree]) for k in range(0, len(terms), tree)]
    size = chunk // tree or max(len(terms), 1)
    total = overflows = 0
    for first in range(0, len(terms), size):
        inner, begun = (partial or register, 0) if chunk else (register, total)
        for term in terms[first : first + size]:
            begun, over = add_to(inner, begun, term, finer)
            overflows += over
        if chunk:
            total, over = add_to(register, total, begun, 0)
            overflows += over
        else:
            total = begun
    return total, overflows


def gemm(a: Matrix, b: Matrix, bits: int, overflow: str) -> Matrix:
    """a (M, K) times b (N, K) transposed."""
    return [[accumulate(list(zip(x, y, strict=True)), bits, overflow)[0] for y in b] for x in a]


def _at(image: list[Matrix], y: int, x: int, c: int) -> int:
    inside = 0 <= y < len(image) and 0 <= x < len(image[0])
    return image[y][x][c] if inside else 0


Axis = tuple[int, int, int, int]  # size, stride, zeros in front, dilation of a window


def convolution_pairs(
    image: list[Matrix], weight: Sequence[int], y: int, x: int, vertical: Axis, horizontal: Axis
) -> list[tuple[int, int]]:
    """The products of output (y, x) of one filter, in order of kernel row, column, channel."""
    channels = len(image[0][0])
    (high, down, top, row_gap), (wide, across, left, column_gap) = vertical, horizontal
    return [
        (
            _at(image, y * down - top + a * row_gap, x * across - left + b * column_gap, c),
            weight[(a * wide + b) * channels + c],
        )
        for a in range(high)
        for b in range(wide)
        for c in range(channels)
    ]


def grad_input_pairs(
    error: list[Matrix],
    weight: Matrix,
    y: int,
    x: int,
    c: int,
    channels: int,
    vertical: Axis,
    horizontal: Axis,
) -> list[tuple[int, int]]:
    """The products of input (y, x, c)'s gradient, in order of kernel row, column, filter.

    A convolution with the kernel turned by 180 degrees; taps that no output used multiply by zero.
    """
    (high, down, top, row_gap), (wide, across, left, column_gap) = vertical, horizontal
    pairs = []
    for a in reversed(range(high)):
        for b in reversed(range(wide)):
            row, column = y + top - a * row_gap, x + left - b * column_gap
            used = row % down == 0 and column % across == 0
            for f, weights in enumerate(weight):
                value = _at(error, row // down, column // across, f) if used else 0
                pairs.append((value, weights[(a * wide + b) * channels + c]))
    return pairs
