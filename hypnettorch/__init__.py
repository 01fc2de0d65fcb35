"""Hypernetworks in PyTorch: networks that generate the weights of other networks.

The subpackages are imported by name, so that ``import hypnettorch`` costs nothing:

- :mod:`hypnettorch.mnets`: main networks, whose weights can come from outside.
- :mod:`hypnettorch.hnets`: hypernetworks, which generate these weights.
- :mod:`hypnettorch.layers`: layers that take their weights from outside.
- :mod:`hypnettorch.utils`: regularisers and other algorithms for both.
- :mod:`hypnettorch.examples`: experiments with a command line each.
"""

__version__ = "1.0.0.dev0"
