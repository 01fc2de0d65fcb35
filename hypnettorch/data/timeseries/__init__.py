"""Data sets of sequences."""
