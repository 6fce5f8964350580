# SPDX-License-Identifier: Apache-2.0
"""YOSO: feature pyramid aggregator and separable dynamic decoder."""
