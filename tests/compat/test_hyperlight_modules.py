from __future__ import annotations

import copy
import pickle
import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypnettorch.compat.hyperlight import (
    ExternalParameter,
    HyperConv1d,
    HyperConv2d,
    HyperConv3d,
    HyperLinear,
    HyperModule,
    find_modules_from_patterns,
    find_modules_of_type,
    find_parameters_from_patterns,
    hypernetize,
    hypernetize_single,
    voidify,
)

B = 3


class ConvNet(nn.Module):
    """A user's network: convolutions, batch norm, one layer that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.twice = nn.Conv2d(4, 4, 3, padding=1)
        self.blocks = nn.ModuleList([self.twice, nn.Conv2d(4, 4, 1, bias=False)])
        self.out = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv1(x)).relu()
        for block in [*self.blocks, self.twice]:
            x = block(x).relu()
        return self.out(x.mean((2, 3)))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.out = nn.Linear(4, 7, bias=False)
        self.out.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.embedding(tokens).tanh())


class Recurrent(nn.Module):
    """A recurrent main network."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 5, num_layers=2)
        self.out = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.lstm(x)[0][-1])


def others(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.randn(value.shape) for name, value in values.items()}


def plain_output(model: nn.Module, values: dict[str, Tensor], x: Tensor) -> Tensor:
    """What an untouched model computes with these values."""
    return torch.func.functional_call(model, values, (x,))


NETWORKS = {
    "convolutional": (ConvNet, lambda *lead: torch.randn(*lead, 5, 1, 6, 6)),
    "tied": (Tied, lambda *lead: torch.randint(7, (*lead, 4))),
    "recurrent": (Recurrent, lambda *lead: torch.randn(*lead, 4, 2, 3)),
    "attention": (lambda: nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0), lambda *lead: torch.randn(*lead, 3, 2, 4)),
    "linear": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, 2)), lambda *lead: torch.randn(*lead, 5, 2, 3)),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("training", [True, False])
class TestHypernetize:
    def test_computes_with_what_it_is_lent(self, name: str, training: bool) -> None:
        make, data = NETWORKS[name]
        plain = make().train(training)
        model, values = hypernetize(copy.deepcopy(plain), return_values=True)
        assert {key: value.shape for key, value in values.items()} == model.external_shapes()
        assert not list(model.parameters())
        assert isinstance(model, type(plain))
        assert isinstance(model, HyperModule)
        x, new = data(), others(values)
        for lent in (values, new):
            with model.using_externals(lent) as entered:
                assert entered is model
                torch.testing.assert_close(model(x), plain_output(copy.deepcopy(plain), lent, x))

    def test_stacked_equals_loop(self, name: str, training: bool) -> None:
        make, data = NETWORKS[name]
        plain = make().train(training)
        model = hypernetize(copy.deepcopy(plain))
        stacked = {key: torch.randn(B, *shape, requires_grad=True) for key, shape in model.external_shapes().items()}
        x = data(B)
        with model.using_externals(stacked):
            y = model(x)
        for b in range(B):
            one = {key: value[b] for key, value in stacked.items()}
            torch.testing.assert_close(y[b], plain_output(plain, one, x[b]), rtol=1e-4, atol=1e-5)
        y.square().sum().backward()
        assert all(value.grad is not None for value in stacked.values())


def test_some_modules_and_parameters() -> None:
    model = ConvNet()
    changed = hypernetize(
        model, modules={"any name": model.norm}, parameters=[model.out.bias], return_values=False, inplace=False
    )
    assert list(changed.external_shapes()) == ["norm.weight", "norm.bias", "out.bias"]
    assert "norm.weight" in dict(model.named_parameters())
    assert not isinstance(model, HyperModule)
    assert len(list(changed.parameters())) == len(list(model.parameters())) - 3
    values = {"norm.weight": torch.ones(4), "norm.bias": torch.zeros(4), "out.bias": model.out.bias}
    x = torch.randn(2, 1, 6, 6)
    with changed.using_externals(values):
        torch.testing.assert_close(changed(x), model(x))


def test_conditional_batch_norm() -> None:
    """Only normalisation layers as targets; each sample of a batch has its own."""
    plain = ConvNet().eval()
    model = voidify(copy.deepcopy(plain), [nn.BatchNorm2d])
    scales = {"norm.weight": torch.rand(B, 4), "norm.bias": torch.rand(B, 4)}
    x = torch.randn(B, 1, 6, 6)
    with model.using_externals(scales):
        y = model(x.unsqueeze(1)).squeeze(1)
    for b in range(B):
        torch.testing.assert_close(y[b], plain_output(plain, {k: v[b] for k, v in scales.items()}, x[b : b + 1])[0])


def test_shared_modules_stay_shared() -> None:
    model, values = hypernetize(ConvNet(), return_values=True)
    assert model.blocks[0] is model.twice
    assert "blocks.0.weight" not in values
    assert model.get_external("blocks.0.weight") is model.get_external("twice.weight")
    tied, values = hypernetize(Tied(), return_values=True)
    assert list(values) == ["embedding.weight"]
    with tied.using_externals(values):
        assert tied.out.weight is tied.embedding.weight is values["embedding.weight"]


def test_without_values() -> None:
    model = hypernetize(ConvNet())
    with pytest.raises(AttributeError, match=r"^weight: expected a value from using_externals"):
        model(torch.randn(1, 1, 6, 6))
    assert not hasattr(model.conv1, "weight")
    with pytest.raises(AttributeError, match="has no attribute 'other'"):
        _ = model.conv1.other
    assert "Conv2d(1, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))" in repr(model)
    assert "bias=False" in repr(model.blocks[1])
    assert "Linear(in_features=4, out_features=2, bias=True)" in repr(model)


def test_block_ends_as_it_began() -> None:
    model, values = hypernetize(nn.Linear(2, 1), return_values=True)
    x, zeros = torch.ones(2), {"weight": torch.zeros(1, 2), "bias": torch.zeros(1)}
    with pytest.raises(KeyError), model.using_externals(values):
        raise KeyError
    with pytest.raises(AttributeError):
        model(x)
    model.apply_externals(values)
    own = model(x)
    with model.using_externals(zeros):
        with model.using_externals({"bias": torch.ones(1)}):
            assert model(x) == 1
            assert model.get_external("bias").data == 1
        assert model(x) == 0
    assert model(x) == own
    model.reset_externals()
    with pytest.raises(AttributeError):
        model(x)


def test_threads_see_their_own_values() -> None:
    model = hypernetize(nn.Linear(1, 1, bias=False))
    seen: list[Any] = []

    def other_thread() -> None:
        try:
            model(torch.ones(1))
        except AttributeError as error:
            seen.append(error)

    with model.using_externals({"weight": torch.ones(1, 1)}):
        thread = threading.Thread(target=other_thread)
        thread.start()
        thread.join()
    assert len(seen) == 1


def test_set_externals() -> None:
    model = HyperLinear(2, 1)
    model.set_external("weight", torch.ones(1, 2))
    model.set_externals(bias=torch.ones(1))
    assert model(torch.ones(2)) == 3
    model.bias = torch.zeros(1)
    assert model(torch.ones(2)) == 2
    assert [name for name, _ in model.named_externals()] == ["weight", "bias"]
    assert [external.shape for external in model.externals()] == [(1, 2), (1,)]


def test_copy_and_pickle() -> None:
    model, values = hypernetize(ConvNet().eval(), return_values=True)
    x = torch.randn(2, 1, 6, 6)
    with model.using_externals(values):
        y = model(x)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert isinstance(other, HyperModule)
        assert isinstance(other, ConvNet)
        assert other.get_external("blocks.0.weight") is other.get_external("twice.weight")
        with other.using_externals(values):
            torch.testing.assert_close(other(x), y)
        with pytest.raises(AttributeError):
            other(x)


def test_dtype_of_the_parameter() -> None:
    model = hypernetize(nn.Linear(2, 1).to(torch.bfloat16))
    weight = torch.ones(1, 2, requires_grad=True)
    with model.using_externals({"weight": weight, "bias": torch.zeros(1)}):
        y = model(torch.ones(2, dtype=torch.bfloat16))
    assert y.dtype == torch.bfloat16
    y.backward()
    assert weight.grad.dtype == torch.float32


def test_follows_to_another_dtype() -> None:
    model, values = hypernetize(ConvNet(), return_values=True)
    model.set_external("out.bias", torch.ones(2))
    model.double()
    assert {parameter.dtype for parameter in model.externals()} == {torch.float64}
    assert model.out.bias.dtype == torch.float64
    with model.using_externals(values):
        assert model(torch.randn(2, 1, 6, 6, dtype=torch.float64)).dtype == torch.float64


class Scaled(HyperModule):
    def __init__(self) -> None:
        super().__init__()
        self.scale = ExternalParameter((2,))
        self.register_external("shift", ExternalParameter((2,), data=torch.ones(2)))
        self.own = nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale * self.own + self.shift


def test_subclass() -> None:
    module = Scaled()
    assert module.external_shapes() == {"scale": (2,), "shift": (2,)}
    assert [name for name, _ in module.named_parameters()] == ["own"]
    with module.using_externals({"scale": torch.tensor([1.0, 2.0])}):
        assert module(torch.ones(2)).tolist() == [2, 3]
    converted = module.convert_external("own")
    assert converted.shape == (2,)
    assert not list(module.parameters())
    net = nn.Sequential(Scaled(), Scaled())
    assert list(hypernetize(net).external_shapes()) == ["0.scale", "0.shift", "0.own", "1.scale", "1.shift", "1.own"]


@pytest.mark.parametrize(
    ("layer", "plain"),
    [
        (HyperLinear(4, 3, bias=False), nn.Linear(4, 3, bias=False)),
        (HyperConv1d(2, 3, 2), nn.Conv1d(2, 3, 2)),
        (HyperConv2d(2, 4, 2, groups=2), nn.Conv2d(2, 4, 2, groups=2)),
        (HyperConv3d(2, 3, 2, padding=1), nn.Conv3d(2, 3, 2, padding=1)),
    ],
    ids=["linear", "conv1d", "conv2d", "conv3d"],
)
def test_layers(layer: Any, plain: Any) -> None:
    assert isinstance(layer, type(plain))
    values = dict(plain.named_parameters())
    assert layer.external_shapes() == {name: value.shape for name, value in values.items()}
    assert layer.extra_repr() == plain.extra_repr()
    x = torch.randn(2, *((4,) if isinstance(plain, nn.Linear) else (2, *[5] * len(plain.kernel_size))))
    with layer.using_externals(values):
        torch.testing.assert_close(layer(x), plain(x))


def test_hypernetize_single() -> None:
    layer, values = hypernetize_single(nn.Linear(3, 2), ["weight"], return_parameters=True)
    assert list(values) == ["weight"]
    assert [name for name, _ in layer.named_parameters()] == ["bias"]
    with layer.using_externals(values):
        assert layer(torch.ones(3)).shape == (2,)


def test_find() -> None:
    model = ConvNet()
    assert list(find_modules_of_type(model, nn.Conv2d)) == ["conv1", "twice", "blocks.1"]
    assert list(find_modules_of_type(model, [nn.Linear, nn.BatchNorm2d])) == ["norm", "out"]
    assert list(find_modules_from_patterns(model, globs="blocks.*")) == ["blocks.1"]
    assert list(find_modules_from_patterns(model, globs=["out"], regex=["^conv"])) == ["conv1", "out"]
    assert list(find_parameters_from_patterns(model, globs="*.weight", regex="out")) == [
        "conv1.weight", "norm.weight", "twice.weight", "blocks.1.weight", "out.weight", "out.bias",
    ]  # fmt: skip
    assert not find_modules_from_patterns(model, globs="nothing")
    chosen = find_modules_from_patterns(model, regex="conv|out")
    assert list(hypernetize(model, modules=chosen).external_shapes()) == [
        "conv1.weight", "conv1.bias", "out.weight", "out.bias",
    ]  # fmt: skip


def test_external_parameter() -> None:
    parameter = ExternalParameter((2, 3))
    assert (parameter.shape, parameter.dtype) == ((2, 3), None)
    with pytest.raises(AttributeError, match="data: expected a value"):
        _ = parameter.data
    for name in ("shape", "dtype"):
        with pytest.raises(AttributeError):
            setattr(parameter, name, None)
    parameter.data = torch.ones(2, 3)
    assert parameter.data.sum() == 6
    parameter.reset()
    with pytest.raises(AttributeError):
        _ = parameter.data
    assert ExternalParameter((1,), torch.ones(1, dtype=torch.float64)).dtype == torch.float64
    assert repr(parameter) == "ExternalParameter(shape=(2, 3), dtype=None)"


LAYER = HyperLinear(2, 1)
ERRORS = {
    "unknown name": (
        lambda: LAYER.set_external("wight", torch.ones(1)),
        LookupError,
        r"externals \['weight', 'bias'\]",
    ),
    "unknown module": (lambda: LAYER.get_external("a.weight"), LookupError, "got 'a.weight'"),
    "shape": (
        lambda: LAYER.apply_externals({"weight": torch.ones(2, 1)}),
        ValueError,
        r"values\['weight'\]: expected shape \(1, 2\), or \('B', 1, 2\) .* got \(2, 1\)",
    ),
    "type": (lambda: LAYER.apply_externals({"bias": 1.0}), TypeError, r"values\['bias'\]: expected a tensor"),
    "dtype": (
        lambda: LAYER.apply_externals({"bias": torch.ones(1, dtype=torch.long)}),
        TypeError,
        "expected dtype torch.float32, got torch.int64",
    ),
    "no dictionary": (lambda: LAYER.apply_externals([torch.ones(1)]), TypeError, "values: expected Mapping"),
    "no parameter": (lambda: LAYER.convert_external("weight"), LookupError, r"one of the parameters \[\]"),
    "no external": (lambda: LAYER.register_external("a", torch.ones(1)), TypeError, "parameter: expected External"),
    "foreign module": (
        lambda: hypernetize(nn.Sequential(nn.Linear(1, 1)), modules=[nn.Linear(1, 1)]),
        ValueError,
        r"modules\[0\]: expected a submodule of the model",
    ),
    "foreign parameter": (
        lambda: hypernetize(nn.Linear(1, 1), parameters=[nn.Parameter(torch.ones(4))]),
        ValueError,
        r"parameters\[0\]: expected a parameter of the model",
    ),
    "nothing chosen": (lambda: hypernetize(nn.Linear(1, 1), modules={}), ValueError, "modules: expected at least one"),
    "no parameters": (lambda: hypernetize(nn.ReLU()), ValueError, "modules: expected at least one parameter"),
    "no list": (lambda: hypernetize(LAYER, modules=LAYER), TypeError, "modules: expected a list"),
    "no module": (lambda: hypernetize(3), TypeError, "model: expected Module, got int"),
    "unknown parameter": (lambda: hypernetize_single(nn.Linear(1, 1), ["a"]), ValueError, r"parameters\[0\]"),
    "no such type": (lambda: voidify(nn.Linear(1, 1), [nn.Conv2d]), ValueError, "module_types: expected types of"),
    "not a type": (lambda: find_modules_of_type(LAYER, ["Linear"]), TypeError, r"types\[0\]: expected a type"),
    "find in no module": (lambda: find_modules_of_type([], nn.Linear), TypeError, "model: expected Module"),
    "no pattern": (lambda: find_modules_from_patterns(LAYER), ValueError, "globs: expected at least one pattern"),
    "pattern": (lambda: find_parameters_from_patterns(LAYER, regex=[3]), TypeError, r"regex\[0\]: expected str"),
    "dtype of external": (lambda: ExternalParameter((1,), dtype="float"), TypeError, "dtype: expected dtype"),
    "shape of external": (lambda: ExternalParameter((1,), torch.ones(2, 2)), ValueError, "data: expected shape"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_error(case: str) -> None:
    call, error, message = ERRORS[case]
    with pytest.raises(error, match=message) as caught:
        call()
    assert error is not LookupError or isinstance(caught.value, ValueError)


def test_stacked_errors() -> None:
    model = HyperLinear(2, 1)
    stacked = {"weight": torch.ones(B, 1, 2), "bias": torch.ones(B, 1)}
    with model.using_externals(stacked), pytest.raises(ValueError, match="leading dimension of 3 weight sets"):
        model(torch.ones(5, 2))
    with (
        model.using_externals({**stacked, "bias": torch.ones(2, 1)}),
        pytest.raises(ValueError, match=r"bias: expected as many weight sets as the other externals \(3\), got 2"),
    ):
        model(torch.ones(B, 5, 2))
