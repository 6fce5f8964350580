# SPDX-License-Identifier: Apache-2.0
"""`python -m yoso_ros` is the same as the console script `yoso-ros`."""

import sys

from yoso_ros.cli import main

if __name__ == "__main__":
    sys.exit(main())
