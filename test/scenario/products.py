# SPDX-License-Identifier: Apache-2.0
"""The search servers that a test runs against: one of each product, unless TAILRACE_SEARCH says
otherwise. `all` is every version of the stack; else it names services of the stack, or addresses.
"""

import os
from typing import Any

ALL = ["opensearch", "opensearch3", "elasticsearch7", "elasticsearch8", "elasticsearch9"]
WANTED = os.environ.get("TAILRACE_SEARCH", "").split()
PRODUCTS = ALL if WANTED == ["all"] else WANTED or ["opensearch", "elasticsearch8"]
LONG = WANTED == ["all"]


def url_of(stack, product: str, settings: dict[str, Any] | None = None) -> str:
    """Starts it, if it is one of ours, with these settings."""
    if product.startswith("http"):
        return product
    return stack.start(product, settings=settings or {})

