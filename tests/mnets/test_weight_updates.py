"""Low-rank updates in a ModuleNet: they are what their products are, and the products are not formed."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from hypnettorch.core import trees
from hypnettorch.core.low_rank import LowRank, add_adapters, matrix_shape, sum_of_stacked
from hypnettorch.hnets import HMLP, HLowRank
from hypnettorch.mnets.layer_types import register_layer
from hypnettorch.mnets.module_net import ModuleNet
from tests.mnets.test_module_net import Clamping, TiedModel

SETS = 3


def adapted(name: str, parameter: nn.Parameter) -> bool:
    return parameter.dim() > 1 or name.endswith("scale.weight")


class Halved(nn.Linear):
    """Its output is not what a linear layer makes of its weight."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 2


def gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"vocab_size": 12, "n_positions": 8, "n_embd": 8, "n_layer": 2, "n_head": 2, "bos_token_id": 0}
    off = {"use_cache": False, "attn_implementation": "eager", "resid_pdrop": 0, "embd_pdrop": 0, "attn_pdrop": 0}
    return GPT2LMHeadModel(GPT2Config(**sizes, **off, eos_token_id=1))


def norms() -> nn.Module:
    """Scales of normalised activations, whose updates are vectors, between layers with other adapters."""
    from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    scales = (
        nn.LayerNorm(9),
        nn.LayerNorm([5, 9], bias=False),
        nn.RMSNorm(9, 1e-3),
        LlamaRMSNorm(9, 1e-3),
        GemmaRMSNorm(9),
    )
    layers = [nn.Sequential(OrderedDict(scale=scale, linear=nn.Linear(9, 9))) for scale in scales]
    for scale in scales:
        nn.init.normal_(scale.weight, 1.0, 0.3)
    return nn.Sequential(*layers)


TOKENS = torch.tensor([[3, 0, 5, 3], [1, 6, 2, 0]])

FACTORED: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "linear": (lambda: nn.Sequential(nn.Linear(40, 30), nn.Tanh(), nn.Linear(30, 50, bias=False)), torch.randn(2, 40)),
    "conv 1d": (lambda: nn.Conv1d(20, 24, 5, padding="same", dilation=2), torch.randn(2, 20, 6)),
    "conv 2d": (lambda: nn.Conv2d(12, 20, 3, stride=2, padding=1, padding_mode="circular"), torch.randn(2, 12, 4, 4)),
    "conv 2d in groups": (lambda: nn.Conv2d(12, 18, 3, groups=3, padding_mode="reflect"), torch.randn(2, 12, 3, 3)),
    "conv 2d of one image": (lambda: nn.Conv2d(12, 18, 3), torch.randn(12, 4, 4)),
    "conv 3d": (lambda: nn.Conv3d(6, 8, (3, 2, 1)), torch.randn(2, 6, 4, 3, 2)),
    "embedding": (lambda: nn.Embedding(50, 8, padding_idx=0), TOKENS),
    "tied": (TiedModel, TOKENS),
    "gpt2": (gpt2, TOKENS),
    "norms": (norms, torch.randn(2, 5, 9)),
    "twice used": (lambda: nn.Sequential(layer := nn.Linear(9, 9), nn.Tanh(), layer), torch.randn(2, 9)),
}
"""Modules whose layers add updates to their output."""

SUMMED: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "transposed convolution": (lambda: nn.ConvTranspose2d(4, 3, 3), torch.randn(2, 4, 4, 4)),
    "attention": (lambda: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), torch.randn(2, 5, 8)),
    "lstm": (lambda: nn.LSTM(3, 4), torch.randn(5, 2, 3)),
    "weight norm": (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), torch.randn(2, 4)),
    "subclass": (lambda: nn.Sequential(Halved(4, 3)), torch.randn(2, 4)),
    "gru cell": (lambda: nn.GRUCell(3, 4), torch.randn(2, 3)),
}
"""Modules with layers that compute with the sum."""

ALL = {**FACTORED, **SUMMED}


def make(name: str) -> tuple[ModuleNet, Tensor]:
    """In double precision, in which different orders of summation make no difference."""
    torch.manual_seed(1)
    build, x = ALL[name]
    return ModuleNet(build().double(), include=adapted), x.double() if x.is_floating_point() else x


def first(output: Any) -> Tensor:
    return trees.tensors(output)[0]


def draw(net: ModuleNet, *lead: int, rank: int = 2, scale: float = 0.3) -> dict[str, LowRank]:
    shapes = {name: matrix_shape(shape) for name, shape in net.selected_shapes.items()}
    return {
        name: LowRank(scale * torch.randn(*lead, rank, columns), scale * torch.randn(*lead, rows, rank))
        for name, (rows, columns) in shapes.items()
    }


def full(net: ModuleNet, updates: dict[str, LowRank]) -> dict[str, Tensor]:
    """The sums that updates stand for."""
    own = zip(net.selected_shapes.items(), net.initial_weights(), strict=True)
    return {name: base + updates[name].product(shape) for (name, shape), base in own}


def close(got: Any, expected: Any) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_values_and_gradients_are_those_of_the_sum(name: str) -> None:
    net, x = make(name)
    own = [w.clone() for w in net.initial_weights()]
    before = first(net.module(x))
    updates = {name: LowRank(*(t.requires_grad_() for t in pair)) for name, pair in draw(net).items()}
    leaves = trees.tensors(updates)
    output, expected = first(net(x, weights=updates)), first(net(x, weights=full(net, updates)))
    assert not torch.allclose(output, before, rtol=1e-3, atol=1e-4)
    close(output, expected)
    close(torch.autograd.grad(output.square().sum(), leaves), torch.autograd.grad(expected.square().sum(), leaves))
    with net.using(updates) as module:
        close(first(module(x)), expected)
    plain = net.materialize(updates)
    close(first(plain(x)), expected)
    assert not any(isinstance(value, LowRank) for value in vars(plain).values())
    torch.testing.assert_close(net.initial_weights(), own, rtol=0, atol=0)
    torch.testing.assert_close(first(net.module(x)), before, rtol=0, atol=0)


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("name", ALL)
def test_batched_forward_equals_a_loop(name: str, share: bool) -> None:
    """Several adapters for one input, and a different adapter for each sample."""
    net, x = make(name)
    net.eval()
    updates = draw(net, SETS)
    inputs = x if share else torch.stack([x, x.flip(0), x])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # convolutions of one image and some others have slow rules
        output = first(net.batched_forward(inputs, weights=updates, share_input=share))
    for b in range(SETS):
        one = {name: (A[b], B[b]) for name, (A, B) in updates.items()}
        close(output[b], first(net(x if share else inputs[b], weights=one)))


class Observer(TorchDispatchMode):
    """Finds new tensors with at least as many elements as a weight."""

    def __init__(self, net: ModuleNet) -> None:
        super().__init__()
        self.least = min(weight.numel() for weight in net.initial_weights())
        self.storages = {weight.untyped_storage().data_ptr() for weight in net.initial_weights()}
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        for tensor in trees.tensors(output):
            if tensor.numel() >= self.least and tensor.untyped_storage().data_ptr() not in self.storages:
                self.found.append(f"{func}: {tuple(tensor.shape)}")
        return output


@contextmanager
def observed(net: ModuleNet) -> Iterator[list[str]]:
    with Observer(net) as observer:
        yield observer.found


LARGE: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "linear": (lambda: nn.Sequential(nn.Linear(40, 30), nn.Tanh(), nn.Linear(30, 50)), torch.randn(2, 40)),
    "conv 2d": (lambda: nn.Conv2d(16, 20, 3), torch.randn(1, 16, 3, 3)),
    "conv 2d in groups": (lambda: nn.Conv2d(30, 40, 3, groups=2), torch.randn(1, 30, 3, 3)),
    "embedding": (lambda: nn.Embedding(50, 30), TOKENS),
    "conv1d of transformers": (lambda: _conv1d(40, 60), torch.randn(2, 40)),
    "transposed convolution": (lambda: nn.ConvTranspose2d(16, 20, 3), torch.randn(1, 16, 1, 1)),
}


def _conv1d(n_in: int, n_out: int) -> nn.Module:
    from transformers.pytorch_utils import Conv1D

    return Conv1D(n_out, n_in)


@pytest.mark.parametrize("name", LARGE)
def test_no_product_is_formed(name: str) -> None:
    """Neither on the way there nor on the way back, and not for several adapters either."""
    build, x = LARGE[name]
    net = ModuleNet(build(), include=adapted).requires_grad_(False)
    updates = {name: LowRank(*(t.requires_grad_() for t in pair)) for name, pair in draw(net, rank=1).items()}
    with observed(net) as found:
        net(x, weights=updates).sum().backward()
    expected = name == "transposed convolution"
    assert bool(found) is expected, found
    with observed(net) as found:
        net.batched_forward(x, weights=draw(net, 2, rank=1), share_input=True)
    assert bool(found) is expected, found


@pytest.mark.parametrize("name", ["linear", "conv 2d in groups", "embedding"])
def test_one_graph(name: str) -> None:
    net, x = make(name)
    updates = draw(net)
    compiled = torch.compile(lambda weights: first(net(x, weights=weights)), fullgraph=True, backend="aot_eager")
    close(compiled(updates), first(net(x, weights=updates)))
    torch._dynamo.reset()


@pytest.mark.parametrize("name", ["linear", "conv 2d in groups", "embedding", "weight norm"])
def test_gradcheck(name: str) -> None:
    """Through the hypernetwork, its gates and the main network."""
    build: dict[str, Callable[[], nn.Module]] = {
        "linear": lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)),
        "conv 2d in groups": lambda: nn.Conv2d(4, 6, 2, groups=2),
        "embedding": lambda: nn.Embedding(8, 3),
        "weight norm": SUMMED["weight norm"][0],
    }
    x = {"linear": torch.randn(2, 3), "conv 2d in groups": torch.randn(1, 4, 3, 3), "embedding": TOKENS}
    arguments = x.get(name, torch.randn(2, 4))
    arguments = arguments.double() if arguments.is_floating_point() else arguments
    net = ModuleNet(build[name]().double(), include=adapted)
    hnet = HLowRank(lambda s: HMLP(s, layers=(), cond_in_size=2, verbose=False), net, rank=1, verbose=False).double()
    nn.init.normal_(hnet.gates)

    def run(embedding: Tensor, gates: Tensor) -> Tensor:
        weights = [*hnet.internal_hnet.unconditional_params, gates]
        return net(arguments, weights=hnet.factors(cond_input=embedding, weights={"uncond_weights": weights}))

    inputs = (torch.randn(1, 2).double().requires_grad_(), hnet.gates)
    assert torch.autograd.gradcheck(run, inputs)
    if name != "weight norm":  # its second derivative is wrong in torch 2.13
        assert torch.autograd.gradgradcheck(run, inputs)


def test_bfloat16_and_autocast() -> None:
    for name in ("linear", "conv 2d", "tied", "transposed convolution"):
        build, x = ALL[name]
        module = build()
        reference = ModuleNet(copy.deepcopy(module), include=adapted)
        net = ModuleNet(module.bfloat16(), include=adapted)
        updates = {name: LowRank(*(t.requires_grad_() for t in pair)) for name, pair in draw(net).items()}
        expected = reference(x, weights=updates)
        output = net(x.bfloat16() if x.is_floating_point() else x, weights=updates)
        assert output.dtype == torch.bfloat16
        torch.testing.assert_close(output.float(), expected, rtol=0.1, atol=0.1)
        output.sum().backward()
        assert all(leaf.grad.dtype == torch.float32 for leaf in trees.tensors(updates))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            torch.testing.assert_close(reference(x, weights=updates).float(), expected, rtol=0.1, atol=0.1)
            stacked = {name: LowRank(A[None], B[None]) for name, (A, B) in updates.items()}
            batched = reference.batched_forward(x, weights=stacked, share_input=True)
            torch.testing.assert_close(batched[0].float(), expected, rtol=0.1, atol=0.1)


def test_tied_weights_change_in_all_their_places() -> None:
    net = ModuleNet(TiedModel())
    update = LowRank(torch.randn(2, 4), torch.randn(7, 2))
    weight = net.initial_weights()[0] + update.B @ update.A
    tokens = torch.tensor([1, 2])
    close(net(tokens, weights={"embedding.weight": update}), weight[tokens] @ weight.T)
    assert net.names_of("embedding.weight") == ["embedding.weight", "head.weight"]
    plain = net.materialize({0: update})
    assert plain.head.weight is plain.embedding.weight


def test_mixed_dictionaries() -> None:
    net = ModuleNet(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)))
    x = torch.randn(2, 4)
    update, bias = LowRank(torch.randn(2, 4), torch.randn(5, 2)), torch.randn(3)
    own = dict(zip(net.selected_shapes, net.initial_weights(), strict=True))
    expected = net(x, weights={**own, "0.weight": own["0.weight"] + update.B @ update.A, "2.bias": bias})
    close(net(x, weights={"0.weight": update, "2.bias": bias}), expected)
    close(net(x, weights={0: list(update), 3: bias}), expected)
    stacked = {"0.weight": LowRank(update.A[None], update.B[None]), "2.bias": bias[None]}
    close(net.batched_forward(x, weights=stacked, share_input=True)[0], expected)
    close(net.materialize({"0.weight": update, "2.bias": bias})(x), expected)


def test_adapters_add_up() -> None:
    net, x = make("linear")
    stacked = draw(net, SETS)
    parts = [{name: LowRank(A[b], B[b]) for name, (A, B) in stacked.items()} for b in range(SETS)]
    weights = full(net, parts[0])
    for part in parts[1:]:
        weights = {name: weights[name] + pair.product(weights[name].shape) for name, pair in part.items()}
    for joint in (add_adapters(*parts), sum_of_stacked(stacked)):
        assert joint["0.weight"].rank == 2 * SETS
        close(net(x, weights=joint), net(x, weights=weights))
    some = add_adapters(parts[0], {"0.weight": parts[1]["0.weight"]})
    assert [pair.rank for pair in some.values()] == [4, 2]
    both = add_adapters(stacked, stacked)
    close(net.batched_forward(x, weights=both, share_input=True)[1], net(x, weights=add_adapters(parts[1], parts[1])))


def test_blocks_nest_and_updates_are_of_the_own_values() -> None:
    net = ModuleNet(nn.Linear(2, 1, bias=False))
    x, own = torch.ones(1, 2), net.initial_weights()[0].sum().item()
    update = {"weight": LowRank(torch.ones(1, 2), torch.ones(1, 1))}
    with net.using({"weight": torch.full((1, 2), 5.0)}) as module:
        with net.using(update):
            assert module(x).item() == pytest.approx(own + 2)
        assert module(x).item() == 10.0
    with pytest.raises(KeyError), net.using(update):
        raise KeyError
    assert module(x).item() == pytest.approx(own)


def test_a_reader_of_the_weight_sees_the_sum() -> None:
    net, _ = make("linear")
    updates = draw(net)
    with net.using(updates) as module:
        close(module[0].weight, full(net, updates)["0.weight"])


def test_hooks_and_further_names() -> None:
    net, x = make("linear")
    seen = []
    net.module[0].register_forward_hook(lambda layer, given, output: seen.append(output))
    updates = draw(net)
    net(x, weights=updates)
    close(seen[0], nn.functional.linear(x, full(net, updates)["0.weight"], net.module[0].bias))


def test_an_embedding_with_bounded_rows_rescales_its_own_copy() -> None:
    module = nn.Embedding(5, 2, max_norm=0.1)
    net, update = ModuleNet(copy.deepcopy(module)), pair(1, 2, 5)
    weight = module.weight.detach() + update.B @ update.A
    with torch.no_grad():
        module.weight.copy_(weight)
    for weights in ({0: update}, [weight]):
        before = [t.clone() for t in trees.tensors(weights)]
        torch.testing.assert_close(net(TOKENS % 5, weights=weights), module(TOKENS % 5))
        assert all(torch.equal(*both) for both in zip(before, trees.tensors(weights), strict=True))


def test_register_a_foreign_layer() -> None:
    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    register_layer(Doubled, term=lambda layer, x, update: 2 * (x @ update.A.mT @ update.B.mT))
    net = ModuleNet(Doubled(40, 30), include=adapted)
    updates, x = draw(net), torch.randn(2, 40)
    with observed(net) as found:
        output = net(x, weights=updates)
    assert not found
    close(output, net(x, weights=full(net, updates)))


@pytest.mark.parametrize("name", ["linear", "conv 2d in groups", "tied"])
def test_copies(name: str) -> None:
    net, x = make(name)
    updates = draw(net)
    expected = first(net(x, weights=updates))
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        torch.testing.assert_close(first(twin(x, weights=updates)), expected, rtol=0, atol=0)


def pair(rank: int = 1, n_in: int = 2, n_out: int = 1, *lead: int) -> LowRank:
    return LowRank(torch.ones(*lead, rank, n_in), torch.ones(*lead, n_out, rank))


def call(weights: Any, module: nn.Module | None = None) -> Tensor:
    return ModuleNet(module or nn.Linear(2, 1))(torch.ones(1, 2), weights=weights)


def call_batched(weights: Any) -> Tensor:
    return ModuleNet(nn.Linear(2, 1)).batched_forward(torch.ones(1, 2), weights=weights, share_input=True)


WRONG: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "columns": (lambda: call({"weight": pair(n_in=3)}), ValueError, r"weights\['weight'\], A: .*\(r, 2\).*\(1, 3\)"),
    "rows": (lambda: call({"weight": pair(n_out=3)}), ValueError, r"weights\['weight'\], B: .*\(1, 1\).*\(3, 1\)"),
    "ranks": (
        lambda: call({"weight": (torch.ones(2, 2), torch.ones(1, 3))}),
        ValueError,
        r"weights\['weight'\], B: .*\(1, 2\).*\(1, 3\)",
    ),
    "name": (lambda: call({"wait": pair()}), ValueError, r"unknown \['wait'\]"),
    "position": (lambda: call({2: pair()}), ValueError, r"unknown \[2\]"),
    "twice": (lambda: call({0: pair(), "weight": pair()}), ValueError, "two entries for 'weight'"),
    "vector": (lambda: call({"bias": pair()}), ValueError, r"weights\['bias'\], A: .*\(r, 1\).*\(1, 2\)"),
    "three": (lambda: call({"weight": (*pair(), torch.ones(1))}), ValueError, r"weights\['weight'\]: expected 2"),
    "no tensor": (lambda: call({"weight": (1, 2)}), TypeError, r"weights\['weight'\], A"),
    "no tensor beside": (lambda: call({"weight": pair(), "bias": 1}), TypeError, r"weights\['bias'\]"),
    "shape beside": (lambda: call({"weight": pair(), "bias": torch.ones(2)}), ValueError, r"weights\['bias'\]"),
    "integers": (
        lambda: call({"weight": (torch.ones(1, 2).long(), torch.ones(1, 1))}),
        TypeError,
        r"weights\['weight'\], A: .*dtype",
    ),
    "device": (
        lambda: call({"weight": (torch.ones(1, 2), torch.ones(1, 1, device="meta"))}),
        ValueError,
        r"weights\['weight'\], B: expected a tensor on cpu",
    ),
    "stacked": (lambda: call({"weight": pair(1, 2, 1, 4)}), ValueError, r"A: .*\(r, 2\)"),
    "not stacked": (lambda: call_batched({"weight": pair()}), ValueError, "weights"),
    "number of sets": (
        lambda: call_batched({"weight": (torch.ones(2, 1, 2), torch.ones(3, 1, 1))}),
        ValueError,
        r"weights: .*\[2, 3\]",
    ),
    "in place": (lambda: call({"weight": pair()}, Clamping(2, 1)), ValueError, r"weights\['weight'\]: .*changed"),
    "sum of nothing": (add_adapters, ValueError, "adapters"),
    "sum of one": (lambda: sum_of_stacked({"weight": pair()}), ValueError, r"adapter\['weight'\]"),
}


@pytest.mark.parametrize(("wrong", "error", "message"), WRONG.values(), ids=WRONG)
def test_wrong_use(wrong: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        wrong()
