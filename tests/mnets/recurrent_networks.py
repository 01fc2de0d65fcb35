"""Recurrent networks under test, and their equation written step by step."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.mnets import SimpleRNN

NUM_STEPS = 4

MODULATED: dict[str, Any] = {"use_context_mod": True}
BOTH_EXTERNAL: dict[str, Any] = {"no_weights": True, "context_mod_no_weights": True}
PER_STEP: dict[str, Any] = {**MODULATED, "context_mod_no_weights": True, "context_mod_num_ts": 5}

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no-bias": {"use_bias": False, "rnn_layers": [4, 3]},
    "relu": {"activation": nn.ReLU(), "fc_layers_pre": [6, 5]},
    "linear": {"activation": None, "fc_layers": [4, 2]},
    "recurrent-output": {"fc_layers": [], "rnn_layers": [3, 4]},
    "modulated": {**MODULATED, "fc_layers_pre": [6], "rnn_layers": [4, 3], "fc_layers": [5, 2]},
    "modulated-late": {
        **MODULATED,
        "fc_layers_pre": [6],
        "fc_layers": [5, 2],
        "context_mod_post_activation": True,
        "context_mod_gain_offset": True,
    },
    "modulated-inputs": {**MODULATED, "context_mod_inputs": True, "context_mod_gain_softplus": True},
    "modulated-not-last": {**MODULATED, "no_last_layer_context_mod": True, "fc_layers": [], "rnn_layers": [3, 4]},
    "modulated-last-step": {**MODULATED, "context_mod_last_step": True},
    "modulated-last-step-late": {**MODULATED, "context_mod_last_step": True, "context_mod_post_activation": True},
    "modulated-per-step": {**PER_STEP, "fc_layers_pre": [6]},
    "modulated-per-step-late": {**PER_STEP, "context_mod_post_activation": True},
    "modulated-by-separate-layers": {
        **PER_STEP,
        "context_mod_no_weights": False,
        "context_mod_separate_layers_per_ts": True,
        "rnn_layers": [4, 3],
        "context_mod_inputs": True,
    },
}


def make(variant: str, use_lstm: bool = False, cls: type[SimpleRNN] = SimpleRNN, **options: Any) -> Any:
    """A network with 3 inputs in float64."""
    settings = {"n_in": 3, "rnn_layers": [4], "fc_layers": [2], "verbose": False, **VARIANTS[variant], **options}
    return cls(use_lstm=use_lstm, **settings).double()


def sequences(num_steps: int = NUM_STEPS, samples: int = 3, width: int = 3) -> Tensor:
    """A batch of sequences ``[T, N, width]``."""
    return torch.randn(num_steps, samples, width, dtype=torch.float64)


def draw(shapes: Sequence[Sequence[int]], *lead: int) -> list[Tensor]:
    """Random weights of moderate size."""
    return [0.5 * torch.randn(*lead, *shape, dtype=torch.float64) for shape in shapes]


class StepByStep:
    """The documented equation of ``SimpleRNN``, one time step after the other.

    Args:
        use_lstm: As for ``SimpleRNN``, as all options.
        **options: Its arguments.
    """

    def __init__(self, use_lstm: bool = False, **options: Any) -> None:
        defaults = {"fc_layers_pre": [], "use_bias": True, "activation": nn.Tanh(), "rnn_layers": [4], "fc_layers": [2]}
        self.options = {**defaults, **options}
        self.use_lstm = use_lstm
        self.act: Callable[[Tensor], Tensor] = self.options["activation"] or (lambda x: x)
        self.late = self.option("context_mod_post_activation")

    def option(self, name: str, default: Any = False) -> Any:
        return self.options.get(name, default)

    def __call__(self, x: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """The output for ``x [T, N, n_in]`` with weights in the order of ``param_shapes``."""
        num_pre, num_rec, num_fc = (len(self.option(name)) for name in ("fc_layers_pre", "rnn_layers", "fc_layers"))
        gains, rest = self.split(list(weights), num_pre + num_rec + num_fc)
        if self.option("context_mod_inputs"):
            x = self.modulate(x, gains.pop(0), None, x)
        for _ in range(num_pre):
            x = self.fully_connected(x, rest, gains, is_output=False)
        for i in range(num_rec):
            is_last = num_fc == 0 and i == num_rec - 1
            modulation = gains.pop(0) if gains and not (is_last and self.option("no_last_layer_context_mod")) else None
            x = (self.lstm if self.use_lstm else self.elman)(x, rest, modulation)
        for i in range(num_fc):
            x = self.fully_connected(x, rest, gains, is_output=i == num_fc - 1)
        return x

    def split(self, weights: list[Tensor], num_layers: int) -> tuple[list[Any], list[Tensor]]:
        """Gains and shifts for each modulated layer, and the rest."""
        if not self.option("use_context_mod"):
            return [], weights
        recurrent = range(len(self.option("fc_layers_pre")), num_layers - len(self.option("fc_layers")))
        separate = self.option("context_mod_separate_layers_per_ts")
        gains: list[Any] = []
        counts = [1] * self.option("context_mod_inputs")
        modulated = num_layers - self.option("no_last_layer_context_mod")
        counts += [self.option("context_mod_num_ts") if separate and i in recurrent else 1 for i in range(modulated)]
        for position, count in enumerate(counts):
            pairs = [(weights.pop(0), weights.pop(0)) for _ in range(count)]
            layer = position - self.option("context_mod_inputs")
            gains.append(pairs if separate and layer in recurrent else pairs[0])
        return gains, weights

    def modulate(self, x: Tensor, pair: Any, t: int | None, sequence: Tensor) -> Tensor:
        """``x`` in step ``t`` of a recurrent layer (``None`` elsewhere) times gain plus shift."""
        if pair is None:
            return x
        if t is not None:
            if self.option("context_mod_last_step") and t < len(sequence) - 1:
                return x
            if self.option("context_mod_separate_layers_per_ts"):
                pair = pair[t]
            elif self.option("context_mod_num_ts", -1) > 0:
                pair = [weight[..., t, :] for weight in pair]
        gain, shift = pair
        if self.option("context_mod_gain_offset"):
            gain = gain + 1
        if self.option("context_mod_gain_softplus"):
            gain = nn.functional.softplus(gain)
        return x * gain + shift

    def linear(self, rest: list[Tensor]) -> Callable[[Tensor], Tensor]:
        weight, bias = rest.pop(0), rest.pop(0) if self.option("use_bias") else None
        return lambda x: x @ weight.T + (0 if bias is None else bias)

    def fully_connected(self, x: Tensor, rest: list[Tensor], gains: list[Any], is_output: bool) -> Tensor:
        pair = gains.pop(0) if gains else None
        x = self.linear(rest)(x)
        if is_output:
            return self.modulate(x, pair, None, x)
        if self.late:
            return self.modulate(self.act(x), pair, None, x)
        return self.act(self.modulate(x, pair, None, x))

    def elman(self, x: Tensor, rest: list[Tensor], pair: Any) -> Tensor:
        w_ih, w_hh, w_ho = (self.linear(rest) for _ in range(3))

        def unit(a: Tensor, t: int) -> Tensor:
            return self.modulate(self.act(a), pair, t, x) if self.late else self.act(self.modulate(a, pair, t, x))

        h: Any = torch.zeros(x.shape[1], self.width_of(w_ih, x), dtype=x.dtype)
        outputs = []
        for t, x_t in enumerate(x):
            h = unit(w_ih(x_t) + w_hh(h), t)
            outputs.append(unit(w_ho(h), t))
        return torch.stack(outputs)

    def lstm(self, x: Tensor, rest: list[Tensor], pair: Any) -> Tensor:
        w_ih, w_hh = (self.linear(rest) for _ in range(2))
        h = c = torch.zeros(x.shape[1], self.width_of(w_ih, x) // 4, dtype=x.dtype)
        outputs = []
        for t, x_t in enumerate(x):
            i, f, g, o = (w_ih(x_t) + w_hh(h)).chunk(4, dim=-1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            if self.late:
                h = self.modulate(torch.sigmoid(o) * self.act(c), pair, t, x)
            else:
                h = torch.sigmoid(o) * self.act(self.modulate(c, pair, t, x))
            outputs.append(h)
        return torch.stack(outputs)

    @staticmethod
    def width_of(linear: Callable[[Tensor], Tensor], x: Tensor) -> int:
        return linear(x[0]).shape[-1]


def step_by_step(variant: str, use_lstm: bool) -> StepByStep:
    """The equation of ``make(variant, use_lstm)``."""
    return StepByStep(use_lstm, **copy.copy(VARIANTS[variant]))
