"""A tiny network with every integer layer, and its training step in Python integers alone."""

from __future__ import annotations

import hashlib
from fractions import Fraction

import numpy as np

from fxsim.arithmetic import reference as ref
from fxsim.training.data import Dataset
from fxsim.training.layers.activation import Relu
from fxsim.training.layers.convolution import Conv2d
from fxsim.training.layers.linear import Linear
from fxsim.training.layers.normalisation import BatchNorm
from fxsim.training.layers.pooling import MaxPool
from fxsim.training.layers.structure import Add, Flatten
from fxsim.training.loop import TrainingSettings
from fxsim.training.model import Model

BATCH = 3
SETTINGS = TrainingSettings(2, BATCH, Fraction("0.1"), weight_decay=Fraction("0.001"))


def model() -> Model:
    """conv - batch norm - ReLU - conv - residual add - max pool - flatten - linear."""
    shape, wide = (4, 4, 1), (4, 4, 2)
    return Model(
        (
            Conv2d(name="c1", inputs=("input",), in_shapes=(shape,), filters=2, kernel=3,
                   padding=1, bias=False, first=True),
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
    )  # fmt: skip


def data() -> Dataset:
    rng = np.random.default_rng(0)
    images = rng.integers(-(2**13), 2**13, (BATCH, 4, 4, 1))
    labels = np.array([0, 1, 2])
    return Dataset("tiny", images, labels, images, labels, 3, "random")


def key(seed: int, step: int, layer: str, role: str) -> int:
    text = f"{seed}/{step}/{layer}/{role}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def order(seed: int, epoch: int) -> list[int]:
    stream = key(seed, epoch, "data", "order")
    return sorted(range(BATCH), key=lambda i: ref.draw64(stream, i))


class Uniform:
    """Operands at 8 bits, 32-bit saturating accumulator."""

    bits = 32

    def operand(self, rows, stream, role):
        flat = [c for row in rows for c in row]
        mode = "STOCHASTIC" if role == "error" else "RND_CONV"
        codes, shift = ref.quantise_tensor(flat, 8, mode, stream)
        width = len(rows[0])
        return [codes[i : i + width] for i in range(0, len(codes), width)], shift


class Blocks:
    """Operands in 4x4 blocks at a fixed threshold, 48-bit saturating accumulator."""

    bits = 48

    def __init__(self, threshold: int) -> None:
        self.threshold = threshold

    def operand(self, rows, stream, role):
        mode = "STOCHASTIC" if role == "error" else "RND_CONV"
        codes, _, _, shift = ref.quantise_blocks(
            rows, 4, 4, (0, 2, 4, 8), self.threshold, 7, lambda i, j: 1, 8, mode, stream
        )
        return codes, shift


def initial_weight(seed: int, name: str, rows: int, depth: int) -> list[list[int]]:
    from math import isqrt

    bound = isqrt((6 << 52) // depth)
    stream = key(seed, 0, name, "initial")
    draws = [ref.draw64(stream, i) >> 32 for i in range(rows * depth)]
    codes = [((d * (2 * bound + 1)) >> 32) - bound for d in draws]
    return [codes[i * depth : (i + 1) * depth] for i in range(rows)]


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

    def step(self, step: int, images, labels, rate: int) -> None:
        self.at = step
        n = len(images)
        pixels = [row for image in images for line in image for row in line]
        (x1, fx1), (w1, fw1) = self.pair("c1", pixels, 12)
        y1 = self.convolve(x1, w1, n, 1)
        # batch norm: 16-bit words, at most 24 fractional bits
        words, frac = self.words(y1, fx1 + fw1, 24)
        gamma = [ref.cast(c, 13, 16)[0] for c in self.master["b1.gamma"][0]]
        beta = [ref.cast(c, 2, 32)[0] for c in self.master["b1.beta"][0]]
        normals, roots, columns = [], [], []
        for c in range(2):
            column = [row[c] for row in words]
            moments = ref.batch_moments(column)
            out, normal, root, half = ref.normalise(column, frac, *moments, gamma[c], beta[c])
            columns.append(out)
            normals.append(normal)
            roots.append((root, half))
        y2 = [list(row) for row in zip(*columns, strict=True)]
        positive = [[c > 0 for c in row] for row in y2]
        r1 = [[max(c, 0) for c in row] for row in y2]
        (x2, fx2), (w2, fw2) = self.pair("c2", r1, 16)
        f2 = fx2 + fw2
        y3 = [
            [
                c + ref.cast(b, 26 - f2, 49)[0]
                for c, b in zip(row, self.master["c2.bias"][0], strict=True)
            ]
            for row in self.convolve(x2, w2, n, 2)
        ]
        y4, f4 = self.add(y3, f2, r1, 16)
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
        f5 = fx3 + fw3
        logits = [
            [
                ref.cast(c + ref.cast(b, 26 - f5, 49)[0], f5 - 16, 32)[0]
                for c, b in zip(row, self.master["l1.bias"][0], strict=True)
            ]
            for row in ref.gemm(x3, w3, self.numbers.bits, "SAT")
        ]
        _, error = ref.softmax_error(logits, labels, ref.power_of_two_table())
        gradients = {}
        # backward
        e3, s3 = self.numbers.operand(error, self.key("l1", "error"), "error")
        fe = 30 - s3
        turn = lambda m: [list(r) for r in zip(*m, strict=True)]  # noqa: E731
        gradients["l1.weight"] = (ref.gemm(turn(e3), turn(x3), self.numbers.bits, "SAT"), fe + fx3)
        gradients["l1.bias"] = ([[sum(c) for c in turn(e3)]], fe)
        back = ref.gemm(e3, turn(w3), self.numbers.bits, "SAT")
        fb = fe + fw3
        error4 = [[0, 0] for _ in y4]
        for place, (i, pixel, c) in enumerate(chosen):
            error4[pixel][c] += back[i][place % 8]
        e2, s2 = self.numbers.operand(error4, self.key("c2", "error"), "error")
        fe2 = fb - s2
        gradients["c2.weight"] = (self.grad_weight(e2, x2, n, 2), fe2 + fx2)
        gradients["c2.bias"] = ([[sum(c) for c in turn(e2)]], fe2)
        # the order in which the graph adds: the add layer's own error, then the convolution's
        back2, fb2 = self.grad_input(e2, w2, n), fe2 + fw2
        total, ft = self.add(error4, fb, back2, fb2)
        masked = [
            [c if p else 0 for c, p in zip(row, ps, strict=True)]
            for row, ps in zip(total, positive, strict=True)
        ]
        words, fw = self.words(masked, ft, None)
        errors = turn(words)
        back1, f1 = ref.normalise_backward(errors, normals, roots, frac, fw, gamma)
        cross = [
            sum(a * b for a, b in zip(e, u, strict=True))
            for e, u in zip(errors, normals, strict=True)
        ]
        gradients["b1.gamma"] = ([cross], fw + 11)
        gradients["b1.beta"] = ([[sum(e) for e in errors]], fw)
        e1, s1 = self.numbers.operand(turn(back1), self.key("c1", "error"), "error")
        gradients["c1.weight"] = (self.grad_weight(e1, x1, n, 1), f1 - s1 + fx1)
        for name, (codes, frac) in gradients.items():
            self.update(name, codes, frac, rate)

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

    def convolve(self, x, w, n: int, channels: int):
        return [
            [self.total(ref.convolution_pairs(image, f, y, z, 3, 1, 1)) for f in w]
            for image in self.images(x, n)
            for y in range(4)
            for z in range(4)
        ]

    def grad_input(self, e, w, n: int):
        return [
            [self.total(ref.grad_input_pairs(image, w, y, z, c, 2, 3, 1, 1)) for c in range(2)]
            for image in self.images(e, n)
            for y in range(4)
            for z in range(4)
        ]

    def grad_weight(self, e, x, n: int, channels: int):
        fields = [
            [a for a, _ in ref.convolution_pairs(image, [0] * 9 * channels, y, z, 3, 1, 1)]
            for image in self.images(x, n)
            for y in range(4)
            for z in range(4)
        ]
        return [
            [self.total([(row[f], field[k]) for row, field in zip(e, fields, strict=True)])
             for k in range(9 * channels)]
            for f in range(2)
        ]  # fmt: skip

    @staticmethod
    def words(rows, frac: int, most: int | None):
        largest = max(abs(c) for row in rows for c in row)
        kept = frac - max(0, largest.bit_length() - 15)
        kept = kept if most is None else min(kept, most)
        return [[ref.cast(c, frac - kept, 16)[0] for c in row] for row in rows], kept

    @staticmethod
    def add(a, frac_a: int, b, frac_b: int):
        frac = min(frac_a, frac_b)
        return [
            [ref.rnd_conv(x, frac_a - frac) + ref.rnd_conv(y, frac_b - frac)
             for x, y in zip(p, q, strict=True)]
            for p, q in zip(a, b, strict=True)
        ], frac  # fmt: skip

    def update(self, name: str, codes, frac: int, rate: int) -> None:
        flat = [c for row in codes for c in row]
        gradient, dropped = ref.quantise_tensor(flat, 16, "RND_CONV", 0)
        friction, decay = 29491, 1049 if name.endswith(".weight") else 0
        stream, width = self.key(name, "update"), len(self.master[name][0])
        for i, code in enumerate(gradient):
            word = ref.cast(code, frac - dropped - 24, 32)[0]
            r, c = divmod(i, width)
            self.master[name][r][c], self.momentum[name][r][c] = ref.sgd(
                self.master[name][r][c], self.momentum[name][r][c], word, friction, rate, decay,
                "STOCHASTIC", ref.draw(stream, i),
            )  # fmt: skip
