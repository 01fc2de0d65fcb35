"""What every test, docstring example and documentation page starts from."""

from __future__ import annotations

from typing import Any

import pytest
import torch

torch.set_num_threads(1)  # the tensors of tests are small, and threads would only wait for each other


@pytest.fixture(autouse=True)
def _reproducible(doctest_namespace: dict[str, Any]) -> None:
    """Fix the seed, and spare the docstring examples the line ``import torch``."""
    torch.manual_seed(0)
    doctest_namespace["torch"] = torch
