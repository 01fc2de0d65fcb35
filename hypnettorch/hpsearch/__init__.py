"""Search for hyperparameters of any script that is run from a command line.

:mod:`~hypnettorch.hpsearch.hpsearch` is the entry point, :mod:`~hypnettorch.hpsearch.hpsearch_config_template` shows
what a search is described by.
"""
