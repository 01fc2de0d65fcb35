"""Layers that take their weights from outside; the networks of this package are built of them."""
