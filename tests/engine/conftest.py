"""Every path that this processor has, in turn."""

from __future__ import annotations

import pytest

from fxsim.engine import processor


@pytest.fixture(params=processor.available(), ids=lambda machine: machine.value)
def machine(request):
    """The path that products run on while the test lasts."""
    processor.force(request.param)
    yield request.param
    processor.force(None)
