# SPDX-License-Identifier: Apache-2.0
"""What results on a recording are worth: replayed or live, with truth or without, one run or two."""
