"""The example with runs of seconds, which learn little."""

from hypnettorch.hpsearch.example import _SUMMARY_FILENAME, _SUMMARY_KEYWORDS, grid

__all__ = ["_SUMMARY_FILENAME", "_SUMMARY_KEYWORDS", "grid"]

_SCRIPT_NAME = "-m hypnettorch.examples.hypercl --smoke --num_tasks=2"
