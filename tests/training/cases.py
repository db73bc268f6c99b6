"""Every kind of layer, small: how to build it, and what it is in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from fxsim.training.layers import KINDS
from fxsim.training.layers.windows import Sides

IMAGE, TOKENS, SEQUENCE = (6, 6, 4), (5,), (5, 8)


@dataclass(frozen=True)
class Case:
    """A layer of a kind on inputs of some shapes; `torch` gets (torch, inputs, parameters)."""

    kind: str
    shapes: tuple[tuple[int, ...], ...]
    torch: Callable[..., Any]
    own: dict[str, Any]
    roundings: int = 4  # on the longest path, each by half a step of a 16-bit word or operand

    def build(self) -> Any:
        inputs = tuple(f"in{i}" for i in range(len(self.shapes)))
        return KINDS[self.kind](name="l", inputs=inputs, in_shapes=self.shapes, **self.own)


def first(x):
    """(N, H, W, C) to (N, C, H, W)."""
    return x.permute(0, 3, 1, 2)


def last(x):
    return x.permute(0, 2, 3, 1)


def conv(torch, x, p, **options):
    f, groups = torch.nn.functional, options.get("groups", 1)
    w = p["l.weight"]
    k = options.pop("kernel")
    size = (k, k) if isinstance(k, int) else k
    w = w.reshape(w.shape[0], *size, x[0].shape[3] // groups).permute(0, 3, 1, 2)
    image = f.pad(first(x[0]), options.pop("sides", (0, 0, 0, 0)))  # left, right, top, bottom
    return last(f.conv2d(image, w, p.get("l.bias"), **options))


def conv_1d(torch, x, p, ends, **options):
    w = p["l.weight"].reshape(p["l.weight"].shape[0], -1, x[0].shape[2]).permute(0, 2, 1)
    f = torch.nn.functional
    sequence = f.pad(x[0].permute(0, 2, 1), ends)
    return f.conv1d(sequence, w, p["l.bias"], **options).permute(0, 2, 1)


def conv_transposed(torch, x, p, k, filters, **options):
    w = p["l.weight"].reshape(x[0].shape[3], k, k, filters).permute(0, 3, 1, 2)
    f = torch.nn.functional.conv_transpose2d
    return last(f(first(x[0]), w, p["l.bias"], **options))


def batch_norm(torch, x, p):
    f = torch.nn.functional.batch_norm
    return last(f(first(x[0]), None, None, p["l.gamma"], p["l.beta"], True, eps=2.0**-17))


def layer_norm(torch, x, p):
    f = torch.nn.functional.layer_norm
    return f(x[0], (x[0].shape[-1],), p["l.gamma"], p["l.beta"], 2.0**-17)


def rms_norm(torch, x, p):
    spread = (x[0] ** 2).mean(-1, keepdim=True) + 2.0**-17
    return x[0] / spread.sqrt() * p["l.gamma"] + p["l.beta"]


def group_norm(torch, x, p):
    f = torch.nn.functional.group_norm
    return last(f(first(x[0]), 2, p["l.gamma"], p["l.beta"], 2.0**-17))


def shuffle(torch, x, p):
    n, h, w, c = x[0].shape
    return x[0].reshape(n, h, w, 2, c // 2).transpose(3, 4).reshape(n, h, w, c)


def shortcut(torch, x, p):
    return torch.nn.functional.pad(x[0][:, ::2, ::2], (2, 2))


def lstm(torch, x, p):
    module = torch.nn.LSTM(8, 6, batch_first=True).double()
    return _recurrent(torch, module, x, p)


def gru(torch, x, p):
    module = torch.nn.GRU(8, 6, batch_first=True).double()
    return _recurrent(torch, module, x, p)


def _recurrent(torch, module, x, p):
    rows = p["l.recurrent.weight"].shape[0]
    own = {
        "weight_ih_l0": p["l.input.weight"],
        "weight_hh_l0": p["l.recurrent.weight"],
        "bias_ih_l0": p["l.input.bias"],
        "bias_hh_l0": torch.zeros(rows, dtype=torch.float64),
    }
    state = x[1][None] if len(x) == 2 else torch.zeros(1, x[0].shape[0], 6, dtype=torch.float64)
    given = (state, torch.zeros_like(state)) if isinstance(module, torch.nn.LSTM) else state
    return torch.func.functional_call(module, own, (x[0], given))[0]


def attention(torch, x, p, causal):
    n, t, c = x[0].shape
    qkv = x[0] @ p["l.qkv.weight"].T + p["l.qkv.bias"]
    q, k, v = (part.reshape(n, t, 2, c // 2).transpose(1, 2) for part in qkv.split(c, -1))
    f = torch.nn.functional.scaled_dot_product_attention
    out = f(q, k, v, is_causal=causal).transpose(1, 2).reshape(n, t, c)
    return out @ p["l.project.weight"].T + p["l.project.bias"]


def plain(function):
    return lambda torch, x, p: function(torch, x[0])


LINEAR = Case(
    "linear", ((8,),), lambda t, x, p: x[0] @ p["l.weight"].T + p["l.bias"], {"features": 6}
)
CASES = {
    "linear": LINEAR,
    "linear on positions": Case("linear", (SEQUENCE,), LINEAR.torch, {"features": 6}),
    "convolution": Case(
        "conv2d",
        (IMAGE,),
        lambda t, x, p: conv(t, x, p, kernel=3, stride=2, padding=1),
        {"filters": 6, "kernel": 3, "stride": 2, "padding": 1},
    ),
    "dilated, grouped": Case(
        "conv2d",
        (IMAGE,),
        lambda t, x, p: conv(t, x, p, kernel=2, dilation=2, groups=2),
        {"filters": 6, "kernel": 2, "dilation": 2, "groups": 2, "bias": False},
    ),
    "windows by axis": Case(
        "conv2d",
        (IMAGE,),
        lambda t, x, p: conv(t, x, p, kernel=(1, 3), stride=(2, 1), sides=(2, 1, 0, 1)),
        {
            "filters": 6,
            "kernel": (1, 3),
            "stride": (2, 1),
            "padding": Sides(bottom=1, left=2, right=1),
        },
    ),
    "same padding": Case(
        "conv2d",
        (IMAGE,),
        lambda t, x, p: conv(t, x, p, kernel=3, stride=2, sides=(0, 1, 0, 1)),
        {"filters": 6, "kernel": 3, "stride": 2, "padding": "same"},
    ),
    "causal": Case(
        "conv1d",
        (SEQUENCE,),
        lambda t, x, p: conv_1d(t, x, p, (4, 0), dilation=2),
        {"filters": 6, "kernel": 3, "dilation": 2, "padding": "causal"},
    ),
    "depthwise": Case(
        "depthwise_conv2d",
        (IMAGE,),
        lambda t, x, p: conv(t, x, p, kernel=3, padding=1, groups=4),
        {"kernel": 3, "padding": 1},
    ),
    "transposed": Case(
        "conv_transpose2d",
        (IMAGE,),
        lambda t, x, p: conv_transposed(t, x, p, 3, 5, stride=2, padding=1, output_padding=1),
        {"filters": 5, "kernel": 3, "stride": 2, "padding": 1, "output_padding": 1},
    ),
    "batch norm": Case("batch_norm", (IMAGE,), batch_norm, {}, 24),
    "layer norm": Case("layer_norm", (SEQUENCE,), layer_norm, {}, 64),
    "rms norm": Case("rms_norm", (SEQUENCE,), rms_norm, {}, 64),
    "group norm": Case("group_norm", (IMAGE,), group_norm, {"groups": 2}, 64),
    "relu": Case("relu", (IMAGE,), plain(lambda t, x: t.relu(x)), {}),
    "relu6": Case("relu6", (IMAGE,), plain(lambda t, x: t.nn.functional.relu6(x)), {}),
    "leaky relu": Case(
        "leaky_relu",
        (IMAGE,),
        plain(lambda t, x: t.nn.functional.leaky_relu(x, 0.25)),
        {"slope": Fraction(1, 4)},
    ),
    "pact": Case(
        "pact",
        (IMAGE,),
        lambda t, x, p: t.minimum(t.relu(x[0]), p["l.alpha"]),
        {"alpha": Fraction(1, 2)},
    ),
    "sigmoid": Case("sigmoid", (IMAGE,), plain(lambda t, x: t.sigmoid(x)), {}, 32),
    "tanh": Case("tanh", (IMAGE,), plain(lambda t, x: t.tanh(x)), {}, 32),
    "gelu": Case("gelu", (IMAGE,), plain(lambda t, x: t.nn.functional.gelu(x)), {}, 32),
    "silu": Case("silu", (IMAGE,), plain(lambda t, x: t.nn.functional.silu(x)), {}, 32),
    "hard swish": Case(
        "hard_swish", (IMAGE,), plain(lambda t, x: t.nn.functional.hardswish(x)), {}, 32
    ),
    "softmax": Case("softmax", (SEQUENCE,), plain(lambda t, x: t.softmax(x, -1)), {}, 8),
    "max pool": Case(
        "max_pool",
        (IMAGE,),
        plain(lambda t, x: last(t.nn.functional.max_pool2d(first(x), 3, 2, 1))),
        {"size": 3, "stride": 2, "padding": 1},
    ),
    "max pool by axis": Case(
        "max_pool",
        (IMAGE,),
        lambda t, x, p: last(
            t.nn.functional.max_pool2d(
                t.nn.functional.pad(first(x[0]), (0, 1, 1, 0), value=-9.0), (2, 3), (2, 1)
            )
        ),
        {"size": (2, 3), "stride": (2, 1), "padding": Sides(top=1, right=1)},
    ),
    "average pool": Case(
        "average_pool",
        (IMAGE,),
        plain(lambda t, x: last(t.nn.functional.avg_pool2d(first(x), 2, 2))),
        {"size": 2},
    ),
    "global average pool": Case(
        "global_average_pool", (IMAGE,), plain(lambda t, x: x.mean((1, 2), keepdim=True)), {}
    ),
    "add": Case("add", (IMAGE, IMAGE), lambda t, x, p: x[0] + x[1], {}),
    "multiply": Case("multiply", (IMAGE, IMAGE), lambda t, x, p: x[0] * x[1], {}),
    "concat": Case("concat", (IMAGE, (6, 6, 2)), lambda t, x, p: t.cat(x, -1), {}),
    "channel shuffle": Case("channel_shuffle", (IMAGE,), shuffle, {"groups": 2}),
    "shortcut": Case("shortcut", (IMAGE,), shortcut, {"filters": 8, "stride": 2}),
    "flatten": Case("flatten", (IMAGE,), plain(lambda t, x: x.flatten(1)), {}),
    "positions": Case("positions", (IMAGE,), plain(lambda t, x: x.flatten(1, 2)), {}),
    "slice": Case("slice", (SEQUENCE,), plain(lambda t, x: x[:, 1:4]), {"start": 1, "stop": 4}),
    "class token": Case(
        "class_token",
        (SEQUENCE,),
        lambda t, x, p: t.cat([p["l.token"].expand(x[0].shape[0], 1, 8), x[0]], 1),
        {},
    ),
    "position embedding": Case(
        "position_embedding", (SEQUENCE,), lambda t, x, p: x[0] + p["l.position"], {}
    ),
    "lstm": Case("lstm", (SEQUENCE,), lstm, {"units": 6}, 200),
    "lstm with a state": Case("lstm", (SEQUENCE, (6,)), lstm, {"units": 6}, 200),
    "gru": Case("gru", (SEQUENCE,), gru, {"units": 6}, 200),
    "gru with a state": Case("gru", (SEQUENCE, (6,)), gru, {"units": 6}, 200),
    "attention": Case(
        "attention", (SEQUENCE,), lambda t, x, p: attention(t, x, p, False), {"heads": 2}, 100
    ),
    "causal attention": Case(
        "attention",
        (SEQUENCE,),
        lambda t, x, p: attention(t, x, p, True),
        {"heads": 2, "causal": True},
        100,
    ),
}
