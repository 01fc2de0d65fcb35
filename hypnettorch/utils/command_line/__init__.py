"""Command lines, one concept a module; the documented names are in :mod:`hypnettorch.utils.cli_args`.

An option is derived from what it is for (:mod:`~hypnettorch.utils.command_line.options`): the constructor of a network
(:mod:`~hypnettorch.utils.command_line.kinds` and the tables built of it) or a data class
(:mod:`~hypnettorch.utils.command_line.declarations`). :mod:`~hypnettorch.utils.command_line.groups` adds them to
parsers; the others say which of them do not go together, and how options become a command line again.
"""
