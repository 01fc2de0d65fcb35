"""What holds for all files of tests."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
from _pytest.doctest import DoctestModule


@pytest.hookimpl(wrapper=True)
def pytest_collect_file() -> Generator[None, list[Any], list[Any]]:
    """Files of tests have no examples: as modules with some, those that cannot be imported would pass for empty."""
    collectors = yield
    return [collector for collector in collectors if not isinstance(collector, DoctestModule)]
