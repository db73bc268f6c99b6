"""The word length of every element of a pass's operands, written out: a slow specification."""

from __future__ import annotations

import numpy as np

from fxsim.engine import geometry
from fxsim.engine.bit_pair_histogram import canonical, geometry_of


def element_bits(pass_, left, right, contraction, batch=1):
    """The (m, k) left and (k, n) right matrices of bits, a pair for each group or matrix."""
    pass_ = canonical(pass_, contraction)
    a, b = left.expand(), right.expand()
    g = geometry_of(contraction)
    if g is None:
        rights = np.split(b, batch) if batch > 1 else [b]
        for one, other in zip(np.split(a, batch), rights, strict=True):
            if pass_ == "forward":
                yield one, other.T
            else:
                yield (one, other) if pass_ == "grad_input" else (one.T, other)
        return
    for group in range(g.groups):
        filters = slice(group * g.filters // g.groups, (group + 1) * g.filters // g.groups)
        if pass_ == "grad_input":
            image = a.astype(np.int16).reshape(-1, g.out_height, g.out_width, g.filters)
            rows = geometry.backward_rows(g, image.shape[0], group)
            gathered = geometry.written_out(geometry.spread(image, g), rows)
            turned = geometry.turned_weight(b.astype(np.int16), g, group).T
            yield gathered.astype(np.uint8), turned.astype(np.uint8)
            continue
        image = a.astype(np.int16).reshape(-1, g.height, g.width, g.channels)
        wide = geometry.written_out(image, geometry.forward_rows(g, image.shape[0], group))
        fields = wide.astype(np.uint8)
        yield (fields, b[filters].T) if pass_ == "forward" else (fields.T, b[:, filters])
