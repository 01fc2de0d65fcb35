"""The documented path of :mod:`hypnettorch.layers.batchnorm_layer`."""

from hypnettorch.layers.batchnorm_layer import BatchNormLayer, share_statistics

__all__ = ["BatchNormLayer", "share_statistics"]
