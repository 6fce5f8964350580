# SPDX-License-Identifier: Apache-2.0
"""Runs of the node as a process of its own: played at, listened to, measured."""
