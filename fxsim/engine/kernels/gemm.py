"""out[i, j] = sum over k of a[i, k] * b[j, k], for ranges of rows i.

a (M, K) and b (N, K) are C-contiguous, int16 or (for int64 sums) int64; out is (M, N) int64.
"""

import numpy as np

from fxsim.engine.jit import kernel


@kernel
def gemm_int32_range(start, stop, a, b, out, chunk):
    """Wide sums through int32. Precondition: chunk * max|a| * max|b| < 2**31.

    Four columns at a time: LLVM turns the k loop into multiply-add of pairs (vpmaddwd).
    """
    depth, columns = a.shape[1], b.shape[0]
    for i in range(start, stop):
        for j in range(columns):
            out[i, j] = 0
        for first in range(0, depth, chunk):
            last = min(first + chunk, depth)
            x = a[i, first:last]  # slices: a k loop from 0 needs no checks of negative indices
            j = 0
            while j + 4 <= columns:
                y0, y1 = b[j, first:last], b[j + 1, first:last]
                y2, y3 = b[j + 2, first:last], b[j + 3, first:last]
                s0, s1, s2, s3 = np.int32(0), np.int32(0), np.int32(0), np.int32(0)
                for k in range(x.shape[0]):
                    value = np.int32(x[k])
                    s0 = np.int32(s0 + np.int32(value * np.int32(y0[k])))
                    s1 = np.int32(s1 + np.int32(value * np.int32(y1[k])))
                    s2 = np.int32(s2 + np.int32(value * np.int32(y2[k])))
                    s3 = np.int32(s3 + np.int32(value * np.int32(y3[k])))
                out[i, j] += s0
                out[i, j + 1] += s1
                out[i, j + 2] += s2
                out[i, j + 3] += s3
                j += 4
            while j < columns:
                y0 = b[j, first:last]
                s0 = np.int32(0)
                for k in range(x.shape[0]):
                    s0 = np.int32(s0 + np.int32(np.int32(x[k]) * np.int32(y0[k])))
                out[i, j] += s0
                j += 1


@kernel
def gemm_int64_range(start, stop, a, b, out):
    """Wide sums modulo 2**64."""
    for i in range(start, stop):
        for j in range(b.shape[0]):
            total = np.int64(0)
            for k in range(a.shape[1]):
                total += np.int64(a[i, k]) * np.int64(b[j, k])
            out[i, j] = total


@kernel
def leaving_range(start, stop, a, b, bits):
    """(sums outside a signed register of `bits`, number of the first or -1), in two words each.

    a (M, K), b (N, K) int64 codes, whose products fit int64; ranges are ranges of rows of a
    """
    leaving, first = np.int64(0), np.int64(-1)
    spare = np.int64(64) - bits
    for i in range(start, stop):
        for j in range(b.shape[0]):
            high, low = np.int64(0), np.uint64(0)
            for k in range(a.shape[1]):
                product = a[i, k] * b[j, k]
                before = low
                low += np.uint64(product)
                high += (product >> np.int64(63)) + np.int64(low < before)
            word = np.int64(low)
            if high != word >> np.int64(63) or (word << spare) >> spare != word:
                leaving += 1
                if first < 0:
                    first = np.int64(i * b.shape[0] + j)
    return leaving, first
