"""Programs that read protected attributes of networks, hypernetworks and layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hypnettorch.hnets import HMLP, ChunkedHMLP
from hypnettorch.mnets import SimpleRNN
from hypnettorch.utils.context_mod_layer import ContextModLayer

OPTIONS = {"rnn_layers": (5, 4), "fc_layers": (3, 2), "fc_layers_pre": (6,), "verbose": False}


class Annotated(SimpleRNN):
    """Describes itself from what its base has stored."""

    def __init__(self, n_in=3, **kwargs):
        super().__init__(n_in=n_in, **{**OPTIONS, **kwargs})

    def describe(self):
        sizes = [*self._fc_layers_pre, *self._rnn_layers, *self._fc_layers]
        return f"{'-'.join(map(str, sizes))} ({self._context_mod_num_ts}, {self._context_mod_separate_layers_per_ts})"

    def recurrent_modulation(self):
        """The layers that modulate the recurrent part."""
        per_layer = self._context_mod_num_ts if self._context_mod_separate_layers_per_ts else 1
        start = self._cm_rnn_start_ind
        return list(self.context_mod_layers)[start : start + per_layer * len(self._rnn_layers)]


def test_recurrent_network_without_modulation():
    net = Annotated()
    assert net.describe() == "6-5-4-3-2 (-1, False)"
    assert list(net._rnn_layers) == [5, 4]
    assert list(net._fc_layers) == [3, 2]
    assert list(net._fc_layers_pre) == [6]


@pytest.mark.parametrize("inputs", [False, True])
def test_recurrent_network_with_modulation(inputs):
    net = Annotated(use_context_mod=True, context_mod_inputs=inputs, context_mod_no_weights=True)
    assert [layer.param_shapes[0] for layer in net.recurrent_modulation()] == [[5], [4]]
    assert net._cm_rnn_start_ind == 1 + inputs
    assert net._num_fc_cm_layers == 2
    assert len(net.context_mod_layers) == net._cm_rnn_start_ind + 2 + net._num_fc_cm_layers


def test_recurrent_network_with_modulation_of_each_step():
    net = Annotated(
        use_context_mod=True, context_mod_no_weights=True, context_mod_num_ts=3,
        context_mod_separate_layers_per_ts=True, no_last_layer_context_mod=True,
    )  # fmt: skip
    assert net.describe() == "6-5-4-3-2 (3, True)"
    assert [layer.param_shapes[0] for layer in net.recurrent_modulation()] == [[5]] * 3 + [[4]] * 3
    assert net._num_fc_cm_layers == 1


@pytest.mark.parametrize("no_weights", [False, True])
def test_recurrent_network_with_a_gate_for_its_outputs(no_weights):
    class Gated(SimpleRNN):
        """Appends one more modulation, with the options of the others."""

        def __init__(self, **kwargs):
            super().__init__(n_in=3, **OPTIONS, **kwargs)
            if self._use_context_mod:
                self._add_context_mod_layers([[self._fc_layers[-1]]])
            self._is_properly_setup()

    assert Gated().context_mod_layers is None
    options = {"context_mod_no_weights": no_weights, "context_mod_gain_offset": True}
    net = Gated(use_context_mod=True, **options)
    plain = SimpleRNN(n_in=3, use_context_mod=True, **OPTIONS, **options)
    assert (net._context_mod_no_weights, net._context_mod_gain_offset) == (no_weights, True)
    assert net._context_mod_gain_softplus is False
    assert net.param_shapes == [*plain.param_shapes, [2], [2]]
    gate = net.context_mod_layers[-1]
    assert (gate.gain is None) is no_weights
    assert len(net.internal_params) == len(plain.internal_params) + (0 if no_weights else 2)


@pytest.mark.parametrize(("no_gains", "no_shifts"), [(False, False), (True, False), (False, True)])
def test_context_modulation_layer(no_gains, no_shifts):
    layer = ContextModLayer(4, no_gains=no_gains, no_shifts=no_shifts)
    assert (layer._no_gains, layer._no_shifts) == (no_gains, no_shifts)
    assert layer._num_features in (4, [4], (4,))
    num = 2 - layer._no_gains - layer._no_shifts
    weights = [torch.full((4,), 2.0)] * num
    x = torch.randn(3, 4)
    expected = x * (1 if no_gains else 2) + (0 if no_shifts else 2)
    torch.testing.assert_close(layer(x, weights=weights), expected)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("no_uncond_weights", [False, True])
def test_hypernetworks(chunked, no_uncond_weights):
    options = {"num_cond_embs": 3, "no_uncond_weights": no_uncond_weights, "verbose": False}
    hnet = ChunkedHMLP([[3, 2], [3]], 4, chunk_emb_size=5, **options) if chunked else HMLP([[3, 2], [3]], **options)
    assert hnet._num_cond_embs == hnet.num_known_conds == 3
    assert hnet._no_uncond_weights is no_uncond_weights
    if chunked:
        assert list(hnet._cemb_shape) == [3, 5]
        embeddings = torch.randn(*hnet._cemb_shape)
        assert embeddings.shape == (hnet.num_chunks, 5)
        assert isinstance(hnet._hnet, HMLP)
        assert hnet._hnet.target_shapes == [[4]]


def test_subclass_of_a_hypernetwork_counts_its_embeddings():
    class MeanEmbedding(HMLP):
        """The embedding of a new task is the mean of those known."""

        def mean(self):
            return torch.stack([self.conditional_params[i] for i in range(self._num_cond_embs)]).mean(dim=0)

    hnet = MeanEmbedding([[3, 2], [3]], num_cond_embs=4, activation_fn=nn.Tanh(), verbose=False)
    torch.testing.assert_close(hnet.mean(), sum(hnet.conditional_params) / 4)
    hnet.add_conditions(1)
    torch.testing.assert_close(hnet.mean(), sum(hnet.conditional_params) / 5)
    assert hnet.forward(cond_input=hnet.mean().unsqueeze(0))[0].shape == (3, 2)


def test_subclass_may_use_the_names_for_itself():
    class Counting(HMLP):
        def __init__(self, num_tasks):
            super().__init__([[3, 2], [3]], num_cond_embs=num_tasks, verbose=False)
            self._num_cond_embs = 7

    hnet = Counting(2)
    assert (hnet._num_cond_embs, hnet.num_known_conds) == (7, 2)
