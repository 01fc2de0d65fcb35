"""Layers that take their weights from outside, and algorithms over the two interfaces."""
