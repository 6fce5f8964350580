# SPDX-License-Identifier: Apache-2.0
"""Automatic download of weights: their sources, the transfer, the cache, and the card of each model."""
