"""Operands whose words are lost are warned of, as accumulators are."""

from __future__ import annotations

import pytest
from support import fxsim, jit_only


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            ["error_frac=20"],
            "fc error: 319 of 320 words (99.7 %) leave the word; a coarser or dynamic scale, or"
            " more bits, holds them; so at the last step, since step 0",
        ),
        (
            ["error_frac=2"],
            "conv3 error: 16,384 of 16,384 words (100 %) are 0; a finer or dynamic scale, or more"
            " bits, keeps them; so at the last step, since step",
        ),
        ([], ""),
    ],
)
def test_what_is_lost_to_the_last_step_is_warned_of(tmp_path, settings, said):
    jit_only()
    asked = [part for setting in settings for part in ("--set", setting)]
    done = fxsim("simulate", "digits_cnn", "--epochs", 2, *asked, "--out", "run", at=tmp_path)
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    if said:
        assert any(said in line for line in warnings)
    else:
        assert warnings == []
