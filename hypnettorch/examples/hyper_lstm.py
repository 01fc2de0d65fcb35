"""An LSTM whose weights a smaller LSTM scales in each step.

References:
    D. Ha, A. M. Dai, Q. V. Le, "HyperNetworks", ICLR 2017, https://arxiv.org/abs/1609.09106, section 3.2 and appendix
    A.2.3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from hypnettorch.core import checks

GATES = 4
"""Input gate, new content, forget gate and output gate, in this order."""

SCALE_AT_START = 0.1
SIGNAL_AT_START = 0.01
"""Standard deviation of the weights of signals for shifts."""


class HyperLSTM(nn.Module):
    """Long short-term memory with scaled rows: a hypernetwork generates the scales from the sequence read so far.

    For each gate ``y``, with the state ``ĥ_t`` of a small LSTM that reads ``[h_{t-1}, x_t]``, and three signals
    ``z = V ĥ_t + v`` for each gate::

        y_t = LN(D_h z_h ⊙ W_h h_{t-1} + D_x z_x ⊙ W_x x_t + D_b z_b + b)
        c_t = σ(f_t) ⊙ c_{t-1} + σ(i_t) ⊙ tanh(g_t)
        h_t = σ(o_t) ⊙ tanh(LN(c_t))

    All matrices are those of the gate. In the beginning ``z_h = z_x = 1`` whatever is read, all rows are
    scaled by 0.1, and ``D_b = 0``: the network is an LSTM with layer normalisation.

    Args:
        n_in: Size of an input.
        size: Units of the LSTM.
        hyper_size: Units of the small LSTM.
        signal_size: Size of each signal ``z``.

    Example:
        >>> net = HyperLSTM(n_in=5, size=8, hyper_size=6, signal_size=2)
        >>> net(torch.randn(7, 3, 5)).shape
        torch.Size([7, 3, 8])
    """

    def __init__(self, n_in: int, size: int, hyper_size: int = 128, signal_size: int = 4) -> None:
        super().__init__()
        self.size = checks.integer("size", size, 1)
        self.signal_size = checks.integer("signal_size", signal_size, 1)
        self.hyper = nn.LSTMCell(checks.integer("n_in", n_in, 1) + size, checks.integer("hyper_size", hyper_size, 1))
        self.signals = nn.Linear(hyper_size, 3 * GATES * signal_size)
        self.scales = nn.Parameter(torch.full((2, GATES, signal_size, size), SCALE_AT_START / signal_size))
        self.shifts = nn.Parameter(torch.zeros(GATES, signal_size, size))
        rotations = [nn.init.orthogonal_(torch.empty(size, size)) for _ in range(GATES)]
        self.from_state = nn.Parameter(torch.stack(rotations))
        self.from_input = nn.Parameter(torch.randn(GATES, n_in, size) / n_in**0.5)
        self.bias = nn.Parameter(torch.zeros(GATES, 1, size))
        self.gain = nn.Parameter(torch.ones(GATES, 1, size))
        self.norm = nn.LayerNorm(size)
        rows = GATES * signal_size
        with torch.no_grad():
            self.signals.weight[: 2 * rows] = 0.0
            self.signals.weight[2 * rows :].normal_(std=SIGNAL_AT_START)  # shifts are 0: else neither would ever change
            self.signals.bias.copy_(torch.cat([torch.ones(2 * rows), torch.zeros(rows)]))

    def forward(self, x: Tensor) -> Tensor:
        """States for a sequence.

        Args:
            x: ``[T, N, n_in]``.

        Returns:
            ``h_t`` of all steps, ``[T, N, size]``.
        """
        inputs = torch.einsum("tnf,gfs->tgns", x, self.from_input)
        state = cell = x.new_zeros(x.shape[1], self.size)
        small: tuple[Tensor, Tensor] | None = None
        states = []
        for step, projected in zip(x, inputs, strict=True):
            small = self.hyper(torch.cat([state, step], dim=-1), small)
            into, new, forget, out = self.gates(state, projected, small[0])
            cell = forget.sigmoid() * cell + into.sigmoid() * new.tanh()
            state = out.sigmoid() * self.norm(cell).tanh()
            states.append(state)
        return torch.stack(states)

    def gates(self, state: Tensor, projected: Tensor, small: Tensor) -> Tensor:
        """What goes into the four gates, ``[4, N, size]``.

        Args:
            state: ``h_{t-1}``, ``[N, size]``.
            projected: ``W_x x_t`` of each gate, ``[4, N, size]``.
            small: ``ĥ_t``, ``[N, hyper_size]``.
        """
        signals = self.signals(small).view(len(small), 3, GATES, self.signal_size).permute(1, 2, 0, 3)
        scale_state, scale_input = signals[:2] @ self.scales
        total = scale_state * (state @ self.from_state) + scale_input * projected
        total = total + signals[2] @ self.shifts
        return functional.layer_norm(total, [self.size]) * self.gain + self.bias
