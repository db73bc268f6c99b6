"""Every path that this processor has, in turn."""

from __future__ import annotations

import pytest

from fxsim.engine import instruction_set


@pytest.fixture(params=instruction_set.available(), ids=lambda machine: machine.value)
def machine(request):
    """The path that products run on while the test lasts."""
    instruction_set.force(request.param)
    yield request.param
    instruction_set.force(None)
