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
