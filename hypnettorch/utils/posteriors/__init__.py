"""Distributions over the weights of main networks, for posteriors that a hypernetwork makes: one idea a file.

Weights are flat vectors ``[..., D]``, as hypernetworks return them in the format ``'flattened'``.
"""
