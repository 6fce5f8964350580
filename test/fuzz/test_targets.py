# SPDX-License-Identifier: Apache-2.0
"""Readers and decoders against random damage, a little of it; `make fuzz SECONDS=600` does the same with new seeds."""

import contextlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from targets import TARGETS

from yoso_ros.errors import InputError


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1))
def test_bad_input_is_an_input_error_or_harmless(name, tmp_path, seed):
    with contextlib.suppress(InputError):
        TARGETS[name](np.random.default_rng(seed), tmp_path)
