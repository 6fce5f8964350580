# SPDX-License-Identifier: Apache-2.0
"""Evaluation of results on a recording: replayed or live, with or without ground truth, one run or two."""
