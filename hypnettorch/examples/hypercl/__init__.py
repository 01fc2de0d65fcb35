"""Learn tasks one after another without forgetting, with a task-conditioned hypernetwork.

``python -m hypnettorch.examples.hypercl --help`` lists what can be chosen. The modules in the order of the work:
:mod:`~hypnettorch.examples.hypercl.command_line` reads the options,
:mod:`~hypnettorch.examples.hypercl.tasks` makes the tasks,
:mod:`~hypnettorch.examples.hypercl.learners` learn them,
:mod:`~hypnettorch.examples.hypercl.metrics` say how well, and
:mod:`~hypnettorch.examples.hypercl.report` writes it down. Under torchrun,
:mod:`~hypnettorch.examples.hypercl.distributed` splits the work.

References:
    J. von Oswald, C. Henning, J. Sacramento, B. F. Grewe, "Continual learning with hypernetworks", ICLR 2020,
    https://arxiv.org/abs/1906.00695.
"""
