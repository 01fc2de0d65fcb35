"""The names of other hypernetwork packages, as thin adapters over this one.

- :mod:`hypnettorch.compat.hyperlight`: HyperLight, its early interface and its releases.
- :mod:`hypnettorch.compat.torchhyper`: torchhyper.
- :mod:`hypnettorch.compat.hypernn`: hyper-nn, its early interface and its releases, both halves.

A program runs with only its import lines changed. What is new here besides: an error says what was expected and what
came, and wherever one weight set may be used, several at once may.
"""
