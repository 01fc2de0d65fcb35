"""Any module as a main network: selection, weights from outside, many sets at once, buffers, ties, copies."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hypnettorch.hnets import HMLP, ChunkedHMLP
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets.layer_types import describe_parameter
from hypnettorch.mnets.module_net import ModuleNet


def conv_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm1(self.conv1(x)).relu()
        return (x + self.norm2(self.conv2(h))).relu()


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.middle = nn.Conv2d(1, 4, 3, stride=2, padding=1), Block(4)
        self.up = nn.ConvTranspose2d(4, 4, 2, stride=2)
        self.out = nn.Conv2d(5, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.cat([x, self.up(self.middle(self.down(x)))], dim=1))


class TiedModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.embedding(tokens))


class Branching(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y if y.sum() > 0 else -y


def twice_used() -> nn.Module:
    layer = nn.Linear(4, 4)
    return nn.Sequential(layer, nn.Tanh(), layer)


def perceptron() -> nn.Module:
    activation = nn.Tanh()
    return nn.Sequential(
        nn.Linear(4, 5), activation, nn.Linear(5, 5, bias=False), nn.ReLU(inplace=True), activation, nn.Linear(5, 2)
    )


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "conv": (conv_net, (2, 3, 6, 6)),
    "residual": (lambda: Block(4), (2, 4, 5, 5)),
    "unet": (UNet, (2, 1, 6, 6)),
    "twice used": (twice_used, (3, 4)),
    "perceptron": (perceptron, (2, 3, 4)),
    "weight norm": (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), (2, 4)),
    "spectral norm": (lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3)), (2, 4)),
    "layer norm": (lambda: nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.GELU(), nn.Linear(6, 2)), (3, 4)),
    "attention": (
        lambda: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True),
        (2, 5, 8),
    ),
    "branching": (lambda: Branching(4, 3), (2, 4)),
    "lstm": (lambda: nn.LSTM(3, 4), (5, 2, 3)),
    "gru cell": (lambda: nn.GRUCell(3, 4), (2, 3)),
    "lstm cell": (lambda: nn.LSTMCell(3, 4), (2, 3)),
}


def make(name: str) -> tuple[nn.Module, Tensor]:
    constructor, shape = MODELS[name]
    torch.manual_seed(1)
    return constructor(), torch.randn(shape)


def first(output: object) -> Tensor:
    while not isinstance(output, Tensor):
        output = output[0]  # type: ignore[index]
    return output


def stacked(net: ModuleNet, sets: int) -> list[Tensor]:
    return [torch.stack([0.5 * torch.randn(tuple(s)) for _ in range(sets)]) for s in net.hyper_shapes_learned or []]


@pytest.mark.parametrize("name", MODELS)
def test_own_values_give_the_results_of_the_module(name: str) -> None:
    module, x = make(name)
    expected = first(copy.deepcopy(module)(x))
    net = ModuleNet(module)
    own = [w.clone() for w in net.initial_weights()]
    torch.testing.assert_close(first(net(x, weights=own)), expected)
    torch.testing.assert_close(first(copy.deepcopy(net).module(x)), first(net.module(x)))
    assert not any(parameter.requires_grad for parameter in net.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_weights_agree_with_functional_call(name: str) -> None:
    module, x = make(name)
    reference = copy.deepcopy(module).eval()
    net = ModuleNet(module).eval()
    weights = [w[0].requires_grad_() for w in stacked(net, 1)]
    named = dict(zip(net.param_names, weights, strict=True))
    expected = first(torch.func.functional_call(reference, named, (x,)))
    for given in (weights, named, torch.cat([w.flatten() for w in weights])):
        torch.testing.assert_close(first(net(x, weights=given)), expected)
    gradients = torch.autograd.grad(first(net(x, weights=weights)).square().sum(), weights, allow_unused=True)
    wanted = torch.autograd.grad(expected.square().sum(), weights, allow_unused=True)
    for got, want in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_batched_forward_equals_a_loop(name: str, share: bool, train: bool) -> None:
    module, x = make(name)
    net = ModuleNet(module).train(train)
    weights = stacked(net, 3)
    inputs = x if share else torch.stack([x, x + 1, x - 1])
    batched, looped = copy.deepcopy(net), copy.deepcopy(net)
    output = batched.batched_forward(inputs, weights=weights, share_input=share)
    expected = [looped(x if share else inputs[b], weights=[w[b] for w in weights]) for b in range(3)]
    torch.testing.assert_close(first(output), torch.stack([first(e) for e in expected]), rtol=1e-4, atol=1e-5)
    for key, value in batched.state_dict().items():
        torch.testing.assert_close(value, looped.state_dict()[key])


@pytest.mark.parametrize("include", [None, "*.weight", "5.*"])
@pytest.mark.parametrize("share", [True, False])
def test_layers_in_a_row_are_one_product_each(
    include: str | None, share: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.func, "vmap", None)
    net = ModuleNet(perceptron(), include=include)
    weights = [w.requires_grad_() for w in stacked(net, 3)]
    x = torch.randn(3, 2, 4).requires_grad_()
    leaves = [*weights, x, *(p for p in net.parameters() if p.requires_grad)]
    output = net.batched_forward(x, weights, share_input=share)
    looped = torch.stack([net(x if share else x[b], weights=[w[b] for w in weights]) for b in range(3)])
    torch.testing.assert_close(output, looped)
    for got, want in zip(*(torch.autograd.grad(y.square().sum(), leaves) for y in (output, looped)), strict=True):
        torch.testing.assert_close(got, want)


class Doubled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def _patch(module: nn.Module) -> None:
    module[0].forward = lambda x: 2 * nn.Linear.forward(module[0], x)


def _replace(module: nn.Module) -> None:
    module[2] = Doubled(5, 5)


LOOKED_INTO: dict[str, Callable[[nn.Module], object]] = {
    "a class of its own": _replace,
    "a forward of its own": _patch,
    "forward hook": lambda module: module[1].register_forward_hook(lambda layer, args, y: 2 * y),
    "forward pre-hook": lambda module: module.register_forward_pre_hook(lambda layer, args: (2 * args[0],)),
    "parametrisation": lambda module: nn.utils.parametrizations.weight_norm(module[0]),
}


@pytest.mark.parametrize("change", LOOKED_INTO)
def test_layers_into_which_somebody_looks_are_called(change: str) -> None:
    module = perceptron()
    LOOKED_INTO[change](module)
    net, x = ModuleNet(module), torch.randn(3, 2, 4)
    weights = stacked(net, 3)
    looped = torch.stack([net(x[b], weights=[w[b] for w in weights]) for b in range(3)])
    torch.testing.assert_close(net.batched_forward(x, weights), looped)


def test_global_hooks_see_layers_in_a_row() -> None:
    net, seen = ModuleNet(perceptron()), []
    hook = nn.modules.module.register_module_forward_hook(lambda layer, args, y: seen.append(type(layer)))
    try:
        net.batched_forward(torch.randn(3, 2, 4), stacked(net, 3))
    finally:
        hook.remove()
    assert seen.count(nn.Linear) == 3


@pytest.mark.parametrize("shapes", [(), ((3, 2, 4), (3, 2, 4)), ((),), ((3,),)], ids=str)
@pytest.mark.parametrize("share", [True, False])
def test_layers_in_a_row_refuse_what_one_call_refuses(shapes: Sequence[tuple[int, ...]], share: bool) -> None:
    net = ModuleNet(perceptron())
    args, weights = [torch.zeros(shape) for shape in shapes], stacked(net, 3)
    with pytest.raises((TypeError, RuntimeError)) as one:
        net(*(x if share or not x.dim() else x[0] for x in args), weights=[w[0] for w in weights])
    with pytest.raises(type(one.value), match=r"argument|size|shape"):
        net.batched_forward(*args, weights=weights, share_input=share)


def test_layers_in_a_row_under_autocast() -> None:
    net, x = ModuleNet(perceptron()), torch.randn(3, 2, 4)
    weights = stacked(net, 3)
    with torch.autocast("cpu", torch.bfloat16):
        output = net.batched_forward(x, weights)
        looped = torch.stack([net(x[b], weights=[w[b] for w in weights]) for b in range(3)])
    torch.testing.assert_close(output, looped, rtol=0.02, atol=0.01)


@pytest.mark.parametrize("name", MODELS)
def test_materialize_gives_an_ordinary_module(name: str) -> None:
    module, x = make(name)
    original = copy.deepcopy(module)
    net = ModuleNet(module).eval()
    weights = [w[0] for w in stacked(net, 1)]
    plain = net.materialize(weights)
    assert type(plain) is type(original)
    assert list(plain.state_dict()) == list(original.state_dict())
    assert [n for n, _ in plain.named_parameters()] == [n for n, _ in original.named_parameters()]
    torch.testing.assert_close(first(plain(x)), first(net(x, weights=weights)))
    with torch.no_grad():
        next(plain.parameters()).zero_()
    torch.testing.assert_close(first(net(x, weights=weights)), first(net.materialize(weights)(x)))
    if name not in ("lstm", "branching"):  # what torch does not export
        torch.export.export(plain, (x,))


@pytest.mark.parametrize(
    "name", sorted(set(MODELS) - {"weight norm", "spectral norm"})
)  # torch refuses to pickle these
def test_copies_and_files(name: str) -> None:
    module, x = make(name)
    net = ModuleNet(module).eval()
    weights = [w[0] for w in stacked(net, 1)]
    expected = first(net(x, weights=weights))
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(first(twin(x, weights=weights)), expected)
        assert isinstance(twin.module, type(MODELS[name][0]()))
    fresh = ModuleNet(MODELS[name][0]()).eval()
    fresh.load_state_dict(net.state_dict())
    assert torch.equal(first(fresh(x, weights=weights)), expected)


def test_selection() -> None:
    by_type = ModuleNet(conv_net(), include=nn.Linear)
    assert by_type.hyper_shapes_learned == [[5, 8], [5]]
    assert by_type.hyper_shapes_learned_ref == [4, 5]
    assert sum(p.requires_grad for p in by_type.parameters()) == len(by_type.internal_params or ()) == 4
    assert ModuleNet(conv_net(), include=["0.*", nn.BatchNorm2d]).hyper_shapes_learned_ref == [0, 1, 2, 3]
    assert ModuleNet(conv_net(), exclude="*.bias").hyper_shapes_learned_ref == [0, 2, 4]
    parametrised = ModuleNet(nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))), include=nn.Linear)
    assert parametrised.hyper_shapes_learned == [[2], [2, 1], [2, 2]]
    assert ModuleNet(nn.Sequential(Block(4), nn.Conv2d(4, 1, 1)), include=Block).hyper_shapes_learned_ref == [*range(6)]
    only_matrices = ModuleNet(conv_net(), include=lambda name, parameter: parameter.dim() == 2)
    assert only_matrices.param_names[only_matrices.hyper_shapes_learned_ref[0]] == "5.weight"


def test_unselected_parameters_are_trained() -> None:
    net = ModuleNet(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), include="1.*")
    net(torch.randn(2, 3), weights=net.initial_weights()).sum().backward()
    trained = {name: parameter for name, parameter in net.named_parameters() if parameter.requires_grad}
    assert all(parameter.grad is not None for parameter in trained.values())
    assert list(trained) == ["module.0.weight", "module.0.bias"]


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_roles_and_fans() -> None:
    net = ModuleNet(conv_net())
    described = [(m["name"], m["layer"], m["fan_in"], m["fan_out"]) for m in net.param_shapes_meta]
    assert described == [
        ("weight", 0, 27, 72),
        ("bias", 0, 27, 72),
        ("bn_scale", 1, 8, 8),
        ("bn_shift", 1, 8, 8),
        ("weight", 2, 8, 5),
        ("bias", 2, 8, 5),
    ]
    normed = [nn.utils.parametrizations.weight_norm(nn.Linear(5, 3)), nn.utils.weight_norm(nn.Linear(5, 3))]
    described = [(m["name"], m["layer"], m["fan_in"]) for m in ModuleNet(nn.Sequential(*normed)).param_shapes_meta]
    assert described == [(name, i, fan) for i in range(2) for name, fan in (("bias", 5), ("weight", 1), ("weight", 5))]
    assert describe_parameter(nn.ConvTranspose2d(4, 6, 4, stride=2), "weight").fan_in == 16
    assert describe_parameter(nn.MultiheadAttention(8, 2, kdim=3), "k_proj_weight").fan_in == 3
    assert describe_parameter(nn.Embedding(7, 4), "weight").role == "embedding"


def test_tied_parameters_stay_tied() -> None:
    net = ModuleNet(TiedModel())
    assert net.param_names == ["embedding.weight"]
    tokens, weight = torch.tensor([1, 2]), torch.randn(7, 4)
    torch.testing.assert_close(net(tokens, weights=[weight]), weight[tokens] @ weight.T)
    net.double()
    assert net.module(tokens).dtype == torch.float64
    plain = net.materialize([weight])
    assert plain.head.weight is plain.embedding.weight
    assert net.materialize([weight]).head.weight is not plain.head.weight


def test_using_nests_and_ends() -> None:
    net = ModuleNet(nn.Linear(2, 1, bias=False))
    x, base = torch.ones(1, 2), net.module(torch.ones(1, 2)).item()
    with net.using([torch.full((1, 2), 1.0)]) as module:
        assert module(x).item() == 2.0
        with net.using([torch.full((1, 2), 3.0)]):
            assert module(x).item() == 6.0
        assert module(x).item() == 2.0
    assert net.module(x).item() == base
    with pytest.raises(KeyError), net.using([torch.zeros(1, 2)]):
        raise KeyError
    assert net.module(x).item() == base


def test_computing_activations_again() -> None:
    class Model(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(super().forward, x, use_reentrant=False)

    net = ModuleNet(nn.Sequential(Model(3, 3), nn.Tanh(), Model(3, 2)))
    weights, x = [w[0].requires_grad_() for w in stacked(net, 1)], torch.randn(4, 3)
    loss = net(x, weights=weights).square().sum()
    plain = net.materialize(weights)
    plain(x).square().sum().backward()
    with net.using(net.initial_weights()) as module:
        gradients = torch.autograd.grad(loss, weights)
        assert torch.equal(module(x), net.module(x))
    for gradient, parameter in zip(gradients, plain.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad)


def test_parameters_may_be_trained_within_a_block() -> None:
    net = ModuleNet(nn.Linear(2, 1))
    weights = [w.clone().requires_grad_() for w in net.initial_weights()]
    optimizer = torch.optim.SGD(weights, lr=0.1)
    with net.using(weights) as module:
        before = module(torch.ones(1, 2))
        before.sum().backward()
        optimizer.step()
        assert (module(torch.ones(1, 2)) < before).all()


def test_replicas() -> None:
    """Copies that share their values, as ``nn.DataParallel`` makes them, see the weights that they are given."""
    net = ModuleNet(conv_net()).eval()
    replica, weights, x = copy.copy(net), [w[0] for w in stacked(net, 1)], torch.randn(2, 3, 6, 6)
    replica.__dict__["_modules"] = {"module": copy.deepcopy(net.module)}
    assert torch.equal(replica(x, weights=weights), net(x, weights=weights))
    assert not torch.equal(replica(x, weights=weights), net.module(x))


def test_every_thread_sees_its_own_weights() -> None:
    net = ModuleNet(nn.Linear(2, 1, bias=False))
    barrier, results = threading.Barrier(4), {}

    def work(value: float) -> None:
        with net.using([torch.full((1, 2), value)]) as module:
            barrier.wait()
            results[value] = module(torch.ones(1, 2)).item()
            barrier.wait()

    threads = [threading.Thread(target=work, args=(float(i),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {float(i): 2.0 * i for i in range(4)}


def test_statistics_per_condition() -> None:
    net = ModuleNet(conv_net(), stats_per_condition=True)
    model = HyperModel(HMLP(net.hyper_shapes_learned, num_cond_embs=3, layers=[8], verbose=False), net)
    x = torch.randn(8, 3, 6, 6)
    for condition in (0, 2):
        model(x + condition, cond_id=condition)
    layer = net.batchnorm_layers[0]
    assert layer.num_stats == 3
    assert torch.equal(layer.get_stats(1)[0], torch.zeros(8))
    assert layer.get_stats(0)[0].abs().sum() > 0
    assert torch.equal(net.module[1].running_mean, torch.zeros(8))
    fresh = ModuleNet(conv_net(), stats_per_condition=True)
    fresh.load_state_dict(net.state_dict())
    assert torch.equal(fresh.batchnorm_layers[0].get_stats(2)[0], layer.get_stats(2)[0])


@pytest.mark.parametrize("many", [False, True])
def test_statistics_of_an_unknown_condition(many: bool) -> None:
    """Evaluation has none for it, and keeps the state as it is."""
    net = ModuleNet(conv_net(), stats_per_condition=True)
    model = HyperModel(HMLP(net.hyper_shapes_learned, num_cond_embs=3, layers=[8], verbose=False), net)
    x = torch.randn(8, 3, 6, 6)
    for condition in (0, 1):
        model(x, cond_id=condition)
    model.eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(ValueError, match="condition: expected one of the 2 that training has given statistics, got 2"):
        model(x, cond_id=[1, 2] if many else 2, **({"share_input": True} if many else {}))
    after = net.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in after.items())


def test_moves_and_dtypes() -> None:
    net = ModuleNet(conv_net()).double()
    assert net.initial_weights()[0].dtype == torch.float64
    half = ModuleNet(conv_net().bfloat16())
    weights = [0.1 * torch.randn(s) for s in half.hyper_shapes_learned]
    for w in weights:
        w.requires_grad_()
    output = half(torch.randn(4, 3, 6, 6, dtype=torch.bfloat16), weights=weights)
    assert output.dtype == torch.bfloat16
    output.sum().backward()
    assert weights[0].grad.dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        net = ModuleNet(nn.Sequential(nn.Linear(3, 2)))
        assert net(torch.randn(2, 3), weights=net.initial_weights()).dtype == torch.bfloat16


def test_save_base() -> None:
    assert list(ModuleNet(nn.Linear(2, 1)).state_dict()) == []
    assert list(ModuleNet(nn.Linear(2, 1), save_base=True).state_dict()) == ["module.weight", "module.bias"]


def test_compile() -> None:
    module, x = make("conv")
    net = ModuleNet(module).eval()
    weights = [w[0] for w in stacked(net, 1)]
    compiled = torch.compile(lambda x, w: net(x, weights=w), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, weights), net(x, weights=weights))


@pytest.mark.parametrize("name", ["conv", "attention", "perceptron"])
def test_compile_of_many_weight_sets(name: str) -> None:
    module, x = make(name)
    net = ModuleNet(module).eval()
    weights = stacked(net, 3)

    def run(x: Tensor, weights: list[Tensor]) -> Tensor:
        return net.batched_forward(x, weights=weights, share_input=True)

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, weights), run(x, weights))


def test_keyword_arguments_and_structured_outputs() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x: Tensor, *, scale: float = 1.0, shift: Tensor | None = None) -> dict[str, Tensor]:
            y = scale * self.layer(x)
            return {"y": y if shift is None else y + shift}

    net = ModuleNet(Model())
    weights = [w[:2] for w in stacked(net, 2)]
    x, shift = torch.randn(4, 3), torch.randn(2, 2)
    own = net.batched_forward(x.expand(2, 4, 3), weights=weights, scale=2.0, shift=shift)["y"]
    shared = net.batched_forward(x.expand(2, 4, 3), weights=weights, shift=shift[0], in_dims={"shift": None})["y"]
    for b in range(2):
        one = [w[b] for w in weights]
        torch.testing.assert_close(own[b], net(x, weights=one, scale=2.0, shift=shift[b])["y"])
        torch.testing.assert_close(shared[b], net(x, weights=one, shift=shift[0])["y"])


def test_chunked_hypernetwork_drives_it() -> None:
    net = ModuleNet(UNet())
    hnet = ChunkedHMLP(net.hyper_shapes_learned, 50, num_cond_embs=2, layers=[8], verbose=False)
    hnet.apply_chunked_hyperfan_init(mnet=net, cond_var=None)
    model = HyperModel(hnet, net)
    assert model(torch.randn(2, 3, 1, 6, 6), cond_id=[0, 1]).shape == (2, 3, 1, 6, 6)


class Clamping(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.weight.clamp_(-0.1, 0.1)
        return super().forward(x)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ModuleNet(conv_net(), include="9.*"), ValueError, r"include: .*'9\.\*'"),
        (lambda: ModuleNet(conv_net(), include=nn.LSTM), ValueError, "include"),
        (lambda: ModuleNet(conv_net(), include=3), TypeError, "include"),
        (lambda: ModuleNet(conv_net(), include="0.*", exclude=nn.Conv2d), ValueError, "include"),
        (lambda: ModuleNet(torch.zeros(1)), TypeError, "module: expected Module, got Tensor"),
        (lambda: ModuleNet(conv_net(), weight_dtype="half"), ValueError, "weight_dtype"),
        (lambda: ModuleNet(nn.Linear(2, 1))(torch.ones(1, 2)), ValueError, "weights: .*got None"),
        (lambda: _linear({"weight": torch.ones(1, 2)}), ValueError, r"weights: .*missing \['bias'\]"),
        (lambda: _linear({"weight": 1, "bias": 2}), TypeError, "weights"),
        (lambda: _linear({"w": torch.ones(1, 2), "bias": torch.ones(1)}), ValueError, r"unknown \['w'\]"),
        (lambda: _linear([torch.ones(2, 2), torch.ones(1)]), ValueError, r"weights\[0\]: .*\(1, 2\).*\(2, 2\)"),
        (lambda: _linear([torch.ones(1, 2).long(), torch.ones(1)]), TypeError, r"weights\['weight'\]: .*dtype"),
        (
            lambda: _linear([torch.ones(1, 2, device="meta"), torch.ones(1)]),
            ValueError,
            r"weights\['weight'\]: expected a tensor on cpu",
        ),
        (
            lambda: ModuleNet(Clamping(2, 1))(torch.ones(1, 2), weights=[torch.ones(1, 2), torch.ones(1)]),
            ValueError,
            r"weights\['weight'\]: .*changed",
        ),
        (
            lambda: ModuleNet(nn.Linear(2, 1)).batched_forward(
                torch.ones(3, 1, 2), weights=[torch.ones(2, 1, 2), torch.ones(2, 1)]
            ),
            ValueError,
            r"args\[0\]: .*2 weight sets",
        ),
        (
            lambda: ModuleNet(nn.Linear(2, 1)).batched_forward(
                input=torch.ones(3, 1, 2), weights=[torch.ones(2, 1, 2), torch.ones(2, 1)]
            ),
            ValueError,
            "input: .*2 weight sets",
        ),
        (
            lambda: ModuleNet(Clamping(2, 1)).batched_forward(
                torch.ones(3, 1, 2), weights=[torch.ones(3, 1, 2), torch.ones(3, 1)]
            ),
            ValueError,
            r"weights\['weight'\]: .*changed",
        ),
        (
            lambda: ModuleNet(nn.Linear(2, 1), include="weight").using([torch.ones(1, 2), torch.ones(1)]),
            ValueError,
            r"weights: expected 1 tensors, for the selected parameters, got also \['bias'\]",
        ),
        (lambda: _clamp_within_a_block(), ValueError, r"weights\['weight'\]: .*changed"),
        (lambda: ModuleNet(nn.LazyLinear(2)), ValueError, r"module: .*lazy ones \['weight', 'bias'\]"),
        (lambda: ModuleNet(torch.jit.trace(nn.Linear(2, 1), torch.ones(1, 2))), TypeError, "module: .*ScriptModule"),
        (lambda: ModuleNet(nn.Linear(2, 1), stats_per_condition=True), ValueError, "stats_per_condition"),
        (
            lambda: _linear({"weight": torch.ones(2, 1), "bias": torch.ones(1)}),
            ValueError,
            r"weights\['weight'\]: .*\(1, 2\)",
        ),
        (lambda: _batched_linear({"inputs": None}), ValueError, "in_dims .*'input'.*'inputs'"),
        (lambda: _batched_linear({"input": 1}), ValueError, r"in_dims\['input'\]: .*None, 0.*1"),
        (lambda: ModuleNet(nn.Linear(2, 1)).using(None), ValueError, "weights: .*got None"),
        (lambda: ModuleNet(nn.Linear(2, 1)).materialize([torch.ones(1, 2)]), ValueError, "weights"),
        (lambda: ModuleNet(nn.Linear(2, 1), exclude="w"), ValueError, "exclude: .*'weight', 'bias'.*'w'"),
    ],
)
def test_wrong_use(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def _clamp_within_a_block() -> None:
    net = ModuleNet(Clamping(2, 1))
    with net.using([w[0] for w in stacked(net, 1)]) as module:
        module(torch.ones(1, 2))


def _batched_linear(in_dims: dict[str, int | None]) -> None:
    net = ModuleNet(nn.Linear(2, 1))
    net.batched_forward(input=torch.ones(3, 3, 2), weights=stacked(net, 3), in_dims=in_dims)


def _linear(weights: object) -> Tensor:
    return ModuleNet(nn.Linear(2, 1))(torch.ones(1, 2), weights=weights)


class OutputFirst(nn.Module):
    """Registers its output layer before the hidden one."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(6, 3)
        self.hidden = nn.Linear(4, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.hidden(x).relu())


def test_units_of_the_output_layer_are_masked() -> None:
    net = ModuleNet(OutputFirst(), output="out")
    weight, bias, *rest = net.get_output_weight_mask([1])
    assert rest == [None, None]
    assert weight.sum(1).tolist() == [0, 6, 0]
    assert bias.tolist() == [False, True, False]
    with pytest.raises(ValueError, match="out_inds"):
        net.get_output_weight_mask([5])
    *rest, weight, bias = ModuleNet(nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3))).get_output_weight_mask([2])
    assert rest == [None, None]
    assert weight.sum(1).tolist() == [0, 0, 6]


def test_an_output_layer_is_not_guessed() -> None:
    with pytest.raises(NotImplementedError):
        ModuleNet(OutputFirst()).get_output_weight_mask([1])
    with pytest.raises(NotImplementedError):
        ModuleNet(OutputFirst(), exclude="out.*", output="out").get_output_weight_mask([1])
    with pytest.raises(ValueError, match="output: expected the name of a linear layer of OutputFirst, got 'head'"):
        ModuleNet(OutputFirst(), output="head")
