"""Settings of the experiment as attributes, on top of the defaults of the command line."""

from tests.published.recurrent_experiment import simulation_args


class Args:
    """All options of the command line; keyword arguments override them."""

    def __init__(self, **kwargs):
        for key, value in vars(simulation_args.parse_cmd_arguments(default=True)).items():
            setattr(self, key, value)
        for key, value in kwargs.items():
            if not hasattr(self, key):
                raise AttributeError(f"no option {key}")
            setattr(self, key, value)

    def items(self):
        return self.__dict__.items()
