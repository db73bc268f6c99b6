"""Loop nests: every pass of every layer, seen as one convolution of eight loops.

`result[b, k, oy, ox] += image[b, c, oy * stride + fy * dilation, ...] * filter[k, c, fy, fx]`, G
times over. The left operand is the image, the right one the filter. The three passes are of this
form (letters are those of the nest, capitals in brackets those of the forward pass):

- forward: image = activation, filter = weight
- grad_input: image = error spread by the stride, filter = weight turned (K and C change places)
- grad_weight: image = activation with batch and channels exchanged, filter = error spread by the
  stride; so b = [C], c = [B], k = [K], oy, ox = [FY, FX], fy, fx = [OY, OX]

A matrix product m x k by k x n has b = m, k = n, c = k. Names as in ZigZag and Timeloop.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd, prod

from fxsim.engine.bit_pair_histogram import canonical, geometry_of
from fxsim.engine.contractions import Contraction
from fxsim.engine.geometry import Convolution
from fxsim.hardware.dataflow import LETTER, LOOPS
from fxsim.identifiers import Pass
from fxsim.mapping.kernels.footprints import span
from fxsim.mapping.kernels.layout import FX, FY, OX, OY, B, C, G, K

DIMENSIONS = LOOPS
# the loops of each of the matrix product's three dimensions
CLASSES = {
    letter: tuple(d for d, loop in enumerate(DIMENSIONS) if LETTER[loop] == letter)
    for letter in "mnk"
}
AXES = ((OY, FY), (OX, FX))  # outputs and taps, along rows and along columns
RELEVANT = {
    "left": (B, C, OY, OX, FY, FX, G),
    "right": (K, C, FY, FX, G),
    "output": (B, K, OY, OX, G),
}


@dataclass(frozen=True, slots=True)
class Nest:
    """The loops of one product, and how its image lies in memory.

    sizes : of the eight loops, in the order of `DIMENSIONS`
    stride, dilation : of the outputs and of the filter's taps in the image, whose pixels are
        `upsampling` apart (1: all are there); all three of rows and of columns
    padding : pixels before the first row and column, in the image as it is spread
    image : (height, width) of the image without padding, in pixels that are there
    flattened : classes ("m", "k") whose loops are merged to one, as im2col does
    unique : the share of the flattened matrix's words that are not copies or padding
    """

    sizes: tuple[int, int, int, int, int, int, int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    upsampling: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    image: tuple[int, int] = (1, 1)
    flattened: frozenset[str] = frozenset({"m", "k"})
    unique: float = 1.0

    @classmethod
    def matrix(cls, m: int, n: int, k: int, repeats: int = 1) -> Nest:
        """`repeats` products of an m x k by a k x n matrix."""
        return cls((m, n, k, 1, 1, 1, 1, repeats))

    @classmethod
    def convolution(cls, pass_: Pass, g: Convolution, images: int) -> Nest:
        """A pass of a convolution of so many images."""
        channels, filters = g.channels // g.groups, g.filters // g.groups
        down, across = g.vertical, g.horizontal
        outputs, taps = (g.out_height, g.out_width), (down.size, across.size)
        stride, dilation = (down.stride, across.stride), (down.dilation, across.dilation)
        image, before = (g.height, g.width), (down.before, across.before)
        if pass_ == Pass.FORWARD:
            sizes = (images, filters, channels, *outputs, *taps, g.groups)
            return cls(sizes, stride, dilation, (1, 1), before, image, frozenset())
        if pass_ == Pass.GRAD_INPUT:
            sizes = (images, channels, filters, *image, *taps, g.groups)
            turned = (down.first(down.size - 1), across.first(across.size - 1))
            return cls(sizes, (1, 1), dilation, stride, turned, outputs, frozenset())
        sizes = (channels, filters, images, *taps, *outputs, g.groups)
        return cls(sizes, dilation, stride, (1, 1), before, image, frozenset())

    @classmethod
    def of(
        cls, pass_: Pass, contraction: Contraction, m: int, n: int, k: int, repeats: int
    ) -> Nest:
        """The nest of a recorded product."""
        g = geometry_of(contraction)
        if g is None:
            return cls.matrix(m, n, k, repeats)
        pass_ = canonical(pass_, contraction)
        pixels = {Pass.FORWARD: g.out_height * g.out_width, Pass.GRAD_INPUT: g.height * g.width}
        images = (
            k // (g.out_height * g.out_width) if pass_ == Pass.GRAD_WEIGHT else m // pixels[pass_]
        )
        return cls.convolution(pass_, g, images)

    def without_zeros(self) -> list[Nest]:
        """The nests that give the same without the zeros between the pixels of a spread image.

        Outputs whose places differ by a multiple of the spread meet the same taps: each such phase
        is a convolution of its own, of the image as it is. Phases that no tap meets are left out.

        Examples
        --------
        >>> sizes = (1, 8, 16, 6, 6, 3, 3, 1)
        >>> spread = Nest(sizes, upsampling=(2, 2), padding=(1, 1), image=(3, 3))
        >>> [(nest.sizes[3:7], nest.macs) for nest in spread.without_zeros()][:2]
        [((3, 3, 1, 1), 1152), ((3, 3, 1, 2), 2304)]
        >>> sum(nest.macs for nest in spread.without_zeros()) * 4 == spread.macs
        True
        """
        if not self.spread:
            return [self]
        rows, columns = (self._phases(axis) for axis in range(2))
        down, across = (
            each // gcd(each, spread)
            for each, spread in zip(self.dilation, self.upsampling, strict=True)
        )
        b, k, c, *_, g = self.sizes
        return [
            replace(
                self,
                sizes=(b, k, c, high, wide, tall, broad, g),
                dilation=(down, across),
                upsampling=(1, 1),
                padding=(above, before),
            )
            for high, tall, above in rows
            for wide, broad, before in columns
        ]

    def _phases(self, axis: int) -> list[tuple[int, int, int]]:
        """(outputs, taps, pixels before the first) of each phase along one axis."""
        outputs, taps = (self.sizes[d] for d in AXES[axis])
        spread, phases = self.upsampling[axis], []
        for first in range(min(spread, outputs)):
            start = first - self.padding[axis]
            met = [
                place
                for tap in range(taps)
                if (place := start + tap * self.dilation[axis]) % spread == 0
            ]
            if met:
                phases.append((-(-(outputs - first) // spread), len(met), -met[0] // spread))
        return phases

    @property
    def spread(self) -> bool:
        """Whether there are zeros between the pixels of the image."""
        return self.upsampling != (1, 1)

    @property
    def macs(self) -> int:
        """Multiply-accumulates, padding included."""
        return prod(self.sizes)

    @property
    def left_words(self) -> int:
        """Words of the left operand that are needed, each counted once."""
        if self.flattened:
            return round(self.unique * self.matrix_words("left"))
        needed = prod(self.sizes[d] for d in (B, C, G))
        for axis, (outputs, taps) in enumerate(AXES):
            steps = self.stride[axis], self.dilation[axis], self.upsampling[axis]
            whole = span(self.sizes[outputs], self.sizes[taps], *steps)
            needed *= min(int(whole), self.image[axis])
        return needed

    def matrix_words(self, operand: str) -> int:
        """Words of an operand's matrix: of the left one, with every copy that im2col makes."""
        return prod(self.sizes[d] for d in RELEVANT[operand])

    def gemm(self) -> tuple[int, int, int]:
        """(m, n, k) of one of the G products."""
        m, n, k = (prod(self.sizes[d] for d in members) for members in CLASSES.values())
        return m, n, k

    def flatten(self, classes: frozenset[str]) -> Nest:
        """The nest with the loops of these classes ("m", "k") merged to B and C."""
        if not classes - self.flattened:
            return self
        sizes = list(self.sizes)
        for name in classes:
            first, *others = CLASSES[name]
            for d in others:
                sizes[first] *= sizes[d]
                sizes[d] = 1
        b, k, c, oy, ox, fy, fx, g = sizes
        return replace(
            self,
            sizes=(b, k, c, oy, ox, fy, fx, g),
            flattened=classes | self.flattened,
            unique=self.left_words / self.matrix_words("left"),
        )
