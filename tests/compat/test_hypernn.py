from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypnettorch.compat.hypernn.base import HyperNetwork
from hypnettorch.compat.hypernn.torch import (
    TorchDynamicEmbeddingModule,
    TorchDynamicHyperNetwork,
    TorchHyperNetwork,
    TorchLinearHyperNetwork,
    TorchWeightGenerator,
)
from hypnettorch.compat.hypernn.torch.dynamic_hypernet import TorchDynamicHyperNetwork as DynamicByItsPlace
from hypnettorch.compat.hypernn.torch.embedding_module import TorchEmbeddingModule
from hypnettorch.compat.hypernn.torch.hypernet import create_functional_target_network
from hypnettorch.compat.hypernn.torch.linear_hypernet import TorchLinearHyperNetwork as LinearByItsPlace
from hypnettorch.compat.hypernn.torch.utils import FunctionalParamVectorWrapper, count_params, get_weight_chunk_dims

N = 8 * 6 + 6 + 6 * 3


def make_target() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3, bias=False))


def computed(target: nn.Module, flat: Tensor, x: Tensor) -> Tensor:
    """What a target network computes with flat weights."""
    shapes = {name: p.shape for name, p in target.named_parameters()}
    values = flat.split([shape.numel() for shape in shapes.values()])
    weights = {name: value.view(shape) for (name, shape), value in zip(shapes.items(), values, strict=True)}
    return torch.func.functional_call(target, weights, (x,))


class TestLinear:
    def test_equation(self) -> None:
        target = make_target()
        net = TorchLinearHyperNetwork(target, embedding_dim=5, num_embeddings=7)
        assert (net.num_target_parameters, net.weight_chunk_dim) == (N, 11)
        assert net.target_weight_shapes == {"0.weight": (6, 8), "0.bias": (6,), "2.weight": (3, 6)}
        generated, aux = net.generate_params()
        assert torch.equal(aux["embedding"], net.embedding_module.weight)
        expected = net.weight_generator(net.embedding_module.weight).flatten()
        assert len(expected) == 77
        torch.testing.assert_close(generated, expected[:N])
        x = torch.randn(4, 8)
        torch.testing.assert_close(net(x), computed(target, generated, x))

    def test_defaults(self) -> None:
        net = TorchLinearHyperNetwork(make_target())
        assert (net.embedding_dim, net.num_embeddings, net.weight_chunk_dim) == (100, 3, 24)
        assert count_params(net) == net.count_params(net) == 3 * 100 + 100 * 24 + 24

    def test_results(self) -> None:
        net, x = TorchLinearHyperNetwork.from_target(make_target(), embedding_dim=5), torch.randn(4, 8)
        output, generated, aux = net(x, has_aux=True)
        assert torch.equal(output, net(x))
        assert list(aux) == ["embedding"]
        given, flat, aux = net(x, generated_params=2 * generated, has_aux=True)
        assert not torch.equal(given, output)
        assert torch.equal(flat, 2 * generated)
        assert aux == {}
        assert torch.equal(net.target_forward(x, generated_params=generated), output)

    def test_forms_of_given_weights(self) -> None:
        net, x = TorchLinearHyperNetwork(make_target(), embedding_dim=5), torch.randn(4, 8)
        flat, _ = net.generate_params()
        sizes = [48, 6, 18]
        pieces = list(flat.split(sizes))
        shaped = [piece.view(shape) for piece, shape in zip(pieces, net.target_weight_shapes.values(), strict=True)]
        assert torch.equal(net(x, generated_params=shaped), net(x))
        assert torch.equal(net(x, generated_params=pieces, assert_parameter_shapes=False), net(x))
        with pytest.raises(ValueError, match=r"shape \(6, 8\)"):
            net(x, generated_params=pieces)
        assert torch.equal(net(x, generated_params=torch.cat([flat, flat[:5]])), net(x))

    def test_many_weight_sets(self) -> None:
        net, x = TorchLinearHyperNetwork(make_target(), embedding_dim=5), torch.randn(3, 4, 8)
        sets = torch.randn(3, N)
        shaped = [
            w.view(3, *s) for w, s in zip(sets.split([48, 6, 18], 1), net.target_weight_shapes.values(), strict=True)
        ]
        together = net(x, generated_params=sets)
        torch.testing.assert_close(net(x, generated_params=shaped), together)
        for b in range(3):
            torch.testing.assert_close(together[b], net(x[b], generated_params=sets[b]))

    def test_target_stays_as_it_is(self) -> None:
        target, x = make_target(), torch.randn(2, 8)
        before, state = target(x), copy.deepcopy(target.state_dict())
        net = TorchLinearHyperNetwork(target)
        net(x).sum().backward()
        assert count_params(target) == N
        assert torch.equal(target(x), before)
        assert all(torch.equal(value, state[name]) for name, value in target.state_dict().items())
        assert torch.equal(net.target_network(x), before)
        assert len(list(net.parameters())) == 3
        assert all(p.grad is not None for p in net.parameters())

    def test_lazy_target(self) -> None:
        for given in ({"target_input_shape": (1, 8)}, {"inputs": torch.zeros(1, 8)}, {"inputs": (torch.zeros(1, 8),)}):
            lazy = nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 2))
            assert TorchLinearHyperNetwork.from_target(lazy, **given).num_target_parameters == 46
        with pytest.raises(ValueError, match="inputs: expected an input, since the target network has lazy layers"):
            TorchLinearHyperNetwork.from_target(nn.LazyLinear(4))

    def test_file(self, tmp_path: Path) -> None:
        nets = [TorchLinearHyperNetwork(make_target()) for _ in range(2)]
        nets[0].save(tmp_path / "net.pt")
        assert torch.load(tmp_path / "net.pt", weights_only=True).keys() == nets[0].state_dict().keys()
        nets[1].load(tmp_path / "net.pt")
        assert torch.equal(nets[0].generate_params()[0], nets[1].generate_params()[0])

    def test_device_and_dtype(self) -> None:
        net = TorchLinearHyperNetwork(make_target()).double()
        assert net.device == torch.device("cpu")
        assert net(torch.zeros(1, 8, dtype=torch.float64)).dtype == torch.float64


class TestDynamic:
    def test_equation(self) -> None:
        target = make_target()
        net = TorchDynamicHyperNetwork(8, target, embedding_dim=5, num_embeddings=7)
        module = net.embedding_module
        assert isinstance(module, TorchDynamicEmbeddingModule)
        hidden = module.init_hidden()
        assert hidden.shape == (1, 7)
        assert not hidden.any()
        for x in torch.randn(3, 1, 8):
            arguments = {"x": x, "hidden_state": hidden}
            output, generated, aux = net(x, has_aux=True, generate_params_kwargs=arguments)
            hidden = module.rnn_cell(x, hidden)
            torch.testing.assert_close(aux["hidden_state"], hidden)
            torch.testing.assert_close(aux["embedding"], hidden.T * module.embedding.weight)
            torch.testing.assert_close(generated, net.weight_generator(aux["embedding"]).flatten()[:N])
            torch.testing.assert_close(output, computed(target, generated, x))

    def test_several_sequences(self) -> None:
        net = TorchDynamicHyperNetwork.from_target(make_target(), input_dim=8, num_embeddings=7)
        x = torch.randn(2, 4, 8)
        hidden, singles = None, [None] * 4
        for step in x:
            generated, aux = net.generate_params(step, hidden)
            hidden = aux["hidden_state"]
            assert generated.shape == (4, N)
            y = net(step.unsqueeze(1), generated_params=generated)
            for b in range(4):
                one, aux = net.generate_params(step[b : b + 1], singles[b])
                singles[b] = aux["hidden_state"]
                torch.testing.assert_close(generated[b], one)
                torch.testing.assert_close(y[b], net(step[b : b + 1], generated_params=one))

    def test_without_state(self) -> None:
        net, x = TorchDynamicHyperNetwork(8, make_target()), torch.randn(1, 8)
        first = net.generate_params(x)[0]
        assert torch.equal(first, net.generate_params(x=x, hidden_state=net.embedding_module.init_hidden())[0])


class FromInput(TorchHyperNetwork):
    """Extension by subclassing: weights from the target network's own input, without recurrence."""

    def __init__(self, target_network: nn.Module, input_dim: int, **kwargs: Any) -> None:
        self.input_dim = input_dim
        super().__init__(target_network, **kwargs)

    def make_embedding_module(self) -> nn.Module:
        return nn.Linear(self.input_dim, self.embedding_dim)

    def make_weight_generator(self) -> nn.Module:
        return nn.Sequential(nn.ReLU(), nn.Linear(self.embedding_dim, self.num_target_parameters))

    def generate_params(self, x: Tensor) -> tuple[Tensor, dict[str, Any]]:
        embedding = self.embedding_module(x)
        return self.weight_generator(embedding), {"embedding": embedding}


class TestExtension:
    def test_subclass(self) -> None:
        net, x = FromInput(make_target(), 8, embedding_dim=5), torch.randn(4, 8)
        y = net(x.unsqueeze(1), generate_params_kwargs={"x": x}).squeeze(1)
        for b in range(4):
            flat, _ = net.generate_params(x[b])
            torch.testing.assert_close(y[b], computed(make_target(), flat, x[b]))

    def test_subclass_without_own_generation(self) -> None:
        class Deep(TorchHyperNetwork):
            def setup(self) -> None:
                super().setup()
                self.was_set_up = True

            def make_embedding_module(self) -> nn.Module:
                return nn.Embedding(self.num_embeddings, self.embedding_dim)

            def make_weight_generator(self) -> nn.Module:
                return nn.Sequential(nn.Linear(self.embedding_dim, 4), nn.ReLU(), nn.Linear(4, self.weight_chunk_dim))

        net = Deep(make_target(), num_embeddings=10, embedding_dim=2)
        assert net.was_set_up
        assert net(torch.zeros(1, 8)).shape == (1, 3)

    def test_custom_modules(self) -> None:
        embedding, generator = nn.Embedding(4, 5), nn.Linear(5, 20)
        net = TorchLinearHyperNetwork(
            make_target(), num_embeddings=4, custom_embedding_module=embedding, custom_weight_generator=generator
        )
        assert net.embedding_module is embedding
        assert net.weight_generator is generator
        torch.testing.assert_close(net.generate_params()[0], generator(embedding.weight).flatten()[:N])

        class Fixed(nn.Module):
            def forward(self, scale: float) -> Tensor:
                return scale * torch.ones(4, 5)

        net = TorchHyperNetwork(make_target(), custom_embedding_module=Fixed(), custom_weight_generator=generator)
        assert net(torch.zeros(1, 8), generate_params_kwargs={"scale": 2.0}).shape == (1, 3)

    @pytest.mark.parametrize("batch", [1, 2, 3])
    def test_custom_modules_read_the_input(self, batch: int) -> None:
        """Weights from the target network's own input, a set for each sample (3 is also ``num_embeddings``)."""
        net = TorchHyperNetwork(
            make_target(), custom_embedding_module=nn.Linear(8, 5), custom_weight_generator=nn.Linear(5, N)
        )
        x = torch.randn(batch, 8)
        flat, _ = net.generate_params(x)
        assert flat.shape == ((batch, N) if batch > 1 else (N,))
        for b, weights in enumerate(flat.view(batch, N)):
            torch.testing.assert_close(weights, net.generate_params(x[b])[0])

    def test_early_interface(self) -> None:
        class Embedding(TorchEmbeddingModule):
            def __init__(self, embedding_dim: int, num_embeddings: int) -> None:
                super().__init__(embedding_dim, num_embeddings)
                self.values = nn.Parameter(torch.randn(num_embeddings, embedding_dim))

            def forward(self) -> Tensor:
                return self.values

        class Generator(TorchWeightGenerator):
            def __init__(self, embedding_dim: int, hidden_dim: int) -> None:
                super().__init__(embedding_dim, hidden_dim)
                self.linear = nn.Linear(embedding_dim, hidden_dim)

            def forward(self, embedding: Tensor) -> Tensor:
                return self.linear(embedding).view(-1)

        net = TorchHyperNetwork(
            make_target(),
            embedding_module_constructor=Embedding,
            weight_generator_constructor=Generator,
            embedding_dim=3,
            num_embeddings=7,
            hidden_dim=12,
        )
        assert (net.embedding_module.num_embeddings, net.weight_generator.hidden_dim) == (7, 12)
        output, generated = net(torch.zeros(1, 8))
        assert (output.shape, generated.shape) == ((1, 3), (N,))
        assert len(net(torch.zeros(1, 8), has_aux=True)) == 3


class AfterBase(TorchHyperNetwork):
    """Sets what its methods read after the constructor of the base, as published classes do; counts the calls."""

    def __init__(self, target_network: nn.Module, width: int, call_setup: bool = False, read: str = "") -> None:
        super().__init__(target_network)
        self.calls = []
        self.num_embeddings = 6
        self.width = width
        if call_setup:
            self.setup()
        self.found = getattr(self, read) if read else None

    def setup(self) -> None:
        self.calls.append("setup")
        super().setup()

    def make_embedding_module(self) -> nn.Module:
        self.calls.append("embedding")
        return nn.Embedding(self.num_embeddings, self.width)

    def make_weight_generator(self) -> nn.Module:
        self.calls.append("generator")
        return nn.Linear(self.width, self.weight_chunk_dim)


class OnlyGenerator(TorchHyperNetwork):
    """Has a generator, and calls it with an input instead of embeddings."""

    def make_weight_generator(self) -> nn.Module:
        return nn.Linear(2, self.num_target_parameters)

    def generate_params(self, z: Tensor) -> tuple[Tensor, dict[str, Any]]:
        return self.weight_generator(z), {}


class OwnLayers(TorchHyperNetwork):
    """Has neither embeddings nor a generator, but layers of its own."""

    def __init__(self, target_network: nn.Module) -> None:
        super().__init__(target_network)
        self.layer = nn.Linear(2, self.num_target_parameters)

    def generate_params(self, z: Tensor) -> tuple[Tensor, dict[str, Any]]:
        return self.layer(z), {"z": z}


class TestOrderOfConstruction:
    @pytest.mark.parametrize("call_setup", [False, True])
    @pytest.mark.parametrize("read", ["", "embedding_module", "weight_generator"])
    def test_parts_are_made_once(self, call_setup: bool, read: str) -> None:
        net = AfterBase(make_target(), 4, call_setup, read)
        assert net.calls == ["setup", "embedding", "generator"]
        assert read == "" or net.found is getattr(net, read)
        assert [tuple(p.shape) for p in net.parameters()] == [(6, 4), (12, 4), (12,)]
        x = torch.randn(5, 8)
        torch.testing.assert_close(net(x), computed(make_target(), net.generate_params()[0], x))

    def test_copies_and_pickles_have_them(self) -> None:
        net, x = AfterBase(make_target(), 4), torch.randn(5, 8)
        for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
            assert other.calls == ["setup", "embedding", "generator"]
            assert torch.equal(other(x), net(x))

    def test_own_forward_needs_no_parts(self) -> None:
        class OwnForward(TorchHyperNetwork):
            def forward(self, x: Tensor, flat: Tensor) -> Tensor:
                return self.target_forward(x, generated_params=flat)

        x, flat = torch.randn(5, 8), torch.randn(N)
        torch.testing.assert_close(OwnForward(make_target())(x, flat), computed(make_target(), flat, x))

    @pytest.mark.parametrize("kind", [OnlyGenerator, OwnLayers])
    def test_what_nobody_says_is_not_needed(self, kind: type[TorchHyperNetwork]) -> None:
        net, x, z = kind(make_target()), torch.randn(5, 8), torch.randn(2)
        assert not hasattr(net, "embedding_module")
        flat, _ = net.generate_params(z)
        torch.testing.assert_close(net(x, generate_params_kwargs={"z": z}), computed(make_target(), flat, x))
        assert len(list(net.parameters())) == 2

    def test_abstract_class(self) -> None:
        assert issubclass(TorchHyperNetwork, HyperNetwork)

        class Plain(nn.Module, HyperNetwork):
            pass

        with pytest.raises(NotImplementedError, match="Plain: expected generate_params of a subclass"):
            Plain().generate_params()


def test_places() -> None:
    assert DynamicByItsPlace is TorchDynamicHyperNetwork
    assert LinearByItsPlace is TorchLinearHyperNetwork


class TestFunctionalNetwork:
    @pytest.mark.parametrize("make", [FunctionalParamVectorWrapper, create_functional_target_network])
    def test_vector(self, make: Any) -> None:
        target, x = make_target(), torch.randn(4, 8)
        wrapper, flat = make(target), torch.randn(N, requires_grad=True)
        assert wrapper.target_weight_shapes == {name: p.shape for name, p in target.named_parameters()}
        torch.testing.assert_close(wrapper(flat, x), computed(target, flat, x))
        wrapper(flat, x).sum().backward()
        assert flat.grad is not None

    def test_several_vectors(self) -> None:
        target, x, flats = make_target(), torch.randn(3, 4, 8), torch.randn(3, N)
        y = create_functional_target_network(target)(flats, x)
        for b in range(3):
            torch.testing.assert_close(y[b], computed(target, flats[b], x[b]))

    def test_wrong_size(self) -> None:
        with pytest.raises(ValueError, match=r"param_vector: expected shape \(72,\) or \('B', 72\), got \(71,\)"):
            create_functional_target_network(make_target())(torch.zeros(71), torch.zeros(1, 8))


def test_chunk_dims() -> None:
    assert [get_weight_chunk_dims(10, k) for k in (1, 3, 10, 11)] == [10, 4, 1, 1]


WRONG = {
    "too few weights": (
        lambda: TorchLinearHyperNetwork(make_target(), weight_chunk_dim=3).generate_params(),
        r"generated_params: expected shape \(n,\) or \(B, n\) with n = 72 .* got \(9,\)",
    ),
    "given too few": (
        lambda: TorchLinearHyperNetwork(make_target())(torch.zeros(1, 8), generated_params=torch.zeros(71)),
        r"generated_params: expected shape .* got \(71,\)",
    ),
    "given too many": (
        lambda: TorchLinearHyperNetwork(make_target())(torch.zeros(1, 8), generated_params=torch.zeros(144)),
        r"up to 143, of which a surplus is dropped\), got \(144,\)",
    ),
    "given list": (
        lambda: TorchLinearHyperNetwork(make_target())(torch.zeros(1, 8), generated_params=[torch.zeros(6, 8)]),
        "generated_params: expected 3 entries, got 1",
    ),
    "num_target_parameters": (
        lambda: TorchLinearHyperNetwork(make_target(), num_target_parameters=70),
        "num_target_parameters: expected 72 or None, got 70",
    ),
    "two names": (
        lambda: TorchLinearHyperNetwork(make_target(), weight_chunk_dim=24, hidden_dim=24),
        "hidden_dim: expected only one of",
    ),
    "embedding_dim": (
        lambda: TorchLinearHyperNetwork(make_target(), embedding_dim=0),
        "embedding_dim: expected an int",
    ),
    "no x": (
        lambda: TorchDynamicHyperNetwork(8, make_target())(torch.zeros(1, 8)),
        r"x: expected an input \(1, 8\), in generate_params_kwargs, got None",
    ),
    "width of x": (
        lambda: TorchDynamicHyperNetwork(8, make_target()).generate_params(torch.zeros(1, 7)),
        "x: expected 8 entries in the last dimension",
    ),
    "vector x": (
        lambda: TorchDynamicHyperNetwork(8, make_target()).generate_params(torch.zeros(8)),
        r"x: expected shape \(1, 8\), got \(8,\)",
    ),
    "state": (
        lambda: TorchDynamicHyperNetwork(8, make_target()).generate_params(torch.zeros(1, 8), torch.zeros(1, 4)),
        r"hidden_state: expected shape \(1, 3\), got \(1, 4\)",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_error(case: str) -> None:
    call, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        call()


def test_other_errors(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="target_network: expected Module, got int"):
        TorchLinearHyperNetwork(3)
    with pytest.raises(NotImplementedError, match="expected make_embedding_module of a subclass, custom_embedding"):
        TorchHyperNetwork(make_target())
    with pytest.raises(FileNotFoundError):
        TorchLinearHyperNetwork(make_target()).load(tmp_path / "missing.pt")
