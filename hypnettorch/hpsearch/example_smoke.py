"""The example with runs of seconds, which learn little."""

from hypnettorch.hpsearch.example import _SUMMARY_FILENAME, _SUMMARY_KEYWORDS

__all__ = ["_SUMMARY_FILENAME", "_SUMMARY_KEYWORDS"]

grid = {"beta": [1e-3, 1.0], "cond_emb_size": [1, 8]}

_SCRIPT_NAME = "-m hypnettorch.examples.hypercl --smoke --num_tasks=2"
