# SPDX-License-Identifier: Apache-2.0
"""Networks outside the package: modules that are imported when a YAML file names them."""

import importlib
import importlib.util
from typing import Any

from yoso_ros.errors import InputError


def find(table: dict[str, Any], name: str, attribute: str) -> Any:
    """The entry of a table, or the attribute of the module that `name` is the import path of.

    Args:
        table: of what the package has, by architecture.
        name: a key of the table, or the import path of a module, such as "my_package.my_network".
        attribute: what the module has to define: "ARCHITECTURE", "FUSION" or "CRITERION".

    Raises:
        InputError: neither; lists what is known.
    """
    if isinstance(name, str) and name in table:
        return table[name]
    try:
        found = isinstance(name, str) and name.isprintable() and importlib.util.find_spec(name)
        module = importlib.import_module(name) if found else None
    except (ImportError, ValueError) as error:
        raise InputError(f"the module {name} cannot be imported ({error}); is its folder in PYTHONPATH?") from error
    if module is None:
        raise InputError(
            f"expected one of {', '.join(table)}, or the import path of a module in PYTHONPATH, found {name!r}"
        )
    if not hasattr(module, attribute):
        raise InputError(f"the module {name} defines no {attribute} (docs/adding_a_network.md)")
    return getattr(module, attribute)
