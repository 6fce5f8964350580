# SPDX-License-Identifier: Apache-2.0
"""Run lengths of label images: what goes in comes out, and bad data is refused before it takes memory."""

import contextlib
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from yoso_ros.errors import InputError
from yoso_ros.images.label_runs import decode_runs, encode_runs


@settings(max_examples=50, deadline=None)
@given(
    arrays(np.uint16, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.sampled_from([0, 1, 769, 65535]))
)
def test_round_trip(labels):
    found = decode_runs(encode_runs(labels))
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, labels)


def test_a_long_row_and_its_size():
    labels = np.zeros((400, 65535), np.uint16)
    data = encode_runs(labels)
    assert len(data) < 100 and np.array_equal(decode_runs(data), labels)
    with pytest.raises(InputError, match="at most 65535"):
        encode_runs(np.zeros((1, 65536), np.uint16))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_decoded_or_refused(data):
    for candidate in (data, struct.pack("<II", 3, 4) + data, struct.pack("<II", 3, 4) + zlib.compress(data)):
        with contextlib.suppress(InputError):
            assert decode_runs(candidate).ndim == 2


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "at least 8 bytes"),
        (struct.pack("<II", 2**31, 2**31), "at most"),
        (struct.pack("<II", 2, 2) + zlib.compress(bytes(10**7)), "whole runs"),
        (struct.pack("<II", 2, 2) + encode_runs(np.zeros((2, 3), np.uint16))[8:], "expected 4 pixels for 2x2, found 6"),
        (encode_runs(np.zeros((2, 3), np.uint16))[:-3], "whole runs"),
    ],
)
def test_bad_data(data, said):
    with pytest.raises(InputError, match=said):
        decode_runs(data)
