"""Windows and convolutions for tests: square ones in short, and random ones."""

from __future__ import annotations

from hypothesis import strategies as st

from fxsim.engine.geometry import Convolution
from fxsim.engine.window import Window


def square(  # one line a convolution, as layers are listed
    height, width, channels, filters, kernel, stride=1, padding=0, dilation=1, groups=1
):
    """The same window along both axes, with as many zeros on all four sides."""
    window = Window(kernel, stride, padding, padding, dilation)
    return Convolution(height, width, channels, filters, window, window, groups)


def axis(window):
    """As the specification writes it."""
    return window.size, window.stride, window.before, window.dilation


@st.composite
def windows(draw, size=3, stride=3, padding=2, dilation=2):
    """A random window; each number at most so much, zeros by end."""
    return Window(
        draw(st.integers(1, size)),
        draw(st.integers(1, stride)),
        draw(st.integers(0, padding)),
        draw(st.integers(0, padding)),
        draw(st.integers(1, dilation)),
    )
