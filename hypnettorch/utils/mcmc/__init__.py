"""Markov chain Monte Carlo, one concept a module; the documented names are in :mod:`hypnettorch.utils.hmc`."""
