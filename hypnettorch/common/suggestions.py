"""What somebody may have meant who writes a name that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


def did_you_mean(name: Any, known: Iterable[Any]) -> str:
    """The end of a message about an unknown name: empty unless a known name is like it.

    Example:
        >>> did_you_mean("layers.0.wieght", ["layers.0.weight", "layers.0.bias"])
        " (did you mean 'layers.0.weight'?)"
        >>> did_you_mean(3, ["layers.0.weight"])
        ''
    """
    texts = [text for text in known if isinstance(text, str)]
    found = difflib.get_close_matches(name, texts, n=1) if isinstance(name, str) else []
    return f" (did you mean {found[0]!r}?)" if found else ""
