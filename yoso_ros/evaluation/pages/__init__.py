# SPDX-License-Identifier: Apache-2.0
"""Reports on recordings for people: HTML pages that need no network, with plots."""
