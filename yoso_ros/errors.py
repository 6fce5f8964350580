# SPDX-License-Identifier: Apache-2.0
"""The error that a user can mend."""


class InputError(ValueError):
    """Bad input from outside (file, message, option): says what was expected, what was found, and what to do."""
