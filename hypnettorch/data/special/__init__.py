"""Handlers of parts and variants of data sets; import their modules by name."""
