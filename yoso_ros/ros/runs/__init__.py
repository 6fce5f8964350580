# SPDX-License-Identifier: Apache-2.0
"""Runs of the node as a separate process: playing images to it, recording its output, measuring it."""
