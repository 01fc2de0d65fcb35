"""Command lines, one concept a module; the documented names are in :mod:`hypnettorch.utils.cli_args`.

:mod:`~hypnettorch.utils.command_line.options` is the table of all options. The others say how options become networks
(:mod:`~hypnettorch.utils.command_line.kinds` and the tables built of it), which of them form a group, and which do not
go together.
"""
