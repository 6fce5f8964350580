# SPDX-License-Identifier: Apache-2.0
"""Reports on recordings: HTML pages with plots that work offline."""
