"""Options that the documentation of 0.0.4 says to be ignored, and empty validation sets."""

from __future__ import annotations

import pytest
import torch

from hypnettorch.data.special.regression1d_data import ToyRegression
from hypnettorch.mnets import SimpleRNN


@pytest.mark.parametrize("use_context_mod", [False, True])
def test_separate_layers_without_a_number_of_steps(use_context_mod):
    options = {"n_in": 1, "rnn_layers": (4,), "fc_layers": (2,), "use_context_mod": use_context_mod, "verbose": False}
    net = SimpleRNN(context_mod_num_ts=-1, context_mod_separate_layers_per_ts=True, **options)
    plain = SimpleRNN(**options)
    assert net.param_shapes == plain.param_shapes
    plain.load_state_dict(net.state_dict())
    x = torch.randn(5, 2, 1)
    torch.testing.assert_close(net(x), plain(x))


def test_regression_with_an_empty_validation_set():
    data = ToyRegression([-1, 1], 10, [-2, 2], 5, val_inter=[-1, 1], num_val=0, rseed=1)
    assert data.num_val_samples == 0
    assert len(data.get_train_inputs()) == 10
