"""Shipped workloads: published counts, one step in integers, and a price."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import ENVIRONMENT, ROOT, jit_only

from fxsim.cost.model import evaluate_cost
from fxsim.hardware import library
from fxsim.policies.dynasty import Dynasty
from fxsim.policies.registry import POLICIES
from fxsim.policies.uniform import Uniform
from fxsim.runs import synthetic_trace
from fxsim.training import workload

SHIPPED = sorted(path.stem for path in (ROOT / "workloads").glob("*.yaml"))

# parameters and multiply-accumulates as published, and how many of their digits that pins
PUBLISHED = {
    "lenet5": (61_706, 416_520),  # the usual form: 61.7 thousand
    "resnet20": (0.27e6, 41e6),  # He et al., table 6: 0.27 M; about 41 M
    "resnet32": (0.46e6, 69e6),
    "resnet56": (0.85e6, 125e6),
    "resnet18": (11.69e6, 1.81e9),
    "resnet50": (25.6e6, 4.09e9),
    "mobilenet_v2": (3.5e6, 0.30e9),
    "vgg16": (138e6, 15.5e9),
    "alexnet": (61e6, 0.71e9),
    "vit_tiny": (5.7e6, 1.25e9),
}


def parameters(model) -> int:
    """Counted from shapes: VGG-16's need not be drawn."""
    return sum(p.master.codes.size for p in model.initial_parameters(0).values())


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_macs_are_the_published_ones(name):
    _, model = workload.load(ROOT / "workloads" / f"{name}.yaml")
    weights, macs = PUBLISHED[name]
    assert abs(parameters(model) / weights - 1) < 0.015
    assert abs(model.macs / macs - 1) < 0.015


def test_layers_of_resnet18_have_their_published_macs():
    """torchvision's: 118 M in the stem, 115.6 M in each 3x3 of the first stage, and so on."""
    _, model = workload.load(ROOT / "workloads" / "resnet18.yaml")
    macs = {layer.name: layer.macs for layer in model.layers}
    assert macs["conv1"] == 112 * 112 * 64 * 147
    assert macs["s1b1_conv1"] == 56 * 56 * 64 * 576
    assert macs["s2b1_down"] == 28 * 28 * 128 * 64
    assert macs["fc"] == 512 * 1000


def test_keyword_spotting_has_windows_of_ten_by_four():
    """Hello Edge's table 9: 10 x 4 at stride 2, then four pairs; 5.4 M operations."""
    _, model = workload.load(ROOT / "workloads" / "ds_cnn.yaml")
    assert model.layers[0].out_shape == (25, 5, 64)
    assert model.macs == 125 * 64 * (40 + 4 * (9 + 64)) + 64 * 12


SMALL = [
    "alexnet_cifar",
    "digits_cnn",
    "ds_cnn",
    "gpt_char",
    "gru_seq2seq",
    "lenet5",
    "lstm_char",
    "resnet20",
]


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("policy", [Uniform(), Dynasty()], ids=["uniform", "dynasty"])
def test_small_workloads_run_and_are_priced(name, policy):
    jit_only()
    described, model = workload.load(ROOT / "workloads" / f"{name}.yaml")
    settings, batch = described.training.settings(), 2
    trace = synthetic_trace.one_step(model, policy, replace(settings, batch=batch))
    forward = trace.products[trace.products["pass"] == "forward"]
    assert forward[["m", "n", "k", "repeats"]].prod(axis=1).sum() == batch * model.macs
    priced = evaluate_cost(trace, library.machine("int8_systolic"))
    products = priced.table[priced.table["operation"] == "product"]
    assert products["macs"].sum() == trace.products[["m", "n", "k", "repeats"]].prod(axis=1).sum()
    assert (products["cycles"] > 0).all()
    assert np.isfinite(priced.energy_pj)


@pytest.mark.parametrize("kind", [kind for kind, policy in POLICIES.items() if policy.integer])
@pytest.mark.parametrize("name", ["gru_seq2seq", "gpt_char"])
def test_every_policy_takes_recurrent_and_attention_networks(name, kind):
    jit_only()
    described, model = workload.load(ROOT / "workloads" / f"{name}.yaml")
    settings = replace(described.training.settings(), batch=1)
    trace = synthetic_trace.one_step(model, POLICIES[kind](), settings)
    assert (trace.products["pass"] == "grad_weight").any()
    assert evaluate_cost(trace, library.machine("dynasty")).cycles > 0


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "vit_tiny"])
def test_imagenet_workloads_run_and_are_priced(name):
    jit_only()
    described, model = workload.load(ROOT / "workloads" / f"{name}.yaml")
    settings = replace(described.training.settings(), batch=1)
    trace = synthetic_trace.one_step(model, Uniform(), settings)
    forward = trace.products[trace.products["pass"] == "forward"]
    assert forward[["m", "n", "k", "repeats"]].prod(axis=1).sum() == model.macs
    assert evaluate_cost(trace, library.machine("dynasty")).cycles > 0


def test_every_shipped_workload_loads():
    for name in SHIPPED:
        described, model = workload.load(ROOT / "workloads" / f"{name}.yaml")
        assert described.source
        assert model.macs > 0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "inputs: [s1b1_bn2, relu1]",
            "inputs: [s1b1_bn2, input]",
            "add 's1b1_add': add needs two inputs of equal shape, not 32 x 32 x 16 and 32 x 32 x 3",
        ),
        (
            "{name: flat, kind: flatten}",
            "{name: flat, kind: flatten}\n  - {name: q, kind: max_pool, size: 2}",
            "max_pool 'q': needs an input of height x width x channels, not 64",
        ),
        (
            "{name: relu1, kind: relu}",
            "{name: relu1, kind: pact, alpha: 40}",
            "alpha must be above 0 and below 32, not 40",
        ),
        (
            "{name: relu1, kind: relu}",
            "{name: relu1, kind: embedding, vocabulary: 5, channels: 2}",
            "conv2d 'conv1' must read numbers, not tokens",
        ),
        (
            "{name: bn1, kind: batch_norm}",
            "{name: bn1, kind: conv_transpose2d, filters: 4, kernel: 3, groups: 3}",
            "groups must divide channels and filters",
        ),
        (
            "{name: bn1, kind: batch_norm}",
            "{name: bn1, kind: conv2d, filters: 4, kernel: 3, padding: 100000000}",
            "must have at most 4,294,967,296 values a sample, not",
        ),
        (
            "{name: bn1, kind: batch_norm}",
            "{name: bn1, kind: conv_transpose2d, filters: 4, kernel: 100000, padding: 50000}",
            "must have at most 4,294,967,296 weights, not",
        ),
        (
            "{name: bn1, kind: batch_norm}",
            "{name: bn1, kind: max_pool, size: 3, padding: {top: 3}}",
            "padding must be below the window's 3 on each side, not 3",
        ),
        (
            "{name: bn1, kind: batch_norm}",
            "{name: bn1, kind: group_norm, groups: 5}",
            "groups must divide 16 channels, not be 5",
        ),
        (
            "filters: 16, kernel: 3, padding: 1, bias: false}\n  - {name: bn1",
            "filters: 16, kernel: 3, padding: 1, groups: 2}\n  - {name: bn1",
            "groups must divide channels and filters, not 2 groups of 3 channels",
        ),
    ],
)
def test_shape_errors_name_the_layer_the_shapes_and_the_line(tmp_path, old, new, message):
    from fxsim.errors import ConfigError

    text = (ROOT / "workloads" / "resnet20.yaml").read_text()
    assert text.count(old) == 1
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        workload.load(path)
    found = str(caught.value)
    assert message in found
    line = int(found.split(":")[1])
    assert "name" in path.read_text().splitlines()[line - 1]


STEP = r"""
import re, sys
import numpy as np
from pathlib import Path
from fxsim.runs import synthetic_trace
from fxsim.training import workload
from fxsim.policies.uniform import Uniform
described, model = workload.load(Path(sys.argv[1]))
synthetic_trace.one_step(model, Uniform(), described.training.settings())
print(re.search(r'VmHWM:\s+(\d+) kB', Path('/proc/self/status').read_text())[1])
"""


def test_resnet20_at_batch_128_stays_under_two_gigabytes():
    jit_only()
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak is read from Linux's /proc")
    done = subprocess.run(
        [sys.executable, "-c", STEP, ROOT / "workloads" / "resnet20.yaml"],
        capture_output=True,
        text=True,
        check=True,
        env=ENVIRONMENT,
    )
    assert int(done.stdout) < 2 << 20  # kibibytes
