"""The specification of the vector unit, in Python integers: what happens between the products.

Normalisation, activation functions, softmax and loss, dropout; `specification_update` has the
optimizers. Like `specification`, it imports nothing of the engine; tensors are nested lists,
columns are channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

from fxsim.numerics.specification import Matrix, cast, limit_code, rnd, rnd_conv, round_code

WORD_BITS = 16


def round_quotient(numerator: int, denominator: int, mode: str, draw_code: int = 0) -> int:
    """numerator / denominator, rounded in any mode; STOCHASTIC compares 16 bits with its draw."""
    floor, rest = divmod(numerator, denominator)
    negative, lost = numerator < 0, rest != 0
    towards_even, away = floor % 2 == 1, floor >= 0
    ties = {
        "RND": True,
        "RND_ZERO": not away,
        "RND_MIN_INF": False,
        "RND_INF": away,
        "RND_CONV": towards_even,
        "RND_CONV_ODD": not towards_even,
    }
    if mode in ties:
        return floor + (2 * rest > denominator or (2 * rest == denominator and ties[mode]))
    if mode == "STOCHASTIC":
        return floor + (((rest << 16) // denominator + draw_code) >> 16)
    return {
        "TRN": floor,
        "TRN_ZERO": floor + (negative and lost),
        "TRN_INF": floor + lost,
        "TRN_AWAY": floor + (lost and not negative),
        "TRN_MAG": floor + negative,
        "JAM": floor | lost,
        "JAM_ALWAYS": floor | 1,
    }[mode]


def divide_nearest(numerator: int, denominator: int) -> int:
    """Quotient rounded to nearest, ties up."""
    return (2 * numerator + denominator) // (2 * denominator)


def shifted(value: int, shift: int) -> int:
    """value * 2**-shift, to nearest, ties up, within 62 bits."""
    exact = value << -shift if shift <= 0 else (value + (1 << (shift - 1))) >> shift
    return min(max(exact, 1 - (1 << 62)), (1 << 62) - 1)


def short(value: int, shift: int, bits: int = 31) -> tuple[int, int]:
    """(mantissa, shift): value * 2**-shift with at most `bits` bits, low ones dropped."""
    excess = max(0, value.bit_length() - bits)
    return value >> excess, shift - excess


def words(codes: Sequence[int], frac: int) -> tuple[list[int], int]:
    """Codes as 16-bit words at the finest scale that holds them all."""
    finest = frac - max(0, max((abs(c) for c in codes), default=0).bit_length() - (WORD_BITS - 1))
    return [cast(c, frac - finest, WORD_BITS)[0] for c in codes], finest


def add(a: Sequence[int], frac_a: int, b: Sequence[int], frac_b: int) -> tuple[list[int], int]:
    """a + b as words: at the coarser scale, the finer operand rounded to nearest even."""
    frac = min(frac_a, frac_b)
    total = [
        rnd_conv(x, frac_a - frac) + rnd_conv(y, frac_b - frac) for x, y in zip(a, b, strict=True)
    ]
    return words(total, frac)


# --- normalisation ---------------------------------------------------------------------------


def reciprocal_root(value: int) -> tuple[int, int]:
    """(root, half): 1/sqrt(value) is root * 2**-half, within 2**-15 of itself."""
    drop = max(value.bit_length() - 30, 0)
    drop += drop % 2
    mantissa_bits = value >> drop
    exponent = mantissa_bits.bit_length() + 31
    exponent += exponent % 2
    return isqrt((1 << exponent) // mantissa_bits), (exponent + drop) // 2


def moments(column: Sequence[int]) -> tuple[int, int]:
    """(mean with 4 more fractional bits, variance of the centred codes) of one channel."""
    mean = divide_nearest(16 * sum(column), len(column))
    return mean, sum((16 * x - mean) ** 2 for x in column) // len(column)


def advance(running: int, batch: int, shift: int, bits: int) -> int:
    """A running statistic moved by 6554/2**16 of the way to the batch's, cast by `shift` first."""
    target = cast(batch, shift, bits)[0]
    return running + (((target - running) * 6554 + (1 << 15)) >> 16)


def inverse_deviation(variance: int, frac: int) -> tuple[int, int]:
    """The reciprocal root of a variance with 2 frac + 8 fractional bits plus 2**-17."""
    scale = 2 * frac + 8 - 17
    return reciprocal_root(max(variance + (1 << scale if scale >= 0 else 0), 1))


def affine(
    columns: Matrix, lines: Sequence[tuple[int, int, int, int]]
) -> tuple[Matrix, int, list[tuple[int, int, int, int]]]:
    """Words of slope * (x - centre) + offset by column; (columns, frac, coefficients).

    lines : (centre, slope mantissa, its shift, offset with 24 fractional bits) of each column
    The result's scale is the finest at which |slope| * reach + |offset| fits 16 bits in every
    column; each column's multiplier and shift leave the sum 30 bits.
    """
    peaks = []
    for column, (centre, slope, bit_shift, offset) in zip(columns, lines, strict=True):
        reach = max(abs(x - centre) for x in column)
        peaks.append(abs(offset) + shifted(abs(slope) * reach, bit_shift - 24) + 1)
    frac = min(24, 15 - (max(peaks).bit_length() - 24))
    out, coefficients = [], []
    for column, peak, (centre, slope, bit_shift, offset) in zip(columns, peaks, lines, strict=True):
        shift = min(29 - (peak.bit_length() + frac - 24), 30)
        reach = max(abs(x - centre) for x in column)
        scale = shifted(slope, bit_shift - frac - shift) if reach else 0
        start = shifted(offset, 24 - frac - shift) + (1 << (shift - 1))
        coefficients.append((centre, scale, start, shift))
        out.append(
            [
                limit_code(((x - centre) * scale + start) >> shift, 16, True, "SAT")[0]
                for x in column
            ]
        )
    return out, frac, coefficients


def batch_norm_line(
    mean: int, root: int, half: int, gamma: int, beta: int
) -> tuple[int, int, int, int]:
    """(centre, slope, shift, offset) of gamma * (x - mean) / deviation + beta."""
    centre = limit_code(shifted(mean, 4), 16, True, "SAT")[0]
    slope, shift = short(gamma * root, half + 9)
    distance = min(max(16 * centre - mean, -(1 << 31)), 1 << 31)
    moved = shifted(distance * slope, shift + 4 - 24)
    return centre, slope, shift, beta + min(max(moved, -(1 << 55)), 1 << 55)


def batch_norm_backward(
    errors: Matrix,
    columns: Matrix,
    lines: Sequence[tuple[int, int, int, int]],
    moments_: Sequence[tuple[int, int, int]],
    frac: int,
    error_frac: int,
) -> tuple[Matrix, int, list[int], int]:
    """(input gradients, their frac, gamma gradients, their frac), by column.

    moments_ : (mean, root, half) of each column; the gradient of beta is the errors' sum.
    """
    count = len(errors[0])
    sums, slopes, terms = [], [], []
    for e, column, (centre, slope, bit_shift, _), (mean, root, half) in zip(
        errors, columns, lines, moments_, strict=True
    ):
        total, distance = sum(e), 16 * centre - mean
        cross = 16 * sum(a * (x - centre) for a, x in zip(e, column, strict=True))
        cross += distance * total
        m, p = short(cross, 0, 44)
        sums.append((m * root, p + half + error_frac))
        t, tp = short(cross, 0)
        r, rp = short(root * root, 2 * half)
        w, wp = short(t * r // count, tp + rp)
        constant = -((total << 16) // count) - shifted(distance * w, wp - 16)
        q, qp = short(-slope * w, bit_shift + wp - 4)
        c, cp = short(constant, 16)
        terms.append(
            (
                (slope, bit_shift),
                (q, qp),
                short(slope * c, bit_shift + cp),
                max(map(abs, e)),
                max(abs(x - centre) for x in column),
            )
        )
        slopes.append((centre, e, column))
    sizes = [
        max(
            (abs(m) * reach).bit_length() - p
            for (m, p), reach in zip((a, b, c), (e, d, 1), strict=True)
            if m and reach
        )
        for a, b, c, e, d in terms
        if any(m and reach for (m, _), reach in zip((a, b, c), (e, d, 1), strict=True))
    ]
    grid = 45 - max(sizes, default=45)
    bounds = [
        sum(
            shifted(abs(m) * reach, p - grid)
            for (m, p), reach in zip((a, b, c), (e, d, 1), strict=True)
        )
        + 3
        for a, b, c, e, d in terms
    ]
    fine = 15 - (max(bounds).bit_length() - grid)
    out = []
    for (centre, e, column), (a, b, last, most, reach), bound in zip(
        slopes, terms, bounds, strict=True
    ):
        shift = min(29 - (bound.bit_length() - grid + fine), 30)
        scale_e = shifted(a[0], a[1] - fine - shift) if most else 0
        scale_x = shifted(b[0], b[1] - fine - shift) if reach else 0
        start = shifted(last[0], last[1] - fine - shift) + (1 << (shift - 1))
        out.append(
            [
                limit_code(
                    (code * scale_e + (x - centre) * scale_x + start) >> shift, 16, True, "SAT"
                )[0]
                for code, x in zip(e, column, strict=True)
            ]
        )
    gamma, gamma_frac = _common([m for m, _ in sums], [p for _, p in sums])
    return out, fine + error_frac - frac, gamma, gamma_frac


def _common(mantissas: Sequence[int], shift: Sequence[int]) -> tuple[list[int], int]:
    """Values with places of their own as 31-bit codes of one scale."""
    sizes = [abs(m).bit_length() - p for m, p in zip(mantissas, shift, strict=True) if m]
    frac = 30 - max(sizes, default=30)
    return [shifted(m, p - frac) if m else 0 for m, p in zip(mantissas, shift, strict=True)], frac


def normalise_row(row: Sequence[int], frac: int, centred: bool) -> tuple[list[int], int, int]:
    """(words with 11 fractional bits, root, half) of one row at mean 0, if centred, variance 1."""
    mean = divide_nearest(16 * sum(row), len(row)) if centred else 0
    variance = sum((16 * x - mean) ** 2 for x in row) // len(row)
    root, half = inverse_deviation(variance, frac)
    return [cast((16 * x - mean) * root, half - 11, 16)[0] for x in row], root, half


def normalise_rows_backward(
    errors: Matrix,
    normals: Matrix,
    roots: Sequence[tuple[int, int]],
    frac: int,
    error_frac: int,
    centred: bool,
) -> tuple[Matrix, int]:
    """(input gradients as words, their fractional bits), by row."""
    projected, shift = [], []
    for e, u, (_, half) in zip(errors, normals, roots, strict=True):
        mean = divide_nearest(16 * sum(e), len(e)) if centred else 0
        slope = divide_nearest(sum(a * b for a, b in zip(e, u, strict=True)), 128 * len(e))
        projected.append(
            [rnd_conv((a << 15) - (mean << 11) - b * slope, 13) for a, b in zip(e, u, strict=True)]
        )
        shift.append(error_frac + 2 + half - 4 - frac)
    sizes = [
        max(map(abs, p)).bit_length() + root.bit_length() - c
        for p, (root, _), c in zip(projected, roots, shift, strict=True)
        if any(p)
    ]
    grid = 30 - max(sizes, default=0)
    exact = [
        [round_code(x * root, min(c - grid, 62), "RND_CONV") for x in p]
        for p, (root, _), c in zip(projected, roots, shift, strict=True)
    ]
    flat, frac_of_words = words([x for row in exact for x in row], grid)
    width = len(errors[0])
    return [flat[r : r + width] for r in range(0, len(flat), width)], frac_of_words


# --- elementwise functions -------------------------------------------------------------------


def multiply(a: Sequence[int], b: Sequence[int]) -> tuple[list[int], int]:
    """(a * b as words, places dropped)."""
    codes, frac = words([x * y for x, y in zip(a, b, strict=True)], 0)
    return codes, -frac


def leak(code: int, sign: int, slope: int) -> int:
    """code, or code * slope * 2**-15 where `sign` is not positive."""
    return code if sign > 0 else rnd_conv(code * slope, 15)


def drop(code: int, drawn: int, threshold: int) -> tuple[int, int]:
    """(the code after dropout, how many octaves its scale became coarser); 16-bit draws."""
    share = (1 << 16) - threshold
    octaves = (((1 << 16) - 1) // share).bit_length()
    scale = ((1 << (30 - octaves)) + share // 2) // share
    return (rnd_conv(code * scale, 14) if drawn >= threshold else 0), octaves


def look_up(code: int, knots: Sequence[int]) -> int:
    """Linear between knots 32 codes apart, the first at -2**15; half up."""
    k, part = divmod(code + (1 << 15), 32)
    return (32 * knots[k] + (knots[k + 1] - knots[k]) * part + 16) >> 5


# --- softmax and losses ----------------------------------------------------------------------


def power_of_two_table() -> list[int]:
    """floor(2**30 * 2**(-i/256)) for i = 0..256, by search in integers."""
    table = []
    for i in range(257):
        low, high = 0, 1 << 31
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if middle**256 <= 1 << (30 * 256 - i) else (low, middle)
        table.append(low)
    return table


def softmax(row: Sequence[int], seen: int, table: Sequence[int]) -> list[int]:
    """Probabilities, 30 fractional bits, of the first `seen` logits with 16; the rest are 0."""
    powers = []
    for x in row[:seen]:
        octaves = (min(max(row[:seen]) - x, 1 << 22) * 1549082005) >> 30
        whole, part = divmod(octaves, 1 << 16)
        left, right = table[part >> 8], table[(part >> 8) + 1]
        powers.append((left - (((left - right) * (part & 255)) >> 8)) >> whole)
    return [((p << 30) + sum(powers) // 2) // sum(powers) for p in powers] + [0] * (len(row) - seen)


def softmax_backward(shares: Sequence[int], errors: Sequence[int], frac: int) -> list[int]:
    """shares * (errors - their mean), exact; shares have `frac` fractional bits."""
    mean = rnd(sum(p * e for p, e in zip(shares, errors, strict=True)), frac)
    return [p * (e - mean) for p, e in zip(shares, errors, strict=True)]


def softmax_error(
    logits: Matrix, labels: Sequence[int], table: Sequence[int], off: int = 0
) -> tuple[Matrix, Matrix]:
    """(probabilities, errors), 30 fractional bits, of logits with 16; off: other targets."""
    probabilities = [softmax(row, len(row), table) for row in logits]
    classes = len(logits[0])
    on = (1 << 30) - (classes - 1) * off
    return probabilities, [
        [divide_nearest(p - (on if j == label else off), len(logits)) for j, p in enumerate(row)]
        for row, label in zip(probabilities, labels, strict=True)
    ]


def squared_error(values: Matrix, labels: Sequence[int]) -> Matrix:
    """The gradient, 28 fractional bits, of codes' (16) mean squared distance to one-hot."""
    count = len(values) * len(values[0])
    return [
        [divide_nearest((2 * (v - ((j == label) << 16))) << 12, count) for j, v in enumerate(row)]
        for row, label in zip(values, labels, strict=True)
    ]


def power_of_two_error(scores: Sequence[int], label: int, count: int) -> list[int]:
    """NITI's gradient of a row of scores (16 fractional bits), mean over `count`: 30 bits."""
    octaves = [score * 47274 >> 31 for score in scores]
    top = max(octaves)
    return _niti_error([(1 << max(octave - top + 10, 0)) - 1 for octave in octaves], label, count)


def second_order_error(codes: Sequence[int], exponent: int, label: int, count: int) -> list[int]:
    """The same of small scores, codes * 2**exponent, exponent <= -7."""
    powers = [2 ** (1 - 2 * exponent) + s * 2 ** (1 - exponent) + s * s for s in codes]
    return _niti_error(powers, label, count)


def _niti_error(powers: Sequence[int], label: int, count: int) -> list[int]:
    shares = [(p << 11) // sum(powers) for p in powers]
    shares[label] -= sum(shares)
    return [(share << 19) // count for share in shares]


# --- uniform quantisers ----------------------------------------------------------------------


def power(exponent: int) -> int:
    """2**-exponent at 30 fractional bits, of an exponent with 24: softmax's table, linear between.

    Knots are 2**(-i/256) rounded down, by eight integer square roots.
    """
    knot, rest = exponent >> 16 & 255, exponent & 0xFFFF
    ends = []
    for i in (knot, knot + 1):
        root = 1 << (30 * 256 - i)
        for _ in range(8):
            root = isqrt(root)
        ends.append(root)
    return ends[0] - ((ends[0] - ends[1]) * rest >> 16) >> min(exponent >> 24, 40)


def fine_tanh(code: int, frac: int) -> int:
    """tanh(code * 2**-frac), 30 fractional bits; 2 log2(e) has 28."""
    one, p = 1 << 30, power(abs(code) * (3098164010 >> 2) >> (frac + 4))
    return (1 if code > 0 else -1 if code < 0 else 0) * ((one - p) * one // (one + p))


def tanh_levels(codes: Sequence[int], frac: int, bits: int) -> tuple[list[int], int]:
    """(DoReFa's odd codes, max|tanh| at 30 fractional bits); more than one bit."""
    t = [fine_tanh(code, frac) for code in codes]
    largest, levels = max(max(map(abs, t)), 1), (1 << bits) - 1
    return [2 * divide_nearest((x + largest) * levels, 2 * largest) - levels for x in t], largest


def level_of(code: int, multiplier: int, shift: int, bits: int) -> int:
    """PACT's level of a word: code * multiplier * 2**-shift, half up, within 0 to 2**bits - 1."""
    return min(max(rnd(code * multiplier, shift), 0), (1 << bits) - 1)
