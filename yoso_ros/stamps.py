# SPDX-License-Identifier: Apache-2.0
"""Stamps of messages as nanoseconds. Works on anything with the fields of builtin_interfaces/Time."""

NANOSECONDS = 10**9


def stamp_ns(stamp):
    """Nanoseconds of a stamp with the fields `sec` and `nanosec`: int."""
    return stamp.sec * NANOSECONDS + stamp.nanosec


def seconds_and_nanoseconds(stamp):
    """(sec, nanosec) of a stamp in nanoseconds, as a message has them."""
    return divmod(stamp, NANOSECONDS)
