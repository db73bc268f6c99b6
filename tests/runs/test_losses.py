"""What a run loses is warned of: in operands, sums and updates; so is that it learned nothing."""

from __future__ import annotations

import pytest
from support import fxsim, jit_only


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            ["error_frac=20"],
            "fc error: 320 of 320 words (100 %) leave the word; a coarser or dynamic scale, or"
            " more bits, holds them; so at the last step, since step 0",
        ),
        (
            ["error_frac=20"],
            "is that of chance, one of 10 classes; the likely cause is the first of 1 losses: fc"
            " error: 320 of 320 words (100 %) leave the word",
        ),
        (
            ["error_frac=2"],
            "conv2 error: 65,536 of 65,536 words (100 %) are 0; a finer or dynamic scale, or more"
            " bits, keeps them; so at the last step, since step",
        ),
        (
            ["weight_gradient_frac=20"],
            "left the words of gradient, momentum, moments or master and were limited; a coarser or"
            " dynamic scale, or more bits, holds them; in 88 steps, first at step 0",
        ),
        (
            ["momentum.bits=16", "momentum.frac=20"],
            "left the words of gradient, momentum, moments or master and were limited; a coarser or"
            " dynamic scale, or more bits, holds them; in 88 steps, first at step 0",
        ),
        (
            ["master.bits=8", "master.frac=6", "update_rounding=RND_CONV"],
            "moved no weight, because they or their step were rounded to zero; more bits or a finer"
            " scale of gradient, momentum and master, or update_rounding: STOCHASTIC, keeps them;"
            " in 88 steps, first at step 0",
        ),
        (
            ["weight_gradient_frac=-5"],
            "moved no weight, because they or their step were rounded to zero",
        ),
        ([], ""),
        (["master.bits=8", "master.frac=6"], ""),  # stochastically: nothing is lost
    ],
)
def test_what_a_run_loses_is_warned_of(tmp_path, settings, said):
    warnings = warnings_of(tmp_path, "uniform", settings)
    if said:
        assert any(said in line for line in warnings)
    else:
        assert warnings == []


def test_one_bit_under_a_high_clipping_level_is_named(tmp_path):
    first, second, *_ = warnings_of(tmp_path, "dorefa_pact", ["activation=1", "weight=8"])
    said = "conv2 activation: 32,768 of 32,768 words (100 %) are below half a level"
    assert "that of chance, one of 10 classes; the likely cause" in first
    assert said in first
    assert f"{said} of their clipping level; a smaller alpha keeps them" in second


def test_one_bit_learns_with_a_low_clipping_level(tmp_path):
    settings = ["activation=1", "weight=8", "alpha=1"]
    assert not any("chance" in line for line in warnings_of(tmp_path, "dorefa_pact", settings))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            ["activation_frac=7", "activation_overflow=ERROR"],
            "step 0, layer 'conv1': activation: cast: 504 of 2048 codes do not fit"
            " FixedPoint(bits=8, frac=7, signed=True); the first is element [0, 0, 3, 0], value"
            " 5524 * 2**-12 = 1.34863",
        ),
        (
            ["error_frac=20", "error_overflow=ERROR"],
            "step 0, error of layer 'fc': cast: 320 of 320 codes do not fit",
        ),
        (
            ["momentum.bits=16", "momentum.frac=24", "momentum.overflow=ERROR"],
            "step 0, update of 'fc.weight': 306 words of its momentum or moments do not fit their"
            " static format; the first is element [0, ",
        ),
        (
            ["weight_gradient_frac=24", "weight_gradient_overflow=ERROR"],
            "step 0, gradient of 'fc.weight': cast: ",
        ),
        (["master.bits=8", "master.frac=8"], "initial 'conv1.weight': cast: 61 of 144 codes"),
        (["master=8"], "--set master=8: must be given in parts: master.bits, master.frac"),
        (["master.bit=8"], "--set master.bit: must be one of bits, frac, rounding; did you mean"),
        (["master.bits=8", "master.frac=1"], "at most 26 fractional and at most 6 others, not 8"),
        (
            ["first_moment.bits=32"],
            "the policy's first_moment must not be given, because the workload's optimizer, sgd,"
            " has none",
        ),
        (
            ["momentum.overflow=WRAP"],
            "--set momentum: overflow is of a static scale, and there is none",
        ),
        (["weight_gradient_overflow=ERROR"], "weight_gradient: overflow is of a static scale"),
        (["weight_overflow=ERROR", "weight_frac=9"], "step 0, layer 'conv1': weight: cast: "),
    ],
)
def test_words_that_must_not_overflow_stop_a_run_in_one_line(tmp_path, settings, said):
    jit_only()
    asked = [part for setting in settings for part in ("--set", setting)]
    done = fxsim("simulate", "digits_cnn", *asked, "--out", "run", at=tmp_path, code=2)
    assert said in done.stderr.splitlines()[-1]


def warnings_of(at, policy, settings):
    jit_only()
    asked = [part for setting in settings for part in ("--set", setting)]
    done = fxsim(
        "simulate", "digits_cnn", "--policy", policy, "--epochs", 2, *asked, "--out", "run", at=at
    )
    return [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
