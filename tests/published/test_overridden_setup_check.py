"""Subclasses of the package's networks that override the check at the end of the constructor."""

from __future__ import annotations

import pytest
import torch

from hypnettorch.mnets import MLP, LeNet, SimpleRNN


def subclass(base):
    class Checked(base):
        seen = ()

        def _is_properly_setup(self, *args, **kwargs):
            self.seen = (*self.seen, (self._hyper_shapes, self._all_shapes, self._weights))
            super()._is_properly_setup(*args, **kwargs)

    return Checked


@pytest.mark.parametrize(
    ("base", "options"), [(MLP, {"hidden_layers": [3]}), (LeNet, {}), (SimpleRNN, {"rnn_layers": [3]})]
)
@pytest.mark.parametrize("no_weights", [False, True])
def test_names_of_the_first_versions_are_there_before_they_are_set(base, options, no_weights):
    net = subclass(base)(**options, no_weights=no_weights, verbose=False)
    assert net.seen
    assert all(values == (None, None, None) for values in net.seen[:1])
    assert net._hyper_shapes == net.hyper_shapes_learned
    weights = [torch.zeros(*shape) for shape in net.param_shapes]
    x = {MLP: torch.ones(2, 1), LeNet: torch.ones(2, 784), SimpleRNN: torch.ones(4, 2, 1)}[base]
    assert not net.forward(x, weights=weights).any()


class Noting:
    """An override in a base of a program's own."""

    def _is_properly_setup(self, *args, **kwargs):
        self.notes = (*getattr(self, "notes", ()), len(self._param_shapes))
        super()._is_properly_setup(*args, **kwargs)


class Noted(Noting, MLP):
    def __init__(self, **kwargs):
        super().__init__(n_in=2, n_out=1, hidden_layers=[3], verbose=False, **kwargs)
        assert self.notes == (4,), "the base's constructor ends with the check"
        assert self._hyper_shapes == self.hyper_shapes_learned


class Extended(Noted):
    """A subclass that overrides nothing, appends a layer and has the lists checked again."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._add_fc_layers([1], [5], self.hyper_shapes_learned is not None)
        self._is_properly_setup()


@pytest.mark.parametrize("no_weights", [False, True])
def test_the_check_comes_at_the_end_of_the_constructor_of_the_package(no_weights):
    assert Noted(no_weights=no_weights).notes == (4,)
    net = Extended(no_weights=no_weights)
    assert net.notes == (4, 6)
    assert net.param_shapes[4:] == [[5, 1], [5]]
    assert not hasattr(MLP(verbose=False), "notes")
