# SPDX-License-Identifier: Apache-2.0
"""Benchmarks against a stated baseline, both measured in one run."""
