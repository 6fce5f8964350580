# SPDX-License-Identifier: Apache-2.0
"""Message stamps in nanoseconds. Works on any object with the fields of builtin_interfaces/Time."""

NANOSECONDS = 10**9
LAST_STAMP_NS = (2**31 - 1) * NANOSECONDS + NANOSECONDS - 1  # its seconds have 32 bits, with a sign


def stamp_ns(stamp):
    """Nanoseconds of a stamp with the fields `sec` and `nanosec`: int."""
    return stamp.sec * NANOSECONDS + stamp.nanosec


def message_stamp_ns(message):
    """Nanoseconds of the stamp in the header of a message: int."""
    return stamp_ns(message.header.stamp)


def seconds_and_nanoseconds(stamp):
    """(sec, nanosec) of a stamp in nanoseconds, as in a message."""
    return divmod(stamp, NANOSECONDS)


def stamp_text(stamp):
    """A stamp in nanoseconds as seconds with nine decimals, exactly."""
    seconds, nanoseconds = seconds_and_nanoseconds(stamp)
    return f"{seconds}.{nanoseconds:09d}"
