"""Hypernetworks that generate adapters of large models: from descriptions of tasks, and from documents."""

from hypnettorch.adapters.documents import HDocToLoRA
from hypnettorch.adapters.text import HTextToLoRA

__all__ = ["HDocToLoRA", "HTextToLoRA"]
