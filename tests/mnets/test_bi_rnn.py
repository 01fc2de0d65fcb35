"""``BiRNN``: the documented equation, sequences of different lengths, and what its networks have in common."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hypnettorch.hnets import ChunkedHMLP
from hypnettorch.mnets import MLP, BiRNN, SimpleRNN
from tests.mnets.recurrent_networks import draw, sequences

LAYER: dict[str, Any] = {"n_in": 3, "rnn_layers": [4], "fc_layers": []}
SECOND: dict[str, Any] = {"n_in": 8, "rnn_layers": [5], "fc_layers": [2]}
PERCEPTRON: dict[str, Any] = {"n_in": 8, "n_out": 2, "hidden_layers": [5]}
MODULATED: dict[str, Any] = {"use_context_mod": True}
LENGTHS = [4, 2, 1]


@pytest.fixture(autouse=True)
def _lengths_may_be_missing() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "seq_lengths is not given")
        yield


def make(rnn_args: Any = None, mlp_args: Any = None, **options: Any) -> Any:
    return BiRNN(LAYER if rnn_args is None else rnn_args, mlp_args, **{"verbose": False, **options}).double()


def reverse(x: Tensor, lengths: list[int]) -> Tensor:
    """Each sample backwards, what follows its length is zero."""
    result = torch.zeros_like(x)
    for n, length in enumerate(lengths):
        result[:length, n] = x[:length, n].flip(0)
    return result


def by_hand(rnns: list[tuple[SimpleRNN, SimpleRNN]], mlp: MLP | None, x: Tensor, lengths: list[int]) -> Tensor:
    """The documented equation, with networks that hold their own weights."""
    for forward, backward in rnns:
        ahead = reverse(reverse(forward(x), lengths), lengths)
        x = torch.cat([ahead, reverse(backward(reverse(x, lengths)), lengths)], dim=-1)
    if mlp is not None:
        x = reverse(reverse(torch.stack([mlp(step) for step in x]), lengths), lengths)
    return x


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("use_lstm", [False, True])
@pytest.mark.parametrize("with_mlp", [False, True])
def test_equation(lengths: list[int] | None, use_lstm: bool, with_mlp: bool) -> None:
    args = [{**LAYER, "use_lstm": use_lstm}, {**SECOND, "use_lstm": use_lstm}]
    mlp_args = {**PERCEPTRON, "n_in": 4} if with_mlp else None
    net, x = make(args, mlp_args), sequences()
    rnns = [tuple(SimpleRNN(**own, verbose=False).double() for _ in range(2)) for own in args]
    mlp = MLP(**mlp_args, verbose=False).double() if mlp_args else None
    nets = [*(rnn for pair in rnns for rnn in pair), *([mlp] if mlp else [])]
    values = [param.detach() for own in nets for param in own.internal_params]
    net.overwrite_internal_params(values)
    expected = by_hand(rnns, mlp, x, lengths or [4, 4, 4])  # type: ignore[arg-type]
    torch.testing.assert_close(net(x, seq_lengths=lengths), expected)
    net.internal_params[0].data.zero_()
    torch.testing.assert_close(net(x, weights=values, seq_lengths=lengths), expected)


@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_bidirectional_lstm_of_pytorch(lengths: list[int] | None) -> None:
    reference, x = nn.LSTM(3, 4, num_layers=2, bidirectional=True).double(), sequences()
    second = {"n_in": 8, "rnn_layers": [4], "fc_layers": []}
    net = make([{**LAYER, "use_lstm": True}, {**second, "use_lstm": True}])
    assert [list(param.shape) for param in reference.parameters()] == permuted(net.param_shapes)
    net.overwrite_internal_params(permuted(list(reference.parameters())))
    if lengths is None:
        expected = reference(x)[0]
    else:
        packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths))
        expected = nn.utils.rnn.pad_packed_sequence(reference(packed)[0])[0]
    torch.testing.assert_close(net(x, seq_lengths=lengths), expected)


def permuted(tensors: list[Any]) -> list[Any]:
    """``W_ih, W_hh, b_ih, b_hh`` and ``W_ih, b_ih, W_hh, b_hh`` of each direction, one as the other."""
    return [tensors[i + k] for i in range(0, len(tensors), 4) for k in (0, 2, 1, 3)]


# Lengths


@pytest.mark.parametrize(
    "lengths",
    [LENGTHS, tuple(LENGTHS), np.array(LENGTHS), np.array(LENGTHS, dtype=np.int32), torch.tensor(LENGTHS)],
    ids=["list", "tuple", "array", "array of int32", "tensor"],
)
def test_forms_of_lengths(lengths: Any) -> None:
    net, x = make(mlp_args=PERCEPTRON), sequences()
    torch.testing.assert_close(net(x, seq_lengths=lengths), net(x, seq_lengths=LENGTHS))


def test_padding_is_not_seen_and_its_outputs_are_zero() -> None:
    net, x = make([LAYER, SECOND], {**PERCEPTRON, "n_in": 4}), sequences()
    output = net(x, seq_lengths=LENGTHS)
    dirty = x.clone()
    for n, length in enumerate(LENGTHS):
        dirty[length:, n] = torch.nan
        assert not output[length:, n].any()
        assert output[:length, n].all()
        alone = net(x[:length, [n]], seq_lengths=[length])
        torch.testing.assert_close(output[:length, [n]], alone)
    torch.testing.assert_close(net(dirty, seq_lengths=LENGTHS), output)


def test_missing_lengths_are_mentioned() -> None:
    net, x = make(), sequences()
    with pytest.warns(UserWarning, match="seq_lengths"):
        output = net(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.testing.assert_close(net(x, seq_lengths=[4, 4, 4]), output)


@pytest.mark.parametrize("rows", [LENGTHS, [LENGTHS, [1, 3, 4]]])
def test_lengths_with_many_weight_sets(rows: Any) -> None:
    net, xs = make(mlp_args=PERCEPTRON, no_weights=True), torch.stack([sequences(), sequences()])
    weights = draw(net.hyper_shapes_learned, 2)
    batched = net.batched_forward(xs, weights, seq_lengths=torch.tensor(rows))
    per_set = rows if isinstance(rows[0], list) else [rows, rows]
    loop = [net(xs[b], weights=[weight[b] for weight in weights], seq_lengths=per_set[b]) for b in range(2)]
    torch.testing.assert_close(batched, torch.stack(loop))


@pytest.mark.parametrize(
    ("lengths", "error"),
    [
        ([4, 2], ValueError),
        ([[4, 2, 1]], ValueError),
        ([4, 2, 5], ValueError),
        ([4, 2, -1], ValueError),
        ([4.0, 2.0, 1.0], TypeError),
        ("abc", TypeError),
    ],
)
def test_wrong_lengths(lengths: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="seq_lengths"):
        make()(sequences(), seq_lengths=lengths)


def test_one_compiled_function_serves_all_lengths_of_samples() -> None:
    net, x = make(mlp_args=PERCEPTRON), sequences(3)
    torch._dynamo.reset()
    compiled = torch.compile(net.forward, fullgraph=True, backend="aot_eager")
    for lengths in (torch.tensor([3, 2, 1]), torch.tensor([1, 3, 3])):
        torch.testing.assert_close(compiled(x, seq_lengths=lengths), net(x, seq_lengths=lengths))
    torch._dynamo.reset()


# The function before the networks


def test_preprocessing() -> None:
    seen = []

    def take(x: Tensor, seq_lengths: Any) -> Tensor:
        seen.append(seq_lengths)
        return x[..., 1:]

    net, plain, x = make(preprocess_fct=take, no_weights=True), make(no_weights=True), sequences(width=4)
    weights = draw(net.hyper_shapes_learned)
    torch.testing.assert_close(net(x, weights, seq_lengths=LENGTHS), plain(x[..., 1:], weights, seq_lengths=LENGTHS))
    assert seen == [LENGTHS]
    stacked = draw(net.hyper_shapes_learned, 2)
    torch.testing.assert_close(
        net.batched_forward(x, stacked, share_input=True),
        plain.batched_forward(x[..., 1:], stacked, share_input=True),
    )


def test_preprocessing_by_a_module() -> None:
    """Its parameters are trained along, and the input may be of integers."""

    class Embed(nn.Embedding):
        def forward(self, x: Tensor, seq_lengths: Any) -> Tensor:
            return super().forward(x)

    net = make(preprocess_fct=Embed(5, 3))
    assert any(param.shape == (5, 3) for param in net.parameters())
    assert net(torch.randint(5, (4, 3))).shape == (4, 3, 8)


def test_preprocessing_is_settled_by_the_first_call() -> None:
    net = make()
    net.preprocess_fct = lambda x, seq_lengths: 2 * x
    net(sequences())
    with pytest.raises(RuntimeError, match="preprocess_fct"):
        net.preprocess_fct = None
    assert net.preprocess_fct is not None


# Parameters


def test_table() -> None:
    net = make([{**LAYER, **MODULATED}, SECOND], {**PERCEPTRON, "n_in": 4, "use_batch_norm": True})
    kinds = [(meta["birnn_layer_type"], meta["birnn_layer_id"]) for meta in net.param_shapes_meta]
    order = [("forward_rnn", 0), ("backward_rnn", 0), ("forward_rnn", 1), ("backward_rnn", 1), ("out_mlp", -1)]
    assert kinds == [kind for kind, count in zip(order, [8, 8, 8, 8, 6], strict=True) for _ in range(count)]
    assert [meta["index"] for meta in net.param_shapes_meta] == list(range(38))
    assert [meta["name"] for meta in net.param_shapes_meta[-6:]] == [
        "bn_scale",
        "bn_shift",
        "weight",
        "bias",
        "weight",
        "bias",
    ]
    owners = {}
    for meta, kind in zip(net.param_shapes_meta, kinds, strict=True):
        assert owners.setdefault(meta["layer"], kind) == kind
    assert sorted(owners) == list(range(11))


def test_networks_are_submodules() -> None:
    net = make(mlp_args=PERCEPTRON)
    assert sum(isinstance(module, SimpleRNN) for module in net.modules()) == 2
    net.eval()
    assert not any(module.training for module in net.modules())
    net.train()
    assert all(module.training for module in net.modules())


def test_what_the_networks_sum_up_to() -> None:
    net = make([LAYER, {**SECOND, "rnn_layers": [5, 4]}])
    assert net.num_rec_layers == 6
    assert not net.use_lstm
    assert (net.has_fc_out, net.mask_fc_out, net.has_linear_out) == (True, False, True)
    with pytest.raises(RuntimeError, match="use_lstm"):
        _ = make([LAYER, {**SECOND, "use_lstm": True}]).use_lstm
    net.init_hh_weights_orthogonal()
    for param, meta in zip(net.internal_params, net.param_shapes_meta, strict=True):
        if meta.get("info") == "hh" and meta["name"] == "weight":
            torch.testing.assert_close(param @ param.T, torch.eye(len(param), dtype=param.dtype))


def test_networks_with_and_without_biases() -> None:
    with pytest.warns(UserWarning, match="bias"):
        net = make({**LAYER, "use_bias": False}, PERCEPTRON)
    assert not net.has_bias
    masks = net.get_output_weight_mask([1])
    assert [mask is not None for mask in masks] == [False] * (len(masks) - 2) + [True, True]


def test_weights_by_role() -> None:
    args = {**LAYER, **MODULATED}
    net = make(args, {**PERCEPTRON, **MODULATED})
    assert len(net.get_cm_weights()) == len(net.get_cm_inds()) == 8
    assert len(net.get_non_cm_weights()) == 16
    assert make().get_cm_weights() == []


def test_modulation_may_be_passed_alone() -> None:
    outer = {"context_mod_no_weights": True, **MODULATED}
    net, x = make({**LAYER, **outer}, {**PERCEPTRON, **outer}), sequences()
    modulation = draw([net.param_shapes[i] for i in net.get_cm_inds()])
    torch.testing.assert_close(net(x, weights=modulation), net(x, weights={"mod_weights": modulation}))
    per_sample = [weight.expand(3, *weight.shape) for weight in modulation]
    torch.testing.assert_close(net(x, weights=per_sample), net(x, weights=modulation))


def test_batch_norm_sees_all_steps_as_one_batch() -> None:
    net, x = make(mlp_args={**PERCEPTRON, "use_batch_norm": True}).train(), sequences()
    weights = [param.detach() for param in net.internal_params]
    plain = make()
    hidden = plain(x, weights=weights[:12])
    mlp = MLP(**PERCEPTRON, use_batch_norm=True, verbose=False).double()
    torch.testing.assert_close(net(x), mlp(hidden.flatten(0, 1), weights=weights[12:]).unflatten(0, (4, 3)))
    torch.testing.assert_close(net.batchnorm_layers[0].get_stats(), mlp.batchnorm_layers[0].get_stats())


def test_summary(capsys: pytest.CaptureFixture[str]) -> None:
    net = BiRNN([LAYER, {**SECOND, "use_lstm": True}])
    assert str(net.num_params) in capsys.readouterr().out
    BiRNN(LAYER, PERCEPTRON, verbose=False)
    assert not capsys.readouterr().out


# Arguments


@pytest.mark.parametrize(
    ("rnn_args", "mlp_args", "options", "name"),
    [
        ([], None, {}, "rnn_args"),
        ({**LAYER, "no_weights": True}, None, {}, r"rnn_args\['no_weights'\]"),
        (LAYER, {**PERCEPTRON, "no_weights": False}, {"no_weights": True}, r"mlp_args\['no_weights'\]"),
        ([LAYER, {**SECOND, "context_mod_no_weights": True}], None, {}, r"rnn_args\[1\]\['context_mod_no_weights'\]"),
        ([LAYER, LAYER], None, {}, r"rnn_args\[1\]\['n_in'\]"),
        (LAYER, {"n_out": 2}, {}, r"mlp_args\['n_in'\]"),
    ],
)
def test_wrong_options(rnn_args: Any, mlp_args: Any, options: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        make(rnn_args, mlp_args, **options)


@pytest.mark.parametrize("rnn_args", [3, [LAYER, 3]])
def test_options_of_a_wrong_type(rnn_args: Any) -> None:
    with pytest.raises(TypeError, match="rnn_args"):
        make(rnn_args)


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2), (1, 4, 3, 3)])
def test_wrong_input(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="x"):
        make()(torch.zeros(shape, dtype=torch.float64))


# What was wrong in hypnettorch 0.0.4


def test_default_arguments_are_not_changed() -> None:
    BiRNN(verbose=False)
    assert BiRNN(no_weights=True, verbose=False).internal_params_ref == []
    args = dict(LAYER)
    BiRNN(args, no_weights=True, verbose=False)
    assert args == LAYER


def test_distillation_targets() -> None:
    assert make(mlp_args=PERCEPTRON).distillation_targets() is None
    net = make(mlp_args={**PERCEPTRON, "use_batch_norm": True, "distill_bn_stats": True})
    assert [list(target.shape) for target in net.distillation_targets()] == net.hyper_shapes_distilled == [[5], [5]]


def test_index_of_external_tensors() -> None:
    outer = {"context_mod_no_weights": True, **MODULATED}
    net = make({**LAYER, **outer}, {**PERCEPTRON, **outer})
    for meta in net.param_shapes_meta:
        assert (meta["index"] == -1) == meta["name"].startswith("cm_")
    assert net.internal_params_ref == [i for i, meta in enumerate(net.param_shapes_meta) if meta["index"] >= 0]


def test_conditions() -> None:
    """Checkpointed modulation of all networks, and statistics of batch norm, are selected together or one by one."""
    mlp_args = {**PERCEPTRON, **MODULATED, "use_batch_norm": True, "activation_fn": nn.Tanh()}
    net, x = make({**LAYER, **MODULATED}, mlp_args).eval(), sequences()
    for layer in net.context_mod_layers:
        for _ in range(2):
            layer.normal_init()
            layer.checkpoint_weights()
    net.batchnorm_layers[0].checkpoint_stats()
    for k in range(2):
        for stat in net.batchnorm_layers[0].get_stats(k):
            stat.uniform_(0.5, 2)
    outputs = {}
    for i in range(2):
        for k in range(2):
            outputs[i, k] = net(x, condition={"cmod_ckpt_id": i, "bn_stats_id": k})
    assert len({output.sum().item() for output in outputs.values()}) == 4
    torch.testing.assert_close(net(x, condition=0), outputs[0, 0])
    torch.testing.assert_close(net(x, condition={"cmod_ckpt_id": 0}), outputs[0, 1])
    layers = {"internal_weights": [param.detach().expand(2, *param.shape) for param in net.get_non_cm_weights()]}
    batched = net.batched_forward(x, layers, share_input=True, condition=[1, 0])
    torch.testing.assert_close(batched, torch.stack([outputs[1, 1], outputs[0, 0]]))


def test_state_of_version_0_0_4_loads() -> None:
    """There, the recurrent networks were not registered, and tensors stood under several names."""
    net = make(mlp_args={**PERCEPTRON, "use_batch_norm": True}).eval()
    values = draw(net.param_shapes)
    layers = [i for i, meta in enumerate(net.param_shapes_meta) if meta["name"] == "weight"]
    old = {f"_internal_params.{i}": value for i, value in enumerate(values)}
    old |= {f"_layer_weight_tensors.{j}": values[i] for j, i in enumerate(layers)}
    old |= {f"_layer_bias_vectors.{j}": values[i + 1] for j, i in enumerate(layers)}
    for name in ("_internal_params", "_weights"):
        old |= {f"_out_mlp.{name}.{i}": value for i, value in enumerate(values[12:])}
    old |= {f"_out_mlp._batchnorm_layers.0.{name}": values[12 + i] for i, name in enumerate(("scale", "bias"))}
    old |= {f"_out_mlp._batchnorm_layers.0._weights.{i}": values[12 + i] for i in range(2)}
    old["_out_mlp._batchnorm_layers.0._num_stats"] = torch.tensor(2)
    for k in range(2):
        old |= {f"_out_mlp._batchnorm_layers.0.{name}_{k}": torch.full([5], 1.0 + k) for name in ("mean", "var")}
    net.load_state_dict(old, strict=True)
    torch.testing.assert_close([param.detach() for param in net.internal_params], values)
    assert net.batchnorm_layers[0].num_stats == 2
    torch.testing.assert_close(net.batchnorm_layers[0].get_stats(1)[0], torch.full([5], 2.0, dtype=torch.float64))
    net(sequences())


# Training


def test_chunked_hypernetwork_lets_it_overfit() -> None:
    """The label of each step is the sign of the sum of the whole sequence, so both directions are needed."""
    net = BiRNN(
        {"n_in": 2, "rnn_layers": [12], "fc_layers": [], "use_lstm": True},
        {"n_in": 24, "n_out": 1, "hidden_layers": []},
        no_weights=True,
        verbose=False,
    )
    hnet = ChunkedHMLP(net.hyper_shapes_learned, chunk_size=150, layers=[24], cond_in_size=4, verbose=False)
    hnet.apply_chunked_hyperfan_init(mnet=net, cond_var=None)
    optimizer = torch.optim.Adam(hnet.parameters(), lr=0.01)
    lengths = torch.tensor([5, 5, 4, 4, 3, 3, 2, 2])
    x = torch.randn(5, 8, 2)
    mask = torch.arange(5).unsqueeze(1) < lengths
    labels = (x.sum(-1) * mask).sum(0).sign().expand(5, 8).clamp_min(0)
    for _ in range(250):
        logits = net(x, weights=hnet(cond_id=0), seq_lengths=lengths).squeeze(-1)
        loss = nn.functional.binary_cross_entropy_with_logits(logits[mask], labels[mask])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(hnet.parameters(), 1.0)
        optimizer.step()
    assert loss < 0.01
