"""Which thread made a thread.

``threading`` does not say, and a thread that is started within a block (``generate()`` with a streamer) is meant to see
that block. So ``Thread.start`` notes who calls it; it does nothing else that it did not do before.
"""

from __future__ import annotations

import functools
import threading
import weakref
from threading import Thread

_makers: weakref.WeakKeyDictionary[Thread, weakref.ref[Thread]] = weakref.WeakKeyDictionary()


def maker(thread: Thread) -> Thread | None:
    """The thread that started a thread; ``None`` if it has ended or is not known.

    Example:
        >>> thread = Thread(target=int)
        >>> thread.start()
        >>> maker(thread) is threading.current_thread()
        True
    """
    known = _makers.get(thread)
    return None if known is None else known()


def _note_makers() -> None:
    start = Thread.start

    @functools.wraps(start)
    def noting(self: Thread) -> None:
        _makers[self] = weakref.ref(threading.current_thread())
        start(self)

    Thread.start = noting  # type: ignore[method-assign]


_note_makers()
