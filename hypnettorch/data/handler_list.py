"""Handlers of tasks that differ in a permutation, as a list that cannot be changed."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from typing import NoReturn, TypeVar, overload

from hypnettorch.core import checks
from hypnettorch.data.dataset import Dataset

logger = logging.getLogger(__name__)

Handler = TypeVar("Handler", bound=Dataset)


class HandlerList(Sequence[Handler]):
    """One handler per permutation. A slice holds the same handlers.

    Args:
        handlers: The handlers.
        show_changes: Whether to log (level ``INFO``) when another handler is taken than the time before.
    """

    def __init__(self, handlers: Sequence[Handler], show_changes: bool = False) -> None:
        self._handlers = handlers
        self._show = show_changes
        self._last: Handler | None = None

    def __len__(self) -> int:
        return len(self._handlers)

    @overload
    def __getitem__(self, index: int) -> Handler: ...
    @overload
    def __getitem__(self, index: slice) -> HandlerList[Handler]: ...
    def __getitem__(self, index: int | slice) -> Handler | HandlerList[Handler]:
        if isinstance(index, slice):
            part = copy.copy(self)
            part._handlers, part._last = self._handlers[index], None
            return part
        handler = self._handlers[checks.integer("index", index)]
        if self._show and handler is not self._last:
            task = self._handlers.index(handler)
            logger.info("%s: the data now has permutation %d", handler.get_identifier(), task)
        self._last = handler
        return handler

    def __setitem__(self, index: int, value: object) -> NoReturn:
        raise NotImplementedError(f"{type(self).__name__}: tasks cannot be replaced")

    def __delitem__(self, index: int) -> NoReturn:
        raise NotImplementedError(f"{type(self).__name__}: tasks cannot be removed")
