"""Large tensors: the same numbers and derivatives, in memory of a pool."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from hypnettorch.core import functional, large_tensors
from hypnettorch.core.block_pool import BlockPool
from tests.conformance.registry import HYPERNETWORKS, MAIN_NETWORKS, Entry
from tests.conformance.test_contract import check, public_limits

DOUBLE: dict[str, Any] = {"dtype": torch.float64}
TRANSFORMS = [torch.func.grad, torch.func.hessian, torch.func.jacfwd, torch.func.jacrev]
SHAPES = [((3, 4), (5, 4)), ((1, 4), (5, 4)), ((2, 3, 4), (2, 5, 4)), ((2, 1, 4), (2, 5, 4))]


@pytest.fixture
def all_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tensor counts as large."""
    monkeypatch.setattr(large_tensors, "LARGE", 1)


@pytest.fixture
def fresh_compiler() -> None:
    """No graph of another test counts towards the limit of graphs for one function."""
    torch.compiler.reset()


def arguments(
    x_shape: tuple[int, ...], weight_shape: tuple[int, ...], bias: bool, dtype: torch.dtype = torch.float64
) -> list[Tensor | None]:
    bias_shape = (weight_shape[0], 1, weight_shape[1]) if len(weight_shape) == 3 else weight_shape[:1]
    tensors = [torch.randn(shape, dtype=dtype).requires_grad_() for shape in (x_shape, weight_shape, bias_shape)]
    return [*tensors[:2], tensors[2] if bias else None]


@pytest.mark.usefixtures("all_large")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize(("x_shape", "weight_shape"), SHAPES)
def test_linear_and_its_derivatives(
    x_shape: tuple[int, ...], weight_shape: tuple[int, ...], bias: bool, dtype: torch.dtype
) -> None:
    x, weight, b = arguments(x_shape, weight_shape, bias, dtype)
    expected = x @ weight.mT + (0 if b is None else b)
    torch.testing.assert_close(large_tensors.linear(x, weight, b), expected)
    assert torch.autograd.gradcheck(large_tensors.linear, (x, weight, b), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(large_tensors.linear, (x, weight, b))


@pytest.mark.usefixtures("all_large")
def test_split_and_its_derivatives() -> None:
    flat = torch.randn(3, 7, **DOUBLE).requires_grad_()

    def parts(flat: Tensor) -> tuple[Tensor, ...]:
        return tuple(large_tensors.split(flat * 1, [2, 4, 1]))

    for ours, theirs in zip(parts(flat), flat.split([2, 4, 1], dim=-1), strict=True):
        assert torch.equal(ours, theirs)
    assert torch.autograd.gradcheck(parts, (flat,), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(parts, (flat,))


@pytest.mark.usefixtures("all_large")
def test_parts_that_nobody_uses_have_no_gradient() -> None:
    flat = torch.ones(2, 5, requires_grad=True)
    large_tensors.split(flat, [2, 3])[1].sum().backward()
    assert torch.equal(flat.grad, torch.tensor([[0.0, 0, 1, 1, 1]] * 2))


@pytest.mark.usefixtures("all_large")
@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("in_dims", [(0, None, None), (None, 0, 0), (0, 0, None)])
def test_transforms(transform: Callable[..., Any], in_dims: tuple[int | None, ...]) -> None:
    def value(linear: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda weight, x, b: linear(x, weight, b).square().sum()

    tensors = [torch.randn(shape, **DOUBLE) for shape in ((5, 4), (3, 4), (5,))]
    x, weight, b = (
        tensor if dim is None else torch.stack([tensor, tensor + 1])
        for tensor, dim in zip((tensors[1], tensors[0], tensors[2]), in_dims, strict=True)
    )
    order = (in_dims[1], in_dims[0], in_dims[2])
    ours, theirs = (
        torch.func.vmap(transform(value(linear)), order)(weight, x, b) for linear in (large_tensors.linear, F.linear)
    )
    torch.testing.assert_close(ours, theirs)


@pytest.mark.usefixtures("all_large")
@pytest.mark.parametrize(
    "entry",
    [
        entry
        for entry in (*MAIN_NETWORKS, *HYPERNETWORKS)
        if entry.name.split(",")[0].split(" ")[0] in ("MLP", "LeNet", "HMLP", "ChunkedHMLP", "StructuredHMLP")
    ],
    ids=lambda entry: entry.name,
)
def test_networks_keep_their_contract(entry: Entry) -> None:
    check(entry, public_limits(entry))


class Recorder(BlockPool):
    """A pool that remembers which memory it gave."""

    def __init__(self) -> None:
        super().__init__(most_kept=0)
        self.addresses: list[int] = []

    def take(self, num_bytes: int) -> memoryview:
        view = super().take(num_bytes)
        self.addresses.append(torch.frombuffer(view, dtype=torch.uint8).data_ptr())
        return view


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    found = Recorder()
    monkeypatch.setattr(large_tensors, "_pool", found)
    return found


def test_large_tensors_only_are_in_memory_of_the_pool(recorder: Recorder) -> None:
    like = torch.zeros(1)
    large_tensors.empty([1000, 1000], like)
    assert not recorder.addresses
    tensor = large_tensors.empty([3000, 2000], like)
    assert tensor.shape == (3000, 2000)
    assert recorder.addresses == [tensor.data_ptr()]
    assert large_tensors.empty([3000, 2000], like.half()).dtype == torch.float16


@pytest.mark.parametrize("rows", [1, 3])
def test_gradients_of_large_weights_are_in_memory_of_the_pool(recorder: Recorder, rows: int) -> None:
    """And they become the gradient of the parameter as they are, without a copy."""
    weight = torch.randn(50_000, 100, requires_grad=True)
    functional.linear(torch.randn(rows, 100), weight).sum().backward()
    assert weight.grad.data_ptr() == recorder.addresses[-1]
    stacked = torch.randn(5, 10_000, 100, requires_grad=True)
    functional.linear(torch.randn(5, rows, 100), stacked, torch.zeros(5, 10_000)).sum().backward()
    assert stacked.grad.data_ptr() == recorder.addresses[-1]


def test_gradients_of_large_flat_weights_are_in_memory_of_the_pool(recorder: Recorder) -> None:
    flat = torch.randn(50, 100_000, requires_grad=True)
    sum(part.sum() for part in large_tensors.split(flat, [60_000, 40_000])).backward()
    assert flat.grad.data_ptr() == recorder.addresses[-1]


def test_gradients_that_someone_holds_are_not_overwritten() -> None:
    weight, x = torch.randn(50_000, 100, requires_grad=True), torch.randn(1, 100)
    first, second = (torch.autograd.grad(functional.linear(x * factor, weight).sum(), weight)[0] for factor in (1, 2))
    assert torch.equal(first, x.expand_as(first))
    assert torch.equal(second, 2 * first)


def test_tensors_of_the_pool_are_copied_saved_and_shared() -> None:
    def tensor() -> Tensor:
        return large_tensors.empty([3000, 2000], torch.zeros(1)).fill_(3)

    saved = io.BytesIO()
    torch.save(tensor(), saved)
    saved.seek(0)
    shared = tensor().share_memory_()
    array = tensor().numpy()
    large_tensors.empty([3000, 2000], torch.zeros(1)).fill_(5)
    for found in (copy.deepcopy(tensor()), torch.load(saved), shared, torch.from_numpy(array)):
        assert (found == 3).all()


def test_other_systems_have_ordinary_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_tensors, "_pool", None)
    assert large_tensors.empty([3000, 2000], torch.zeros(1)).shape == (3000, 2000)


@pytest.mark.usefixtures("all_large")
@pytest.mark.parametrize(("x_shape", "weight_shape"), SHAPES)
def test_gradients_of_a_batch_of_outputs(x_shape: tuple[int, ...], weight_shape: tuple[int, ...]) -> None:
    x, weight, _ = arguments(x_shape, weight_shape, bias=False)

    def gradients(y: Tensor) -> tuple[Tensor, ...]:
        directions = torch.eye(y.numel(), **DOUBLE).view(-1, *y.shape)
        return torch.autograd.grad(y, (x, weight), directions, is_grads_batched=True)

    torch.testing.assert_close(gradients(large_tensors.linear(x, weight)), gradients(x @ weight.mT))
    torch.testing.assert_close(
        gradients(large_tensors.split((x @ weight.mT), [2, 3])[1]), gradients((x @ weight.mT)[..., 2:])
    )


@pytest.mark.usefixtures("all_large")
@pytest.mark.parametrize(("x_shape", "weight_shape"), SHAPES)
def test_results_are_written_in_place(x_shape: tuple[int, ...], weight_shape: tuple[int, ...]) -> None:
    x, weight, _ = arguments(x_shape, weight_shape, bias=False)
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


@pytest.mark.usefixtures("all_large")
@pytest.mark.parametrize("record", [make_fx, traced_and_loaded])
def test_recorded_operations_take_memory_in_every_call(record: Callable[..., Any]) -> None:
    def function(x: Tensor, weight: Tensor) -> Tensor:
        return large_tensors.split(functional.linear(x, weight), [2, 3])[1]

    x, weight = torch.randn(1, 4), torch.randn(5, 4)
    recorded = record(function)(x, weight)
    first, second = recorded(x, weight), recorded(2 * x, weight)
    torch.testing.assert_close(first, function(x, weight))
    torch.testing.assert_close(second, 2 * first)


@pytest.mark.usefixtures("all_large")
def test_autocast_is_left_to_torch() -> None:
    x, weight = torch.randn(3, 4), torch.randn(5, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert functional.linear(x, weight).dtype == torch.bfloat16
        assert not large_tensors.linear_is_large(x, weight)
    assert large_tensors.linear_is_large(x, weight)


def test_exported_graphs_take_any_batch() -> None:
    class Product(torch.nn.Module):
        def forward(self, x: Tensor, weight: Tensor) -> Tensor:
            return sum(large_tensors.split(functional.linear(x, weight), [2, 2]))

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


@pytest.mark.usefixtures("all_large")
def test_subclasses_are_left_to_torch() -> None:
    x, weight = torch.randn(3, 4).as_subclass(Counted), torch.randn(5, 4)
    assert not large_tensors.linear_is_large(x, weight)
    assert isinstance(large_tensors.split(x, [1, 3])[0], Counted)


@pytest.mark.usefixtures("all_large", "fresh_compiler")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize(("x_shape", "weight_shape"), SHAPES)
def test_compiled_graphs_have_the_same_derivatives(
    x_shape: tuple[int, ...], weight_shape: tuple[int, ...], bias: bool, dtype: torch.dtype
) -> None:
    def gradients(x: Tensor, weight: Tensor, b: Tensor | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        y = functional.linear(x, weight, b)
        return y, torch.autograd.grad(y.sin().abs().sum(), [tensor for tensor in (x, weight, b) if tensor is not None])

    x, weight, b = arguments(x_shape, weight_shape, bias, dtype)
    if b is not None:  # as many as there are weights
        b = b.detach().reshape(weight_shape[:-1]).requires_grad_()
    graph = torch.compile(functional.linear, fullgraph=True, backend="aot_eager")
    y = graph(x, weight, b)
    wanted, of_wanted = gradients(x, weight, b)
    torch.testing.assert_close(y, wanted)
    found = torch.autograd.grad(y.sin().abs().sum(), [tensor for tensor in (x, weight, b) if tensor is not None])
    torch.testing.assert_close(found, of_wanted)


@pytest.mark.usefixtures("all_large", "fresh_compiler")
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda f: f.__name__)
def test_compiled_graphs_transform(rows: int, transform: Callable[..., Any]) -> None:
    x, weight = torch.randn(rows, 4), torch.randn(5, 4)

    def derivative(weight: Tensor) -> Tensor:
        return transform(lambda weight: functional.linear(x, weight).sin().sum())(weight)

    compiled = torch.compile(derivative, fullgraph=True, backend="aot_eager")
    expected = transform(lambda weight: (x @ weight.T).sin().sum())(weight)
    torch.testing.assert_close(compiled(weight), expected)


@pytest.mark.usefixtures("all_large")
@pytest.mark.parametrize("strict", [True, False])
def test_exported_graphs_have_gradients(strict: bool) -> None:
    layer, x = FunctionalLinear(), torch.randn(1, 4)
    exported = torch.export.export(layer, (x,), strict=strict).module()
    torch.testing.assert_close(exported(x), layer(x))
    found = torch.autograd.grad(exported(x).sin().sum(), list(exported.parameters()))
    torch.testing.assert_close(found, torch.autograd.grad(layer(x).sin().sum(), list(layer.parameters())))


@pytest.mark.usefixtures("all_large", "fresh_compiler")
def test_compiled_graphs_take_any_number_of_rows() -> None:
    x, weight = torch.randn(3, 4), torch.randn(5, 4)
    torch._dynamo.mark_dynamic(x, 0)
    compiled = torch.compile(functional.linear, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, weight), x @ weight.T)
    with torch.compiler.set_stance("fail_on_recompile"):
        torch.testing.assert_close(compiled(torch.ones(7, 4), weight), torch.ones(7, 4) @ weight.T)


@pytest.mark.usefixtures("fresh_compiler")
def test_gradients_of_compiled_graphs_are_in_memory_of_the_pool(recorder: Recorder) -> None:
    x, weight = torch.randn(1, 100, requires_grad=True), torch.randn(50_000, 100, requires_grad=True)
    compiled = torch.compile(lambda: functional.linear(x, weight).sin().sum(), fullgraph=True, backend="aot_eager")
    compiled().backward()
    assert weight.grad.data_ptr() == recorder.addresses[-1]
    expected = torch.autograd.grad((x @ weight.T).sin().sum(), [x, weight])
    torch.testing.assert_close([x.grad, weight.grad], list(expected))


def test_the_operation_of_graphs_keeps_the_rules_of_operations() -> None:
    from hypnettorch.core import large_tensors_in_graphs

    assert large_tensors_in_graphs.linear(torch.ones(1, 2), torch.ones(3, 2), None).shape == (1, 3)
    torch.library.opcheck(torch.ops.hypnettorch.outer_product.default, (torch.randn(5, 1), torch.randn(1, 4)))
