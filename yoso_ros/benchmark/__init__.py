# SPDX-License-Identifier: Apache-2.0
"""Measurements beside a stated baseline, both in one run."""
