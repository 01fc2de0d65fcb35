from __future__ import annotations

import copy
import math
import pickle
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from hypnettorch.compat.hyperlight import HyperNet, Hypernet, hypernetize, voidify
from hypnettorch.hnets import HyperNetInterface

SHAPES = {"conv.weight": (16, 8, 3, 3), "conv.bias": (16,), "norm.weight": (16,), "norm.bias": (16,)}


def make(**changed: Any) -> HyperNet:
    arguments = {"input_shapes": {"h": (3,)}, "output_shapes": SHAPES, "hidden_sizes": [16, 32]}
    return HyperNet(**{**arguments, **changed})


def output_rows(hypernet: HyperNet) -> dict[str, torch.Tensor]:
    """The rows of the output layer that belong to each target."""
    names, sizes = hypernet.output_shapes, [math.prod(shape) for shape in hypernet.output_shapes.values()]
    weight = next(p for p in hypernet.parameters() if p.dim() == 2 and len(p) == sum(sizes))
    return dict(zip(names, weight.split(sizes), strict=True))


@pytest.mark.parametrize(("encoding", "encode"), [
    (None, lambda z: z),
    ("cos|sin", lambda z: torch.cat([torch.cos(z * torch.pi / 2), torch.sin(z * torch.pi / 2)])),
    ("z|1-z", lambda z: torch.cat([z, 1 - z])),
])  # fmt: skip
def test_equation(encoding: str | None, encode: Any) -> None:
    hypernet = make(encoding=encoding)
    h = torch.rand(3)
    features = encode(h)
    *hidden, output = [module for module in hypernet.modules() if isinstance(module, nn.Linear)]
    assert output is hypernet.linear_layers[0]
    for layer in hidden:
        features = nn.functional.leaky_relu(layer(features))
    base = hypernet.get_independent_weights()
    for name, weight in hypernet(h=h).items():
        torch.testing.assert_close(weight, base[name] + (output_rows(hypernet)[name] @ features).view(SHAPES[name]))


def test_inputs_in_the_order_of_their_names() -> None:
    hypernet = make(input_shapes=[("b", (2,)), ("a", ()), ("c", (1, 2))], encoding=None)
    joined = make(input_shapes={"z": (5,)}, encoding=None)
    joined.load_state_dict(hypernet.state_dict())
    a, b, c = torch.rand(()), torch.rand(2), torch.rand(1, 2)
    expected = joined(z=torch.cat([a.view(1), b, c.view(2)]))
    for name, weight in hypernet(c=c, b=b, a=a).items():
        torch.testing.assert_close(weight, expected[name])


def test_batch() -> None:
    hypernet = make(input_shapes={"a": (2,), "b": ()})
    a, b = torch.rand(4, 2), torch.rand(4)
    together = hypernet(a=a, b=b)
    for i in range(4):
        for name, weight in hypernet(a=a[i], b=b[i]).items():
            assert weight.shape == SHAPES[name]
            torch.testing.assert_close(together[name][i], weight)
    assert hypernet(a=a, b=torch.rand(()))["conv.bias"].shape == (4, 16)
    assert hypernet(a=a[:1], b=b[:1])["conv.bias"].shape == (16,)


def test_start() -> None:
    """Fan-out Kaiming rows for each weight, 0 for biases; ω₀ is that of an ordinary network."""
    hypernet = make(hidden_sizes=[64, 256])
    rows, base = output_rows(hypernet), hypernet.get_independent_weights()
    size = math.prod(SHAPES["conv.weight"])
    assert rows["conv.weight"].std().item() == pytest.approx(math.sqrt(2 / size), rel=0.02)
    assert base["conv.weight"].std().item() == pytest.approx(math.sqrt(2 / (8 * 9)), rel=0.1)
    assert (base["norm.weight"] == 1).all()
    for name in ("conv.bias", "norm.bias", "norm.weight"):
        assert not rows[name].any()
    assert not base["conv.bias"].any()
    assert not base["norm.bias"].any()


def test_joint_start() -> None:
    hypernet = make(output_split_init=False, init_independent_weights=False, fc_kws={"init_bias": 0.25})
    rows, total = output_rows(hypernet), sum(math.prod(shape) for shape in SHAPES.values())
    assert torch.cat(list(rows.values())).std().item() == pytest.approx(math.sqrt(2 / total), rel=0.02)
    assert all(row.any() for row in rows.values())
    assert all((value == 0.25).all() for value in hypernet.get_independent_weights().values())


DISTRIBUTIONS = {
    "kaiming_normal": 2 / 32,
    "kaiming_uniform": 2 / 32,
    "kaiming_normal_fanout": 2 / 1152,
    "kaiming_uniform_fanout": 2 / 1152,
    "glorot_normal": 2 / (32 + 1152),
    "glorot_uniform": 2 / (32 + 1152),
    "orthogonal": 1 / 1152,
    "zeros": 0.0,
    None: 1 / (3 * 32),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distribution(name: str | None) -> None:
    hypernet = make(fc_kws={"init_distribution": name})
    assert output_rows(hypernet)["conv.weight"].var().item() == pytest.approx(DISTRIBUTIONS[name], rel=0.05)


def test_layer_options() -> None:
    hypernet = make(fc_kws={"dropout_prob": 0.5, "nonlinearity": "Tanh", "norm": "LayerNorm", "init_bias": None})
    hidden = next(module for module in hypernet.modules() if isinstance(module, nn.Sequential))
    assert [type(layer).__name__ for layer in hidden] == ["Linear", "LayerNorm", "Tanh", "Dropout"] * 2
    h = torch.rand(3)
    assert not torch.equal(hypernet(h=h)["conv.weight"], hypernet(h=h)["conv.weight"])
    hypernet.eval()
    assert torch.equal(hypernet(h=h)["conv.weight"], hypernet(h=h)["conv.weight"])


def test_independent_weights() -> None:
    hypernet = make()
    weights = {name: torch.randn(shape) for name, shape in SHAPES.items()}
    hypernet.set_independent_weights(weights)
    for name, value in hypernet.get_independent_weights().items():
        assert torch.equal(value, weights[name])
    trainable = len([p for p in hypernet.parameters() if p.requires_grad])
    hypernet.freeze_independent_weights()
    assert len([p for p in hypernet.parameters() if p.requires_grad]) == trainable - 1
    hypernet.unfreeze_independent_weights()
    assert len([p for p in hypernet.parameters() if p.requires_grad]) == trainable
    hypernet.init_independent_weights("zeros")
    assert not hypernet.get_independent_weights()["conv.weight"].any()


def test_from_existing() -> None:
    """A pretrained network is where it starts, if the output layer starts at 0."""
    plain = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 2)).eval()
    model, values = hypernetize(copy.deepcopy(plain), return_values=True)
    options = {"input_shapes": {"h": ()}, "hidden_sizes": [8], "fc_kws": {"init_distribution": "zeros"}}
    hypernet = HyperNet.from_existing(values, **options)
    x = torch.randn(3, 1, 6, 6)
    with model.using_externals(hypernet(h=torch.rand(()))):
        torch.testing.assert_close(model(x), plain(x))


def test_batch_of_weight_sets_is_applied() -> None:
    """A batch of hyperparameters: each trains its own weights of a recurrent network, in one pass."""

    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRU(2, 4, batch_first=True)
            self.out = nn.Linear(4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(self.cell(x)[0][:, -1])

    model = hypernetize(Reader())
    hypernet = HyperNet({"lam": ()}, model.external_shapes(), [8])
    lam, x = torch.rand(3), torch.randn(3, 5, 6, 2)
    with model.using_externals(hypernet(lam=lam)):
        y = model(x)
    for i in range(3):
        with model.using_externals(hypernet(lam=lam[i])):
            torch.testing.assert_close(model(x[i]), y[i])


def test_conditional_batch_norm_learns() -> None:
    """Two conditions that only the normalisation layer tells apart: the sign of the output."""
    model = voidify(nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Linear(8, 1)), [nn.BatchNorm1d])
    hypernet = HyperNet({"h": ()}, model.external_shapes(), [16])
    for name, value in hypernet(h=torch.zeros(())).items():
        assert (value == (1 if name.endswith("weight") else 0)).all()
    optimizer = torch.optim.Adam([*model.parameters(), *hypernet.parameters()], lr=0.02)
    x = torch.randn(2, 64, 2)
    target = torch.stack([x[0, :, :1], -x[1, :, :1]])
    for _ in range(150):
        with model.using_externals(hypernet(h=torch.tensor([0.0, 1.0]))):
            loss = (model(x) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.02


def test_is_made_of_this_package() -> None:
    hypernet = make()
    assert isinstance(hypernet.hnet, HyperNetInterface)
    assert hypernet.hnet.target_shapes == [list(shape) for shape in SHAPES.values()]
    own, inner = dict(hypernet.named_parameters()), dict(hypernet.hnet.named_parameters())
    assert {id(p) for p in own.values()} == {id(p) for p in inner.values()}
    other = make()
    other.load_state_dict(hypernet.state_dict())
    h = torch.rand(3)
    assert torch.equal(other(h=h)["conv.weight"], hypernet(h=h)["conv.weight"])
    assert torch.equal(copy.deepcopy(hypernet)(h=h)["conv.weight"], hypernet(h=h)["conv.weight"])


def xavier_init(module: nn.Module) -> None:
    """What published programs pass to ``apply``."""
    if type(module) is nn.Linear:
        nn.init.xavier_uniform_(module.weight)
        module.bias.data.fill_(0.01)


def test_output_layer_is_a_linear_layer() -> None:
    """A program's own initialisation reaches it, after the hidden layers: the numbers are those of plain PyTorch."""
    hypernet, h = make(encoding=None), torch.rand(5, 3)
    sizes = [3, 16, 32, 1200]
    layers = [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.LeakyReLU())]
    plain = nn.Sequential(*layers[:-1])
    for module in (hypernet, plain):
        torch.manual_seed(3)
        module.apply(xavier_init)
    flat = torch.cat([weight.flatten(1) for weight in hypernet(h=h).values()], dim=1)
    torch.testing.assert_close(flat, plain(h))
    (layer,) = hypernet.linear_layers
    torch.testing.assert_close(layer(torch.ones(32)), plain[-1](torch.ones(32)))
    assert (layer.in_features, layer.out_features) == (32, 1200)
    flat.sum().backward()
    assert layer.weight.grad.abs().sum() > 0


class TestOutputLayerStaysOne:
    """Whatever happens to a hypernetwork, its output layer holds the parameters that it computes with."""

    def check(self, hypernet: HyperNet, other: HyperNet) -> None:
        h = torch.rand(3)
        assert torch.equal(hypernet(h=h)["conv.weight"], other(h=h)["conv.weight"])
        assert len(list(hypernet.parameters())) == 6
        with torch.no_grad():
            hypernet.linear_layers[0].weight.zero_()
            hypernet.linear_layers[0].bias.fill_(0.5)
        assert all((weight == 0.5).all() for weight in hypernet(h=h).values())

    def test_files_hold_it_once(self) -> None:
        hypernet = make()
        state = hypernet.state_dict()
        assert len(state) == len(list(hypernet.parameters()))
        assert sorted(value.data_ptr() for value in state.values()) == sorted(
            p.data_ptr() for p in hypernet.parameters()
        )
        for assign in (False, True):
            other = make()
            assert not any(other.load_state_dict(copy.deepcopy(state), assign=assign))
            self.check(other, hypernet)

    def test_within_another_module(self) -> None:
        outer, other = nn.ModuleDict({"h": make()}), nn.ModuleDict({"h": make()})
        other.load_state_dict(outer.state_dict())
        self.check(other["h"], outer["h"])
        with pytest.raises(RuntimeError, match="Missing"):
            other.load_state_dict({})

    def test_copies(self) -> None:
        hypernet = make()
        for other in (copy.deepcopy(hypernet), pickle.loads(pickle.dumps(hypernet))):
            self.check(other, hypernet)

    def test_other_memory(self) -> None:
        hypernet = make()
        other = make().to("meta").to_empty(device="cpu")
        other.load_state_dict(hypernet.state_dict())
        self.check(other, hypernet)

    def test_replaced_parameters_are_refused(self) -> None:
        hypernet = make()
        hypernet.linear_layers[0].weight = nn.Parameter(torch.zeros(1200, 32))
        with pytest.raises(ValueError, match=r"linear_layers\[0\].weight: expected the parameter of the network"):
            hypernet(h=torch.rand(3))
        hypernet = make(fc_kws={"out_bias": False})
        torch.nn.utils.parametrizations.weight_norm(hypernet.linear_layers[0])
        with pytest.raises(ValueError, match=r"linear_layers\[0\].weight: expected the parameter of the network"):
            hypernet(h=torch.rand(3))


def test_early_name() -> None:
    hypernet = Hypernet(input_shapes={"h": (3,)}, output_shapes=SHAPES, layer_sizes=[4, 8], encoding="z|1-z")
    assert isinstance(hypernet, HyperNet)
    assert [m.out_features for m in hypernet.modules() if isinstance(m, nn.Linear)] == [4, 8, 1200]


def test_warns_outside_of_the_range() -> None:
    with pytest.warns(UserWarning, match=r"expected values in \[0, 1\]"):
        make()(h=torch.tensor([0.0, 0.5, 1.5]))


WRONG = {
    "missing": (lambda: make()(), r"inputs: expected exactly the names \['h'\], got \['h'\] missing"),
    "surplus": (lambda: make()(h=torch.rand(3), a=torch.rand(1)), r"got \['a'\] unknown"),
    "misspelt": (lambda: make()(g=torch.rand(3)), r"got \['h'\] missing; \['g'\] unknown"),
    "shape": (lambda: make()(h=torch.rand(4)), r"h: expected shape \(3,\) or \('B', 3\), got \(4,\)"),
    "batch sizes": (
        lambda: make(input_shapes={"a": (), "b": ()})(a=torch.rand(2), b=torch.rand(3)),
        "batch size",
    ),
    "encoding": (lambda: make(encoding="sin"), "encoding: expected one of None, 'cos|sin', 'z|1-z', got 'sin'"),
    "option": (lambda: make(fc_kws={"dropout": 0.1}), "fc_kws .*: expected one of 'dropout_prob'"),
    "distribution": (lambda: make(fc_kws={"init_distribution": "normal"}), "init_distribution: expected one of"),
    "nonlinearity": (lambda: make(fc_kws={"nonlinearity": "relu"}), "nonlinearity: expected the name of a module"),
    "names twice": (
        lambda: make(input_shapes=[("a", ()), ("a", ())]),
        "input_shapes: expected at least one name, each",
    ),
    "independent": (
        lambda: make().set_independent_weights({"conv.weight": torch.zeros(1)}),
        "weights: expected exactly the names",
    ),
    "independent shape": (
        lambda: make(output_shapes={"a": (2, 3)}).set_independent_weights({"a": torch.zeros(2)}),
        r"weights\['a'\]: expected shape \(2, 3\), got \(2,\)",
    ),
    "no bias": (lambda: make(fc_kws={"out_bias": False}).get_independent_weights(), "got out_bias=False"),
}


@pytest.mark.parametrize("case", WRONG)
def test_error(case: str) -> None:
    call, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        call()


def test_input_that_is_no_tensor() -> None:
    with pytest.raises(TypeError, match="h: expected a tensor, got float"):
        make()(h=0.5)
