"""``SimpleRNN``: the documented equation, its options, and the steps that a subclass may replace."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from hypnettorch.hnets import ChunkedHMLP
from hypnettorch.hnets.initialization import describe_targets
from hypnettorch.legacy.recurrent import STEPS
from hypnettorch.mnets import SimpleRNN
from tests.mnets.recurrent_networks import VARIANTS, draw, make, sequences, step_by_step

both_kinds = pytest.mark.parametrize("use_lstm", [False, True], ids=["elman", "lstm"])
all_variants = pytest.mark.parametrize("variant", VARIANTS)


def counted(name: str) -> Any:
    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        self.__dict__.setdefault("called", Counter())[name] += 1
        return getattr(SimpleRNN, name)(self, *args, **kwargs)

    return step


Stepwise: Any = type("Stepwise", (SimpleRNN,), {name: counted(name) for name in STEPS})
"""Replaces every step by itself, so that each of them is called."""


# The equation


@both_kinds
@all_variants
def test_equation(variant: str, use_lstm: bool) -> None:
    net, x = make(variant, use_lstm), sequences()
    weights = [weight.requires_grad_() for weight in draw(net.param_shapes)]
    outputs = net(x, weights=weights), step_by_step(variant, use_lstm)(x, weights)
    torch.testing.assert_close(*outputs)
    gradients = [torch.autograd.grad(y.square().sum(), weights, materialize_grads=True) for y in outputs]
    torch.testing.assert_close(*gradients)


@both_kinds
@all_variants
def test_many_weight_sets(variant: str, use_lstm: bool) -> None:
    net, equation = make(variant, use_lstm), step_by_step(variant, use_lstm)
    xs, weights = torch.stack([sequences(), sequences()]), draw(net.param_shapes, 2)
    sets = [[weight[b] for weight in weights] for b in range(2)]
    torch.testing.assert_close(
        net.batched_forward(xs, weights), torch.stack([equation(x, own) for x, own in zip(xs, sets, strict=True)])
    )
    torch.testing.assert_close(
        net.batched_forward(xs[0], weights, share_input=True), torch.stack([equation(xs[0], own) for own in sets])
    )


@both_kinds
@pytest.mark.parametrize("variant", [name for name in VARIANTS if name.startswith("modulated")])
def test_modulation_of_each_sample(variant: str, use_lstm: bool) -> None:
    """Gains and shifts may have one more dimension in front, that of the samples."""
    net, equation, x = make(variant, use_lstm), step_by_step(variant, use_lstm), sequences()
    num_modulation = len(net.get_cm_inds())
    own, layers = draw(net.param_shapes[:num_modulation], 3), draw(net.param_shapes[num_modulation:])
    expected = [equation(x[:, [n]], [*(weight[n] for weight in own), *layers]) for n in range(3)]
    torch.testing.assert_close(net(x, weights=[*own, *layers]), torch.cat(expected, dim=1))
    stacked = [torch.stack([weight, -weight]) for weight in (*own, *layers)]
    loop = [net(x, weights=[weight[b] for weight in stacked]) for b in range(2)]
    torch.testing.assert_close(net.batched_forward(x, stacked, share_input=True), torch.stack(loop))


def test_lstm_of_pytorch() -> None:
    net, reference, x = make("plain", use_lstm=True, fc_layers=[]), nn.LSTM(3, 4).double(), sequences()
    torch.testing.assert_close(net(x, weights=in_our_order(reference)), reference(x)[0])


def test_states_of_the_rnn_of_pytorch() -> None:
    net, reference, x = make("plain"), nn.RNN(3, 4).double(), sequences()
    weights = [*in_our_order(reference), *draw(net.param_shapes[4:])]
    _, _, states = net(x, weights=weights, return_hidden=True, return_hidden_int=True)
    torch.testing.assert_close(states[0], reference(x)[0])


def in_our_order(rnn: nn.RNNBase) -> list[Any]:
    return [rnn.weight_ih_l0, rnn.bias_ih_l0, rnn.weight_hh_l0, rnn.bias_hh_l0]


class CountProducts(TorchDispatchMode):
    """Counts the matrix products that are computed."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.__name__.split(".")[0] in ("mm", "addmm", "bmm", "baddbmm"):
            self.calls["products"] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("sets", [None, 3])
@pytest.mark.parametrize(("use_lstm", "others"), [(False, 3), (True, 2)])
def test_products_outside_of_the_recurrence_are_one_for_all_steps(
    use_lstm: bool, others: int, sets: int | None
) -> None:
    net, num_steps = make("plain", use_lstm), 6
    x = sequences(num_steps)
    weights = draw(net.param_shapes) if sets is None else draw(net.param_shapes, sets)
    with CountProducts() as count:
        net(x, weights) if sets is None else net.batched_forward(x, weights, share_input=True)
    assert count.calls["products"] == num_steps + others


def test_initial_states() -> None:
    net, x = make("plain", use_lstm=True, fc_layers=[]), sequences(4)
    weights = [param.detach() for param in net.internal_params]
    outputs, cells = net.compute_hidden_states(x, 0, weights, None, None)
    rest = net.compute_hidden_states(x[2:], 0, weights, None, None, h_0=outputs[1], c_0=cells[1])
    torch.testing.assert_close(rest, (outputs[2:], cells[2:]))


# What is returned, and how far gradients flow


@both_kinds
def test_hidden_activations(use_lstm: bool) -> None:
    net = make("plain", use_lstm, fc_layers_pre=[6], rnn_layers=[4, 5], fc_layers=[3, 2])
    output, hidden, internal = net(sequences(), return_hidden=True, return_hidden_int=True)
    assert [h.shape[-1] for h in hidden] == [6, 4, 5, 3]
    assert [None if h is None else h.shape[-1] for h in internal] == [None, 4, 5, None]
    torch.testing.assert_close(net(sequences() * 0 + 1, return_hidden=True)[0], net(sequences() * 0 + 1))
    last = nn.functional.linear(hidden[-1], *list(net.internal_params)[-2:])
    torch.testing.assert_close(output, last)


@both_kinds
def test_hidden_activations_of_many_weight_sets(use_lstm: bool) -> None:
    net, x = make("modulated", use_lstm), sequences()
    weights = draw(net.param_shapes, 2)
    options = {"return_hidden": True, "return_hidden_int": True}
    batched = net.batched_forward(x, weights, share_input=True, **options)
    for b in range(2):
        output, hidden, internal = net(x, weights=[weight[b] for weight in weights], **options)
        torch.testing.assert_close(batched[0][b], output)
        torch.testing.assert_close([h[b] for h in batched[1]], hidden)
        assert [h is None for h in batched[2]] == [h is None for h in internal]
        torch.testing.assert_close([h[b] for h in batched[2] if h is not None], [h for h in internal if h is not None])


@both_kinds
@pytest.mark.parametrize("depth", [0, 1, 3, 4, 7, -1])
@pytest.mark.parametrize("stepwise", [False, True])
def test_depth_of_backpropagation(depth: int, use_lstm: bool, stepwise: bool) -> None:
    net = make("plain", use_lstm, cls=Stepwise if stepwise else SimpleRNN, fc_layers=[])
    x = sequences().requires_grad_()
    expected = net(x)
    net.bptt_depth = depth
    assert net.bptt_depth == depth
    output, _, _ = net(x, return_hidden=True, return_hidden_int=True)
    torch.testing.assert_close(output, expected)
    num_reached = len(x) if depth == -1 else min(depth, len(x))
    if num_reached == 0:
        assert not output.requires_grad or not torch.autograd.grad(output.sum(), x, materialize_grads=True)[0].any()
        return
    (gradient,) = torch.autograd.grad(output.sum(), x)
    reached = [bool(step.any()) for step in gradient]
    assert reached == [False] * (len(x) - num_reached) + [True] * num_reached


# Steps that a subclass replaces


@both_kinds
@all_variants
def test_steps_make_up_the_equation(variant: str, use_lstm: bool) -> None:
    net, x = make(variant, use_lstm, cls=Stepwise), sequences()
    weights = draw(net.param_shapes)
    torch.testing.assert_close(net(x, weights=weights), step_by_step(variant, use_lstm)(x, weights))
    in_time = {"lstm_rnn_step"} if use_lstm else {"basic_rnn_step", "compute_basic_rnn_output"}
    others = set(STEPS) - {"lstm_rnn_step", "basic_rnn_step", "compute_basic_rnn_output"}
    assert set(net.called) == in_time | others
    assert all(net.called[name] == len(x) * net.num_rec_layers for name in in_time)


class Slow(SimpleRNN):
    """An Elman network whose states change slowly."""

    def basic_rnn_step(self, d: int, t: int, x_t: Tensor, h_t: Tensor, *args: Any) -> tuple[Tensor, Tensor]:
        new, y_t = super().basic_rnn_step(d, t, x_t, h_t, *args)
        return 0.5 * (h_t + new), y_t


class LoudLSTM(SimpleRNN):
    """An LSTM with twice the cell state."""

    def lstm_rnn_step(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        h_t, c_t = super().lstm_rnn_step(*args, **kwargs)
        return h_t, 2 * c_t


class NoOutputMap(SimpleRNN):
    """An Elman network whose output is its state."""

    def compute_basic_rnn_output(self, h_t: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return h_t


class Residual(SimpleRNN):
    """Recurrent layers with a shortcut."""

    def compute_hidden_states(self, x: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        outputs, states = super().compute_hidden_states(x, *args, **kwargs)
        return outputs + x.mean(dim=-1, keepdim=True), states


class Scaled(SimpleRNN):
    """A network that halves the weights it is given."""

    def split_weights(self, weights: Any) -> Any:
        int_weights, cm_weights = super().split_weights(weights)
        return [0.5 * weight for weight in int_weights], cm_weights


@pytest.mark.parametrize(
    ("cls", "use_lstm"), [(Slow, False), (LoudLSTM, True), (NoOutputMap, False), (Residual, True), (Scaled, False)]
)
def test_replaced_step_is_used_for_many_weight_sets_too(cls: type[SimpleRNN], use_lstm: bool) -> None:
    net, base, xs = make("modulated", use_lstm, cls=cls), make("modulated", use_lstm), sequences()
    weights = draw(net.param_shapes, 2)
    expected = [net(xs, weights=[weight[b] for weight in weights]) for b in range(2)]
    assert not torch.allclose(expected[0], base(xs, weights=[weight[0] for weight in weights]))
    torch.testing.assert_close(net.batched_forward(xs, weights, share_input=True), torch.stack(expected))
    hidden = net.batched_forward(xs, weights, share_input=True, return_hidden=True, return_hidden_int=True)[2]
    assert [h is None for h in hidden] == [True, False, False, True]


def test_replaced_forward_is_used_for_many_weight_sets() -> None:
    class Negative(SimpleRNN):
        def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
            return -super().forward(x, *args, **kwargs)

    net, base, x = make("plain", cls=Negative), make("plain"), sequences()
    weights = draw(net.param_shapes, 2)
    torch.testing.assert_close(
        net.batched_forward(x, weights, share_input=True), -base.batched_forward(x, weights, share_input=True)
    )


@both_kinds
def test_vmap_of_forward(use_lstm: bool) -> None:
    net, x = make("modulated", use_lstm), sequences()
    weights = draw(net.param_shapes, 2)
    mapped = torch.func.vmap(lambda own: net(x, weights=own))(weights)
    torch.testing.assert_close(mapped, net.batched_forward(x, weights, share_input=True))


def test_one_compiled_function_serves_two_lengths() -> None:
    net = make("modulated-inputs", use_lstm=True)
    torch._dynamo.reset()
    compiled = torch.compile(net.forward, fullgraph=True, backend="aot_eager")
    for num_steps in (3, 5):
        x = sequences(num_steps)
        torch.testing.assert_close(compiled(x), net(x))
    torch._dynamo.reset()


# Modulation of its own


def test_checkpoints_of_modulation() -> None:
    net, x = make("modulated", use_lstm=True), sequences()
    outputs = []
    for _ in range(2):
        with torch.no_grad():
            for weight in net.get_cm_weights():
                weight.normal_()
        outputs.append(net(x))
        for layer in net.context_mod_layers:
            layer.checkpoint_weights()
    for k in range(2):
        torch.testing.assert_close(net(x, condition=k), outputs[k])
        torch.testing.assert_close(net(x, condition={"cmod_ckpt_id": k}), outputs[k])
    assert not torch.allclose(net(x), outputs[1])
    layers = [param.detach().expand(2, *param.shape) for param in net.get_non_cm_weights()]
    batched = net.batched_forward(x, {"internal_weights": layers}, share_input=True, condition=[1, 0])
    torch.testing.assert_close(batched, torch.stack([outputs[1], outputs[0]]))
    batched = net.batched_forward(x, {"internal_weights": layers}, share_input=True, condition=1)
    torch.testing.assert_close(batched, torch.stack([outputs[1], outputs[1]]))
    fresh = make("modulated", use_lstm=True)
    fresh.load_state_dict(net.state_dict())
    torch.testing.assert_close(fresh(x, condition=0), outputs[0])
    given = {"mod_weights": [weight.detach() for weight in net.get_cm_weights()]}
    torch.testing.assert_close(net(x, weights=given, condition=0), net(x))


def test_modulation_beyond_the_last_step_has_no_effect() -> None:
    net = make("modulated-per-step")
    weights = draw(net.param_shapes)
    x = sequences(3)
    expected = net(x, weights=weights)
    for i in range(2, 4):  # gain and shift of the recurrent layer
        weights[i][3:] = torch.nan
    torch.testing.assert_close(net(x, weights=weights), expected)


@pytest.mark.parametrize("use_bias", [False, True])
def test_weights_by_role(use_bias: bool) -> None:
    net = make("modulated", use_bias=use_bias)
    assert net.get_cm_inds() == list(range(10))
    assert [id(w) for w in net.get_cm_weights()] == [id(w) for w in net.internal_params[:10]]
    assert [id(w) for w in net.get_non_cm_weights()] == [id(w) for w in net.internal_params[10:]]
    external = make("modulated", no_weights=True, context_mod_no_weights=True)
    assert external.get_non_cm_weights() == []
    with pytest.raises(ValueError, match="get_cm_weights"):
        external.get_cm_weights()


# Parameters


def test_table() -> None:
    net = make("modulated", use_lstm=False, context_mod_inputs=True)
    rows = [(meta["layer"], meta["name"], meta.get("info")) for meta in net.param_shapes_meta]
    cm = [(layer, name, None) for layer in (0, 2, 4, 6, 8, 10) for name in ("cm_scale", "cm_shift")]
    fc = {layer: [(layer, "weight", None), (layer, "bias", None)] for layer in (1, 7, 9)}
    rec = [[(layer, name, info) for info in ("ih", "hh", "ho") for name in ("weight", "bias")] for layer in (3, 5)]
    assert rows == [*cm, *fc[1], *rec[0], *rec[1], *fc[7], *fc[9]]


def test_layers_of_one_recurrent_layer_share_a_number() -> None:
    net = make("modulated-by-separate-layers", use_lstm=True)
    numbers = [meta["layer"] for meta in net.param_shapes_meta if meta["name"] == "cm_scale"]
    assert numbers == [0, *[2] * 5, *[4] * 5, 6]
    assert len(net.context_mod_layers) == 12


@both_kinds
@pytest.mark.parametrize("kaiming", [False, True])
def test_initial_values(use_lstm: bool, kaiming: bool) -> None:
    options = {"n_in": 400, "rnn_layers": [100], "fc_layers": [25], "kaiming_rnn_init": kaiming}
    net = SimpleRNN(use_lstm=use_lstm, verbose=False, **options)
    fan_in = {"ih": 400 if kaiming else 100, "hh": 100, "ho": 100, None: 100}
    for param, meta in zip(net.internal_params, net.param_shapes_meta, strict=True):
        bound = fan_in[meta.get("info")] ** -0.5
        assert param.abs().max() <= bound
        assert param.abs().max() > 0.8 * bound


@both_kinds
def test_orthogonal_initialisation(use_lstm: bool) -> None:
    net = make("plain", use_lstm, rnn_layers=[5, 4])
    before = [param.detach().clone() for param in net.internal_params]
    net.init_hh_weights_orthogonal()
    for param, old, meta in zip(net.internal_params, before, net.param_shapes_meta, strict=True):
        if meta.get("info") != "hh" or meta["name"] != "weight":
            torch.testing.assert_close(param.detach(), old)
            continue
        for block in param.detach().split(param.shape[1]):
            torch.testing.assert_close(block @ block.T, torch.eye(param.shape[1], dtype=param.dtype))


@both_kinds
def test_biases_belong_to_their_own_map(use_lstm: bool) -> None:
    """Hyperfan initialisation gives each generated bias the fans of the weight that is used with it."""
    net = SimpleRNN(n_in=7, rnn_layers=[4], fc_layers=[2], use_lstm=use_lstm, no_weights=True, verbose=False)
    targets = describe_targets(net.hyper_shapes_learned, net)
    assert all(target.paired for target in targets)
    assert [target.role for target in targets] == ["weight", "bias"] * (len(targets) // 2)
    assert [target.fan_in for target in targets] == [7, 7] + [4, 4] * (len(targets) // 2 - 1)


def test_flags() -> None:
    with_output, without = make("plain"), make("recurrent-output", no_weights=True)
    assert (with_output.has_fc_out, with_output.mask_fc_out, with_output.has_linear_out) == (True, True, True)
    assert (without.has_fc_out, without.mask_fc_out, without.has_linear_out) == (False, False, False)
    with pytest.raises(NotImplementedError):
        without.get_output_weight_mask()
    assert with_output.num_rec_layers == 1
    assert make("recurrent-output", use_lstm=True).use_lstm


def test_initial_weights_are_copied() -> None:
    net = make("modulated")
    values = draw(net.param_shapes)
    other = make("modulated", init_weights=values)
    torch.testing.assert_close([param.detach() for param in other.internal_params], values)
    values[0].add_(1)
    assert not torch.equal(other.internal_params[0].detach(), values[0])


def test_summary_counts_all_weights(capsys: pytest.CaptureFixture[str]) -> None:
    net = SimpleRNN(n_in=3, use_context_mod=True)
    assert str(net.num_params) in capsys.readouterr().out
    SimpleRNN(n_in=3, verbose=False)
    assert not capsys.readouterr().out


# Arguments


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"n_in": 0}, "n_in"),
        ({"rnn_layers": []}, "rnn_layers"),
        ({"rnn_layers": [3, 0]}, r"rnn_layers\[1\]"),
        ({"fc_layers_pre": [-1]}, r"fc_layers_pre\[0\]"),
        ({"activation": nn.Sigmoid()}, "activation"),
        ({"activation": nn.ReLU}, "activation"),
        ({"context_mod_num_ts": 0}, "context_mod_num_ts"),
        ({"context_mod_num_ts": 3, "use_context_mod": True}, "context_mod_num_ts"),
        ({"context_mod_num_ts": 3, "context_mod_last_step": True}, "context_mod_last_step"),
        (
            {"use_context_mod": True, "context_mod_gain_offset": True, "context_mod_gain_softplus": True},
            "context_mod_gain_softplus",
        ),
        ({"no_weights": True, "init_weights": [torch.zeros(1)]}, "init_weights"),
    ],
)
def test_wrong_options(options: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        SimpleRNN(**{"verbose": False, **options})


@pytest.mark.parametrize("name", ["use_lstmm", "context_mod_apply_pixel_wise", "condition"])
def test_unknown_option(name: str) -> None:
    with pytest.raises(TypeError, match=name):
        SimpleRNN(verbose=False, **{name: True})


def test_arguments_without_effect() -> None:
    with pytest.warns(UserWarning, match="n_out, dropout_rate") as caught:
        net = SimpleRNN(n_out=7, dropout_rate=0.5, fc_layers=[2], verbose=False)
    assert len(caught) == 1
    assert net.n_out == 2


@pytest.mark.parametrize(
    ("variant", "x", "options", "name"),
    [
        ("plain", torch.zeros(4, 3), {}, "x"),
        ("plain", torch.zeros(2, 4, 3, 3), {}, "x"),
        ("plain", torch.zeros(4, 3, 2), {}, "x"),
        ("plain", torch.zeros(0, 3, 3), {}, "x"),
        ("modulated-by-separate-layers", torch.zeros(6, 3, 3), {}, "at most 5 time steps"),
        ("plain", torch.zeros(4, 3, 3), {"return_hidden_int": True}, "return_hidden_int"),
        ("plain", torch.zeros(4, 3, 3), {"distilled_params": []}, "distilled_params"),
        ("plain", torch.zeros(4, 3, 3), {"condition": -1}, "condition"),
        ("plain", torch.zeros(4, 3, 3), {"condition": {"ckpt": 1}}, "condition"),
        ("modulated", torch.zeros(4, 3, 3), {"condition": 1}, "ckpt_id"),
    ],
)
def test_wrong_input(variant: str, x: Tensor, options: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        make(variant)(x.double(), **options)


@both_kinds
def test_modulation_of_a_wrong_number_of_samples(use_lstm: bool) -> None:
    net = make("modulated-last-step", use_lstm, no_last_layer_context_mod=True)
    with pytest.raises(ValueError, match="weights"):
        net(sequences(), weights={"mod_weights": draw(net.param_shapes[:2], 1)})


def test_depth_is_checked() -> None:
    net = make("plain")
    with pytest.raises(ValueError, match="bptt_depth"):
        net.bptt_depth = -2
    with pytest.raises(TypeError, match="bptt_depth"):
        net.bptt_depth = 1.5


# What was wrong in hypnettorch 0.0.4


@pytest.mark.parametrize("condition", [None, 0])
def test_internal_modulation(condition: int | None) -> None:
    """A network with internal gains and shifts could not be constructed, nor be evaluated with a condition."""
    net, x = make("modulated"), sequences()
    plain = make("modulated", use_context_mod=False)
    plain.overwrite_internal_params([param.detach() for param in net.get_non_cm_weights()])
    torch.testing.assert_close(net(x, condition=condition), plain(x, condition=condition))
    assert all(isinstance(weight, nn.Parameter) for weight in net.get_cm_weights())


def test_external_modulation_without_modulation() -> None:
    net = make("plain", context_mod_no_weights=True)
    assert net.hyper_shapes_learned is None
    net(sequences())


@both_kinds
def test_states_have_the_type_of_the_parameters(use_lstm: bool) -> None:
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        net = make("modulated", use_lstm).to(dtype)
        assert net(sequences().to(dtype)).dtype == dtype


def test_positions_of_external_tensors() -> None:
    net = make("modulated", no_weights=True)
    assert net.internal_params_ref == list(range(10))
    assert net.hyper_shapes_learned_ref == list(range(10, len(net.param_shapes)))
    assert net.bptt_depth == -1


# Training


@both_kinds
def test_chunked_hypernetwork_learns_to_copy(use_lstm: bool) -> None:
    """Three symbols are shown and have to be repeated after a pause, with weights that a hypernetwork makes."""
    length, pause, width = 3, 2, 3
    options = {"n_in": width + 1, "rnn_layers": [32], "fc_layers": [width], "no_weights": True, "verbose": False}
    net = SimpleRNN(use_lstm=use_lstm, **options)
    hnet = ChunkedHMLP(net.hyper_shapes_learned, chunk_size=200, layers=[32], cond_in_size=4, verbose=False)
    hnet.apply_chunked_hyperfan_init(mnet=net, cond_var=None)
    optimizer = torch.optim.Adam(hnet.parameters(), lr=0.01)

    def batch(samples: int) -> tuple[Tensor, Tensor]:
        symbols = torch.randint(2, (length, samples, width)).float()
        x = torch.zeros(2 * length + pause, samples, width + 1)
        x[:length, :, :width] = 2 * symbols - 1
        x[length + pause :, :, width] = 1
        return x, symbols

    for _ in range(500):
        x, symbols = batch(64)
        logits = net(x, weights=hnet(cond_id=0))[length + pause :]
        loss = nn.functional.binary_cross_entropy_with_logits(logits, symbols)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(hnet.parameters(), 1.0)
        optimizer.step()
    x, symbols = batch(500)
    with torch.no_grad():
        predicted = net(x, weights=hnet(cond_id=0))[length + pause :] > 0
    assert (predicted == symbols.bool()).float().mean() > 0.99
