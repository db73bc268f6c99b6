"""A tiny network with every integer layer, and its training step in Python integers alone."""

from __future__ import annotations

import hashlib
from fractions import Fraction

import numpy as np

from fxsim.numerics import specification as ref
from fxsim.numerics import specification_update as upd
from fxsim.numerics import specification_vector as vec
from fxsim.training.data.base import ImageDataset
from fxsim.training.layers.activation import Relu
from fxsim.training.layers.convolution import Conv2d
from fxsim.training.layers.linear import Linear
from fxsim.training.layers.normalisation import BatchNorm
from fxsim.training.layers.pooling import MaxPool
from fxsim.training.layers.structure import Add, Flatten
from fxsim.training.model import Model
from fxsim.training.settings import TrainingSettings

BATCH = 3
AXIS = (3, 1, 1, 1)  # of its convolutions: size, stride, padding, dilation
SETTINGS = TrainingSettings(2, BATCH, Fraction("0.1"), weight_decay=Fraction("0.001"))


def model() -> Model:
    """conv - batch norm - ReLU - conv - residual add - max pool - flatten - linear."""
    shape, wide = (4, 4, 1), (4, 4, 2)
    return Model(
        (
            Conv2d(
                name="c1",
                inputs=("input",),
                in_shapes=(shape,),
                filters=2,
                kernel=3,
                padding=1,
                bias=False,
            ),
            BatchNorm(name="b1", inputs=("c1",), in_shapes=(wide,)),
            Relu(name="r1", inputs=("b1",), in_shapes=(wide,)),
            Conv2d(name="c2", inputs=("r1",), in_shapes=(wide,), filters=2, kernel=3, padding=1),
            Add(name="a1", inputs=("c2", "r1"), in_shapes=(wide, wide)),
            MaxPool(name="p1", inputs=("a1",), in_shapes=(wide,), size=2),
            Flatten(name="f1", inputs=("p1",), in_shapes=((2, 2, 2),)),
            Linear(name="l1", inputs=("f1",), in_shapes=((8,),), features=3),
        ),
        shape,
        3,
    )


def data() -> ImageDataset:
    rng = np.random.default_rng(0)
    images = rng.integers(-(2**13), 2**13, (BATCH, 4, 4, 1)).astype(np.int16)
    labels = np.array([0, 1, 2])
    return ImageDataset("tiny", images, labels, images, labels, 3, "random")


def key(seed: int, step: int, layer: str, role: str) -> int:
    text = f"{seed}/{step}/{layer}/{role}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def order(seed: int, epoch: int) -> list[int]:
    stream = key(seed, epoch, "data", "order")
    return sorted(range(BATCH), key=lambda i: ref.draw64(stream, i))


class Uniform:
    """Operands at 8 bits, 32-bit saturating accumulator."""

    bits = 32
    peak = 128

    def operand(self, rows, stream, role):
        flat = [c for row in rows for c in row]
        mode = "STOCHASTIC" if role == "error" else "RND_CONV"
        codes, shift = ref.quantise_tensor(flat, 8, mode, stream)
        width = len(rows[0])
        return [codes[i : i + width] for i in range(0, len(codes), width)], shift


class Blocks:
    """Operands in 4x4 blocks at a fixed threshold, 48-bit saturating accumulator."""

    bits = 48
    peak = 128

    def __init__(self, threshold: int) -> None:
        self.threshold = threshold

    def operand(self, rows, stream, role):
        mode = "STOCHASTIC" if role == "error" else "RND_CONV"
        width = len(rows[0])
        flat, kept = vec.words([c for row in rows for c in row], 0)
        small = [flat[i : i + width] for i in range(0, len(flat), width)]
        codes, _, _, shift = ref.quantise_blocks(
            small, 4, 4, (0, 2, 4, 8), self.threshold, 0, lambda i, j: 1, 8, mode, stream
        )
        return codes, shift - kept


def initial_weight(seed: int, name: str, rows: int, depth: int) -> list[list[int]]:
    from math import isqrt

    bound = isqrt((6 << 52) // depth)
    stream = key(seed, 0, name, "initial")
    draws = [ref.draw64(stream, i) >> 32 for i in range(rows * depth)]
    codes = [((d * (2 * bound + 1)) >> 32) - bound for d in draws]
    return [codes[i * depth : (i + 1) * depth] for i in range(rows)]


def turned(matrix):
    """Rows to columns."""
    return [list(row) for row in zip(*matrix, strict=True)]


class Reference:
    """The same training in Python integers; tensors are flat rows of (n, y, x) pixels."""

    def __init__(self, seed: int, numbers) -> None:
        self.seed, self.numbers = seed, numbers
        self.master = {
            "c1.weight": initial_weight(seed, "c1.weight", 2, 9),
            "b1.gamma": [[1 << 26] * 2],
            "b1.beta": [[0] * 2],
            "c2.weight": initial_weight(seed, "c2.weight", 2, 18),
            "c2.bias": [[0] * 2],
            "l1.weight": initial_weight(seed, "l1.weight", 3, 8),
            "l1.bias": [[0] * 3],
        }
        self.momentum = {n: [[0] * len(r) for r in m] for n, m in self.master.items()}
        self.momentum_frac: dict[str, int] = {}

    def step(self, step: int, images, labels, rate: int) -> None:
        self.at = step
        n = len(images)
        pixels = [row for image in images for line in image for row in line]
        (x1, fx1), (w1, fw1) = self.pair("c1", pixels, 12)
        y1, frac = self.sums(self.convolve(x1, w1, n), fx1 + fw1, self.rows_norm(w1))
        # batch norm and ReLU; the input has at most 24 fractional bits
        y1, frac = [[ref.cast(c, max(frac - 24, 0), 16)[0] for c in r] for r in y1], min(frac, 24)
        gamma = [ref.cast(c, 13, 16)[0] for c in self.master["b1.gamma"][0]]
        beta = [ref.cast(c, 2, 32)[0] for c in self.master["b1.beta"][0]]
        columns, lines, moments = turned(y1), [], []
        for c in range(2):
            mean, variance = vec.moments(columns[c])
            root, half = vec.inverse_deviation(variance, frac)
            moments.append((mean, root, half))
            lines.append(vec.batch_norm_line(mean, root, half, gamma[c], beta[c]))
        normal, fn, _ = vec.affine(columns, lines)
        r1 = [[max(c, 0) for c in row] for row in turned(normal)]
        (x2, fx2), (w2, fw2) = self.pair("c2", r1, fn)
        bias = [ref.cast(b, 26 - fx2 - fw2, 48)[0] for b in self.master["c2.bias"][0]]
        y3, f3 = self.sums(self.convolve(x2, w2, n), fx2 + fw2, self.rows_norm(w2), bias)
        y4, f4 = self.add(y3, f3, r1, fn)
        flat, chosen = [], []
        for i in range(n):
            flat.append([])
            for top, left in ((0, 0), (0, 2), (2, 0), (2, 2)):
                for c in range(2):
                    taps = [(i * 16 + (top + a) * 4 + left + b) for a in (0, 1) for b in (0, 1)]
                    window = [y4[t][c] for t in taps]
                    chosen.append((i, taps[window.index(max(window))], c))
                    flat[i].append(max(window))
        (x3, fx3), (w3, fw3) = self.pair("l1", flat, f4)
        bias = [ref.cast(b, 26 - fx3 - fw3, 48)[0] for b in self.master["l1.bias"][0]]
        exact = ref.gemm(x3, w3, self.numbers.bits, "SAT")
        y5, f5 = self.sums(exact, fx3 + fw3, self.rows_norm(w3), bias)
        logits = [[ref.cast(c, f5 - 16, 32)[0] for c in row] for row in y5]
        _, error = vec.softmax_error(logits, labels, vec.power_of_two_table())
        gradients = {}
        # backward
        e3, s3 = self.numbers.operand(error, self.key("l1", "error"), "error")
        fe = 30 - s3
        product = ref.gemm(turned(e3), turned(x3), self.numbers.bits, "SAT")
        gradients["l1.weight"] = (product, fe + fx3)
        gradients["l1.bias"] = ([[sum(c) for c in turned(e3)]], fe)
        exact = ref.gemm(e3, turned(w3), self.numbers.bits, "SAT")
        back, fb = self.sums(exact, fe + fw3, self.rows_norm(turned(w3)))
        error4 = [[0, 0] for _ in y4]
        for place, (i, pixel, c) in enumerate(chosen):
            error4[pixel][c] += back[i][place % 8]
        error4, fb = self.words(error4, fb)
        e2, s2 = self.numbers.operand(error4, self.key("c2", "error"), "error")
        fe2 = fb - s2
        gradients["c2.weight"] = (self.grad_weight(e2, x2, n, 2), fe2 + fx2)
        gradients["c2.bias"] = ([[sum(c) for c in turned(e2)]], fe2)
        norm = max(sum(abs(w[k * 2 + c]) for w in w2 for k in range(9)) for c in range(2))
        back2, fb2 = self.sums(self.grad_input(e2, w2, n), fe2 + fw2, norm)
        # the order in which the tape adds: the addition's own error, then the convolution's
        total, ft = self.add(error4, fb, back2, fb2)
        masked = [
            [c if p > 0 else 0 for c, p in zip(row, ps, strict=True)]
            for row, ps in zip(total, turned(normal), strict=True)
        ]
        back1, f1, slope, slope_frac = vec.batch_norm_backward(
            turned(masked), columns, lines, moments, frac, ft
        )
        gradients["b1.gamma"] = ([slope], slope_frac)
        gradients["b1.beta"] = ([[sum(e) for e in turned(masked)]], ft)
        e1, s1 = self.numbers.operand(turned(back1), self.key("c1", "error"), "error")
        gradients["c1.weight"] = (self.grad_weight(e1, x1, n, 1), f1 - s1 + fx1)
        for name, (codes, places) in gradients.items():
            self.update(name, codes, places, rate)

    def key(self, layer: str, role: str) -> int:
        return key(self.seed, self.at, layer, role)

    def pair(self, layer: str, rows, frac: int):
        """((activation, frac), (weight, frac)) of a layer."""
        x, dropped = self.numbers.operand(rows, self.key(layer, "activation"), "activation")
        master = self.master[f"{layer}.weight"]
        w, lost = self.numbers.operand(master, self.key(layer, "weight"), "weight")
        return (x, frac - dropped), (w, 26 - lost)

    @staticmethod
    def images(rows, n: int):
        return [[rows[i * 16 + y * 4 : i * 16 + y * 4 + 4] for y in range(4)] for i in range(n)]

    def total(self, pairs):
        return ref.accumulate(pairs, self.numbers.bits, "SAT")[0]

    def convolve(self, x, w, n: int):
        return [
            [self.total(ref.convolution_pairs(image, f, y, z, AXIS, AXIS)) for f in w]
            for image in self.images(x, n)
            for y in range(4)
            for z in range(4)
        ]

    def grad_input(self, e, w, n: int):
        return [
            [self.total(ref.grad_input_pairs(image, w, y, z, c, 2, AXIS, AXIS)) for c in range(2)]
            for image in self.images(e, n)
            for y in range(4)
            for z in range(4)
        ]

    def grad_weight(self, e, x, n: int, channels: int):
        fields = [
            [a for a, _ in ref.convolution_pairs(image, [0] * 9 * channels, y, z, AXIS, AXIS)]
            for image in self.images(x, n)
            for y in range(4)
            for z in range(4)
        ]
        return [
            [
                self.total([(row[f], field[k]) for row, field in zip(e, fields, strict=True)])
                for k in range(9 * channels)
            ]
            for f in range(2)
        ]

    @staticmethod
    def rows_norm(w) -> int:
        """The largest sum of magnitudes of a row."""
        return max(sum(map(abs, row)) for row in w)

    def sums(self, exact, frac: int, norm: int, bias=None):
        """Sums as words, at the scale that their bound proves."""
        bias = bias or [0] * len(exact[0])
        bound = min(self.numbers.peak * norm, 1 << (self.numbers.bits - 1))
        bound += max(map(abs, bias))
        drop = max(0, bound.bit_length() - 15)
        return [
            [ref.cast(c + b, drop, 16)[0] for c, b in zip(row, bias, strict=True)] for row in exact
        ], frac - drop

    @staticmethod
    def words(rows, frac: int):
        flat, kept = vec.words([c for row in rows for c in row], frac)
        width = len(rows[0])
        return [flat[i : i + width] for i in range(0, len(flat), width)], kept

    @staticmethod
    def add(a, frac_a: int, b, frac_b: int):
        flat = [[c for row in x for c in row] for x in (a, b)]
        total, frac = vec.add(flat[0], frac_a, flat[1], frac_b)
        width = len(a[0])
        return [total[i : i + width] for i in range(0, len(total), width)], frac

    def update(self, name: str, codes, frac: int, rate: int) -> None:
        flat = [c for row in codes for c in row]
        gradient, dropped = ref.quantise_tensor(flat, 16, "RND_CONV", 0)
        friction = upd.multiplier(Fraction(9, 10), 30)
        decay = upd.multiplier(Fraction(1, 1000) if name.endswith(".weight") else Fraction(0), 24)
        stream, width = self.key(name, "update"), len(self.master[name][0])
        old = self.momentum_frac.get(name, 24)

        def largest(rows, places: int) -> Fraction:
            return Fraction(max(max(map(abs, row)) for row in rows)) / Fraction(2) ** places

        bound = Fraction(friction[0], 1 << friction[1]) * largest(self.momentum[name], old)
        bound += largest([gradient], frac - dropped)
        bound += decay[0] / Fraction(2) ** decay[1] * largest(self.master[name], 26)
        new = upd.fitting_frac(bound, 32) if bound else old
        for i, code in enumerate(gradient):
            r, c = divmod(i, width)
            self.master[name][r][c], self.momentum[name][r][c] = upd.sgd(
                self.master[name][r][c],
                self.momentum[name][r][c],
                code,
                momentum_frac=old,
                gradient_frac=frac - dropped,
                frac=new,
                bits=32,
                friction=friction,
                rate=upd.multiplier(Fraction(rate, 1 << 40), 24),
                decay=decay,
                modes=("TRN_ZERO", "STOCHASTIC"),
                overflow="SAT",
                draws=(0, ref.draw(stream, i)),
            )
        self.momentum_frac[name] = new
