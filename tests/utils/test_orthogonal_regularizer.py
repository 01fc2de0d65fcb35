"""Orthogonality of recurrent matrices."""

from __future__ import annotations

import pytest
import torch

from hypnettorch.mnets import MLP, SimpleRNN
from hypnettorch.utils.orthogonal_regularizer import orthogonal_regularizer


@pytest.mark.parametrize("use_lstm", [False, True])
def test_sum_over_matrices(use_lstm: bool) -> None:
    torch.manual_seed(0)
    net = SimpleRNN(n_in=3, rnn_layers=[4, 5], fc_layers=[2], use_lstm=use_lstm, verbose=False).double()
    expected = 0.0
    for row, weight in zip(net.param_shapes_meta, net.internal_params, strict=True):
        if row.get("info") == "hh" and row["name"] == "weight":
            size = weight.shape[1]
            for k in range(4 if use_lstm else 1):
                block = weight[k * size : (k + 1) * size]
                expected = expected + torch.dist(block.T @ block, torch.eye(size, dtype=torch.float64)) ** 2
    found = orthogonal_regularizer(net, net.internal_params)
    torch.testing.assert_close(found, expected)
    last = [list(weight.shape) for weight in net.internal_params].index([20, 5] if use_lstm else [5, 5])

    def with_last(weight: torch.Tensor) -> torch.Tensor:
        return orthogonal_regularizer(
            net, [weight if i == last else other for i, other in enumerate(net.internal_params)]
        )

    assert torch.autograd.gradcheck(with_last, net.internal_params[last].detach().requires_grad_())


def test_networks_without_recurrence_are_refused() -> None:
    net = MLP(n_in=2, n_out=2, verbose=False)
    with pytest.raises(ValueError, match="mnet: expected a recurrent network"):
        orthogonal_regularizer(net, net.internal_params)
    with pytest.raises(ValueError, match="weights: expected"):
        orthogonal_regularizer(net, net.internal_params[:-1])
