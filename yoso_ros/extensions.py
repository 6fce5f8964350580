# SPDX-License-Identifier: Apache-2.0
"""Networks from outside the package: modules that are imported when a YAML file names them."""

import importlib
import importlib.util
from typing import Any

from yoso_ros.errors import InputError


def find(table: dict[str, Any], name: str, attribute: str) -> Any:
    """The entry of a table, or an attribute of the module with the import path `name`.

    Args:
        table: the package's own entries, by architecture.
        name: a key of the table, or the import path of a module, such as "my_package.my_network".
        attribute: what the module must define: "ARCHITECTURE", "FUSION" or "CRITERION".

    Raises:
        InputError: neither; the message lists the known ones.
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
