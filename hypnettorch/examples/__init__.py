"""Experiments that run from the command line; import their packages by name."""
