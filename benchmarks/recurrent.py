"""A recurrent hypernetwork on a sequence that is known in advance."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks import plain
from benchmarks.harness import Case, Step
from hypnettorch.hnets import HMLP, HRecurrent
from hypnettorch.mnets import MLP

STEPS, STATE, INPUT, N_IN, N_OUT = 32, 16, 16, 16, 8
SHAPES = MLP.weight_shapes(N_IN, N_OUT, [16])


def _parts() -> tuple[HRecurrent, Tensor, Tensor]:
    torch.manual_seed(1)
    inner = HMLP(SHAPES, cond_in_size=STATE, layers=[], num_cond_embs=0, no_cond_weights=True, verbose=False)
    return (
        HRecurrent(inner, INPUT, cell="rnn", verbose=False),
        torch.randn(STEPS, 1, INPUT),
        torch.randn(STEPS, 1, N_IN),
    )


def library() -> Step:
    """``HRecurrent``, all steps at once."""
    hnet, sequence, x = _parts()
    mnet = MLP(N_IN, N_OUT, [16], no_weights=True, verbose=False)
    return plain.gradient_step(
        lambda: mnet.batched_forward(x, hnet(cond_input=sequence, ret_format="stacked")).square().mean(),
        hnet.parameters(),
    )


def by_hand() -> Step:
    """``nn.RNN``, one product for the weights of all steps, batched products."""
    hnet, sequence, x = _parts()
    weight, bias, *cell = plain.leaves(hnet.internal_params)
    rnn = nn.RNN(INPUT, STATE)
    for param, value in zip((rnn.weight_ih_l0, rnn.bias_ih_l0, rnn.weight_hh_l0, rnn.bias_hh_l0), cell, strict=True):
        param.data = value.data

    def loss() -> Tensor:
        states, _ = rnn(sequence)
        weights = plain.cut(plain.perceptron(states[:, 0], [weight, bias]), SHAPES)
        return plain.batched_perceptron(x, weights).square().mean()

    return plain.gradient_step(loss, [weight, bias, *rnn.parameters()])


def naive() -> Step:
    """A step after the other: cell, weights, network."""
    hnet, sequence, x = _parts()
    weight, bias, *cell = plain.leaves(hnet.internal_params)
    rnn = nn.RNNCell(INPUT, STATE)
    for param, value in zip((rnn.weight_ih, rnn.bias_ih, rnn.weight_hh, rnn.bias_hh), cell, strict=True):
        param.data = value.data

    def loss() -> Tensor:
        state, outputs = sequence.new_zeros(1, STATE), []
        for t in range(STEPS):
            state = rnn(sequence[t], state)
            outputs.append(plain.perceptron(x[t], plain.cut(plain.perceptron(state[0], [weight, bias]), SHAPES)))
        return torch.stack(outputs).square().mean()

    return plain.gradient_step(loss, [weight, bias, *rnn.parameters()])


CASES = [
    Case(
        f"recurrent hypernetwork, {STEPS} steps known in advance",
        {"hypnettorch": library, "hand-written": by_hand, "naive loop": naive},
        goals={"hand-written": 1.05},
    )
]
