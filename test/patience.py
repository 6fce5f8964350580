# SPDX-License-Identifier: Apache-2.0
"""How long a test waits for what must come: long enough for any busy machine, since no test judges speed."""

PATIENCE_S = 120.0
