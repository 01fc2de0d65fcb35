"""``SimpleRNN``: the documented equation, its options, the steps that a subclass may replace."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from hypnettorch.hnets import ChunkedHMLP, hyperfan
from hypnettorch.mnets import SimpleRNN
from hypnettorch.mnets.recurrent_steps import STEPS
from tests.mnets.recurrent_networks import VARIANTS, draw, make, sequences, step_by_step

both_kinds = pytest.mark.parametrize("use_lstm", [False, True], ids=["elman", "lstm"])
all_variants = pytest.mark.parametrize("variant", VARIANTS)


# The equation


@both_kinds
@all_variants
def test_equation(variant: str, use_lstm: bool) -> None:
    net, x = make(variant, use_lstm), sequences()
    weights = [weight.requires_grad_() for weight in draw(net.param_shapes)]
    got, expected = net(x, weights=weights), step_by_step(variant, use_lstm)(x, weights)
    torch.testing.assert_close(got, expected)
    gradients = [
        torch.autograd.grad(y.square().sum(), weights, materialize_grads=True) for y in (got, expected)
    ]
    torch.testing.assert_close(*gradients)


@both_kinds
@all_variants
def test_many_weight_sets_are_one_recurrence(variant: str, use_lstm: bool) -> None:
    net, equation = make(variant, use_lstm), step_by_step(variant, use_lstm)
    x, weights = torch.stack([sequences(), sequences()]), draw(net.param_shapes, 2)
    expected = [equation(x[b], [weight[b] for weight in weights]) for b in range(2)]
    torch.testing.assert_close(net.batched_forward(x, weights), torch.stack(expected))
    expected = [equation(x[0], [weight[b] for weight in weights]) for b in range(2)]
    torch.testing.assert_close(net.batched_forward(x[0], weights, share_input=True), torch.stack(expected))


@both_kinds
@all_variants
def test_each_sample_may_have_its_own_modulation(variant: str, use_lstm: bool) -> None:
    net, equation, x = make(variant, use_lstm), step_by_step(variant, use_lstm), sequences()
    modulation, layers = len(net.get_cm_inds()), draw(net.param_shapes)[len(net.get_cm_inds()) :]
    own = draw(net.param_shapes[:modulation], x.shape[1])
    expected = [equation(x[:, n : n + 1], [*(weight[n] for weight in own), *layers]) for n in range(x.shape[1])]
    torch.testing.assert_close(net(x, weights=[*own, *layers]), torch.cat(expected, dim=1))
    sets = [[torch.stack([w, w.flip(0)]) for w in part] for part in (own, layers)]
    loop = [net(x, weights=[weight[b] for part in sets for weight in part]) for b in range(2)]
    batched = net.batched_forward(x, [*sets[0], *sets[1]], share_input=True)
    torch.testing.assert_close(batched, torch.stack(loop))


def test_lstm_is_that_of_pytorch() -> None:
    net = make("recurrent-output", use_lstm=True)
    reference = nn.LSTM(3, 3, 1).double(), nn.LSTM(3, 4, 1).double()
    weights = [getattr(lstm, name) for lstm in reference for name in ("weight_ih_l0", "bias_ih_l0")]
    weights = []
    for lstm in reference:
        weights += [lstm.weight_ih_l0, lstm.bias_ih_l0, lstm.weight_hh_l0, lstm.bias_hh_l0]
    x = sequences()
    torch.testing.assert_close(net(x, weights=weights), reference[1](reference[0](x)[0])[0])


def test_states_of_an_elman_layer_are_those_of_pytorch() -> None:
    net, reference, x = make("plain"), nn.RNN(3, 4).double(), sequences()
    own = [reference.weight_ih_l0, reference.bias_ih_l0, reference.weight_hh_l0, reference.bias_hh_l0]
    weights = [*own, *draw(net.param_shapes[4:])]
    _, _, (states, rest) = net(x, weights=weights, return_hidden=True, return_hidden_int=True), None, (None, None)
    states = net(x, weights=weights, return_hidden=True, return_hidden_int=True)[2][0]
    torch.testing.assert_close(states, reference(x)[0])
