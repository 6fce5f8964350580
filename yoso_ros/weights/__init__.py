# SPDX-License-Identifier: Apache-2.0
"""Weights that arrive by themselves: where they come from, the transfer, the cache, and the card of each model."""
