"""Linear layers of one or many weight sets: the numbers and all derivatives of the plain expression."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
import torch.nn.functional as F
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from hypnettorch.core import formats, functional
from hypnettorch.hnets import HMLP
from hypnettorch.mnets import MLP

DOUBLE: dict[str, Any] = {"dtype": torch.float64}
TRANSFORMS = [torch.func.grad, torch.func.hessian, torch.func.jacfwd, torch.func.jacrev]
SHAPES = [((3, 4), (5, 4)), ((1, 4), (5, 4)), ((2, 3, 4), (2, 5, 4)), ((2, 1, 4), (2, 5, 4))]


@pytest.fixture
def fresh_compiler() -> None:
    """No graph of another test counts towards the limit of graphs for one function."""
    torch.compiler.reset()


def arguments(
    x_shape: tuple[int, ...], weight_shape: tuple[int, ...], bias: bool, dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    """Inputs, weight and, if wanted, as many biases."""
    shapes = [x_shape, weight_shape, *[weight_shape[:-1]] * bias]
    return [torch.randn(shape, dtype=dtype).requires_grad_() for shape in shapes]


def plain_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    y = x @ weight.mT
    return y if bias is None else y + bias.unsqueeze(-2)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize(("x_shape", "weight_shape"), SHAPES)
def test_linear_and_its_derivatives(
    x_shape: tuple[int, ...], weight_shape: tuple[int, ...], bias: bool, dtype: torch.dtype
) -> None:
    tensors = arguments(x_shape, weight_shape, bias, dtype)
    torch.testing.assert_close(functional.linear(*tensors), plain_linear(*tensors))
    assert torch.autograd.gradcheck(functional.linear, tensors, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(functional.linear, tensors)


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("in_dims", [(0, None, None), (None, 0, 0), (0, 0, None)])
def test_transforms(transform: Callable[..., Any], in_dims: tuple[int | None, ...]) -> None:
    def value(linear: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda weight, x, b: linear(x, weight, b).square().sum()

    tensors = [torch.randn(shape, **DOUBLE) for shape in ((5, 4), (3, 4), (5,))]
    stacked = [
        tensor if dim is None else torch.stack([tensor, tensor + 1])
        for tensor, dim in zip(tensors, in_dims, strict=True)
    ]
    ours, theirs = (
        torch.func.vmap(transform(value(linear)), in_dims)(*stacked) for linear in (functional.linear, plain_linear)
    )
    torch.testing.assert_close(ours, theirs)


def test_forward_over_reverse_through_a_large_output_layer() -> None:
    """The Hessian times a direction, for an output layer of 42 MB, as twice backward has it."""
    torch.manual_seed(0)
    mnet = MLP(n_in=800, n_out=10, hidden_layers=(800,), no_weights=True, verbose=False)
    hnet = HMLP(mnet.hyper_shapes_learned, layers=(8,), num_cond_embs=2, verbose=False).double()
    x = torch.rand(4, 800, **DOUBLE)
    params = {name: tensor.detach() for name, tensor in hnet.named_parameters()}

    def gradients(values: dict[str, Tensor], create_graph: bool = False) -> tuple[Tensor, ...]:
        weights = torch.func.functional_call(hnet, values, (), {"cond_id": 0})
        loss = mnet(x, weights=weights).square().mean()
        used = [tensor for name, tensor in values.items() if name != unused]
        return torch.autograd.grad(loss, used, create_graph=create_graph)

    unused = next(name for name, tensor in hnet.named_parameters() if tensor is hnet.conditional_params[1])
    with forward_ad.dual_level():
        duals = {
            name: forward_ad.make_dual(tensor.clone().requires_grad_(), torch.ones_like(tensor))
            for name, tensor in params.items()
        }
        found = [forward_ad.unpack_dual(gradient).tangent for gradient in gradients(duals)]
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in params.items()}
    total = sum(gradient.sum() for gradient in gradients(leaves, create_graph=True))
    wanted = torch.autograd.grad(total, [tensor for name, tensor in leaves.items() if name != unused])
    torch.testing.assert_close(found, list(wanted))


def test_gradients_that_someone_holds_are_not_overwritten() -> None:
    weight, x = torch.randn(50_000, 100, requires_grad=True), torch.randn(1, 100)
    first, second = (torch.autograd.grad(functional.linear(x * factor, weight).sum(), weight)[0] for factor in (1, 2))
    assert torch.equal(first, x.expand_as(first))
    assert torch.equal(second, 2 * first)


@pytest.mark.parametrize(("x_shape", "weight_shape"), SHAPES)
def test_gradients_of_a_batch_of_outputs(x_shape: tuple[int, ...], weight_shape: tuple[int, ...]) -> None:
    x, weight = arguments(x_shape, weight_shape, bias=False)

    def gradients(y: Tensor) -> tuple[Tensor, ...]:
        directions = torch.eye(y.numel(), **DOUBLE).view(-1, *y.shape)
        return torch.autograd.grad(y, (x, weight), directions, is_grads_batched=True)

    torch.testing.assert_close(gradients(functional.linear(x, weight)), gradients(x @ weight.mT))


@pytest.mark.parametrize(("x_shape", "weight_shape"), SHAPES)
def test_results_are_written_in_place(x_shape: tuple[int, ...], weight_shape: tuple[int, ...]) -> None:
    x, weight = arguments(x_shape, weight_shape, bias=False)
    y = F.relu_(functional.linear(x, weight))
    expected = F.relu(x @ weight.mT)
    torch.testing.assert_close(y, expected)
    found, wanted = (torch.autograd.grad(value.square().sum(), (x, weight)) for value in (y, expected))
    torch.testing.assert_close(found, wanted)
    with torch.no_grad():
        constant = functional.linear(x, weight)
    constant.mul_(weight.sum()).sum().backward()


def traced_and_loaded(function: Callable[..., Any]) -> Callable[..., Any]:
    def record(*args: Tensor) -> Any:
        file = io.BytesIO()
        torch.jit.save(torch.jit.trace(function, args), file)
        file.seek(0)
        return torch.jit.load(file)

    return record


@pytest.mark.parametrize("record", [make_fx, traced_and_loaded])
def test_recorded_operations_take_memory_in_every_call(record: Callable[..., Any]) -> None:
    def function(x: Tensor, weight: Tensor) -> Tensor:
        return formats.unflatten(functional.linear(x, weight), [[2], [3]])[1]

    x, weight = torch.randn(1, 4), torch.randn(5, 4)
    recorded = record(function)(x, weight)
    first, second = recorded(x, weight), recorded(2 * x, weight)
    torch.testing.assert_close(first, function(x, weight))
    torch.testing.assert_close(second, 2 * first)


def test_autocast_is_left_to_torch() -> None:
    x, weight = torch.randn(3, 4), torch.randn(5, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert functional.linear(x, weight).dtype == torch.bfloat16
        assert functional.linear(x.expand(2, 3, 4), weight.expand(2, 5, 4)).dtype == torch.bfloat16


def test_exported_graphs_take_any_batch() -> None:
    class Product(torch.nn.Module):
        def forward(self, x: Tensor, weight: Tensor) -> Tensor:
            return sum(formats.unflatten(functional.linear(x, weight), [[2], [2]]))

    batch = torch.export.Dim("batch", min=2, max=2**40)
    program = torch.export.export(Product(), (torch.randn(3, 5), torch.randn(4, 5)), dynamic_shapes=({0: batch}, None))
    assert program.module()(torch.randn(7, 5), torch.randn(4, 5)).shape == (7, 2)


class FunctionalLinear(torch.nn.Module):
    """A linear layer by our function."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = torch.nn.Parameter(torch.randn(5, 4)), torch.nn.Parameter(torch.randn(5))

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight, self.bias)


class Counted(Tensor):
    """A tensor with operations of its own."""


def test_subclasses_are_left_to_torch() -> None:
    x, weight = torch.randn(3, 4).as_subclass(Counted), torch.randn(5, 4)
    assert isinstance(functional.linear(x, weight), Counted)
    assert isinstance(formats.unflatten(x, [[1], [3]])[0], Counted)


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize(("x_shape", "weight_shape"), SHAPES)
def test_compiled_graphs_have_the_same_derivatives(
    x_shape: tuple[int, ...], weight_shape: tuple[int, ...], bias: bool, dtype: torch.dtype
) -> None:
    tensors = arguments(x_shape, weight_shape, bias, dtype)
    y = torch.compile(functional.linear, fullgraph=True, backend="aot_eager")(*tensors)
    wanted = plain_linear(*tensors)
    torch.testing.assert_close(y, wanted)
    found, of_wanted = (torch.autograd.grad(value.sin().abs().sum(), tensors) for value in (y, wanted))
    torch.testing.assert_close(found, of_wanted)


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda f: f.__name__)
def test_compiled_graphs_transform(rows: int, transform: Callable[..., Any]) -> None:
    x, weight = torch.randn(rows, 4), torch.randn(5, 4)

    def derivative(weight: Tensor) -> Tensor:
        return transform(lambda weight: functional.linear(x, weight).sin().sum())(weight)

    compiled = torch.compile(derivative, fullgraph=True, backend="aot_eager")
    expected = transform(lambda weight: (x @ weight.T).sin().sum())(weight)
    torch.testing.assert_close(compiled(weight), expected)


@pytest.mark.parametrize("strict", [True, False])
def test_exported_graphs_have_gradients(strict: bool) -> None:
    layer, x = FunctionalLinear(), torch.randn(1, 4)
    exported = torch.export.export(layer, (x,), strict=strict).module()
    torch.testing.assert_close(exported(x), layer(x))
    found = torch.autograd.grad(exported(x).sin().sum(), list(exported.parameters()))
    torch.testing.assert_close(found, torch.autograd.grad(layer(x).sin().sum(), list(layer.parameters())))


@pytest.mark.usefixtures("fresh_compiler")
def test_compiled_graphs_take_any_number_of_rows() -> None:
    x, weight = torch.randn(3, 4), torch.randn(5, 4)
    torch._dynamo.mark_dynamic(x, 0)
    compiled = torch.compile(functional.linear, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, weight), x @ weight.T)
    with torch.compiler.set_stance("fail_on_recompile"):
        torch.testing.assert_close(compiled(torch.ones(7, 4), weight), torch.ones(7, 4) @ weight.T)
