"""Modules as people bring them: programs that were reported as wrong, each with what is right."""

from __future__ import annotations

import copy
import warnings
from collections import namedtuple
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.utils.checkpoint import checkpoint

from hypnettorch.core import trees
from hypnettorch.core.low_rank import LowRank
from hypnettorch.hnets import HMLP
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets.batched import mappable_attention
from hypnettorch.mnets.layer_types import LINEAR_FORM, Kind, describe_parameter, register_layer
from hypnettorch.mnets.module_net import ModuleNet

SETS = 3


def stacked(net: ModuleNet, sets: int = SETS, scale: float = 0.3) -> list[Tensor]:
    return [scale * torch.randn(sets, *shape) for shape in net.hyper_shapes_learned or ()]


def one(weights: list[Tensor], b: int) -> list[Tensor]:
    return [w[b] for w in weights]


def gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"n_embd": 8, "vocab_size": 11, "n_positions": 32, "n_layer": 1, "n_head": 2}
    return GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=1, eos_token_id=10)).eval()


class Int8(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randint(-9, 9, (6, 4), dtype=torch.int8), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight.to(x.dtype) / 8)


register_layer(
    Int8,
    describe=lambda layer, name: Kind("weight", 4, 6),
    term=lambda layer, x, update: x @ update.A.mT @ update.B.mT,
    adapter_form=LINEAR_FORM,
)


def test_adapters_on_a_quantised_base() -> None:
    module, x, A, B = Int8(), torch.randn(3, 4), torch.randn(2, 4), torch.randn(6, 2)
    expected = module(x) + x @ A.T @ B.T
    net = ModuleNet(copy.deepcopy(module))
    torch.testing.assert_close(net(x, weights={"weight": (A, B)}), expected)
    many = net.batched_forward(x, weights={"weight": (A.expand(2, 2, 4), B.expand(2, 6, 2))}, share_input=True)
    torch.testing.assert_close(many, expected.expand(2, 3, 6))
    assert torch.equal(net.module.weight, module.weight)
    assert describe_parameter(module, "weight") == Kind("weight", 4, 6)
    with pytest.raises(TypeError, match="int8"):
        net.materialize({"weight": (A, B)})


def test_assignment_works_as_in_any_module() -> None:
    net = ModuleNet(nn.Linear(2, 1))
    net.module.weight = nn.Parameter(torch.zeros(1, 2))
    assert not net.initial_weights()[0].any()
    assert net(torch.ones(1, 2), weights=[torch.ones(1, 2), torch.zeros(1)]).item() == 2


def test_the_module_stays_what_it_was() -> None:
    known = []

    class Layer(nn.Linear):
        def __init_subclass__(cls, **more: Any) -> None:
            super().__init_subclass__(**more)
            known.append(cls.__name__)

    class Mine(Layer):
        pass

    module = nn.Sequential(Mine(2, 2), nn.ReLU(), nn.Linear(2, 1))
    keys = list(module.state_dict())
    net = ModuleNet(module)
    net(torch.ones(1, 2), weights=[w[0] for w in stacked(net, 1)])
    assert known == ["Mine"]
    assert [type(part) for part in module] == [Mine, nn.ReLU, nn.Linear]
    assert list(module.state_dict()) == keys == [name for name, _ in module.named_parameters()]
    assert not any(parameter.requires_grad for parameter in net.parameters())
    assert module.get_parameter("0.weight") is module[0].weight
    assert torch.jit.trace(module, torch.ones(1, 2))(torch.ones(1, 2)).shape == (1, 1)


def test_files_of_the_base_model_and_tying(tmp_path: Any) -> None:
    from transformers import GPT2LMHeadModel

    model, ids = gpt2(), torch.tensor([[1, 2, 3]])
    before = model(ids).logits
    net = ModuleNet(model, include="*.c_attn.weight")
    assert torch.equal(net.module(ids).logits, before)
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(GPT2LMHeadModel.from_pretrained(tmp_path).eval()(ids).logits, before)
    model.tie_weights()
    assert model.device.type == "cpu"
    assert torch.equal(net.module(ids).logits, before)


def test_files_with_and_without_the_base() -> None:
    net, whole = ModuleNet(nn.Linear(2, 1), include="weight"), ModuleNet(nn.Linear(2, 1), "weight", save_base=True)
    assert list(net.state_dict()) == ["module.bias"]
    own = net.module.weight.clone()
    assert net.base_from_file is None
    net.load_state_dict(whole.state_dict())
    assert net.base_from_file is True
    assert torch.equal(net.module.weight, whole.module.weight)
    assert not net.module.weight.requires_grad
    whole.load_state_dict({"module.bias": torch.ones(1)})
    assert whole.base_from_file is False
    assert torch.equal(whole.module.weight, net.module.weight)
    assert not torch.equal(own, net.module.weight)
    assert whole.module.bias.item() == 1
    with pytest.raises(RuntimeError, match=r"module\.1\.weight"):
        ModuleNet(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))).load_state_dict({"module.0.weight": torch.eye(2)})


def test_parameters_within_a_block() -> None:
    class Ridge(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            like = next(self.parameters())
            return super().forward(x).sum() + sum(p.square().sum() for p in self.parameters()) + like.new_zeros(())

    weights = {"weight": torch.ones(1, 2), "bias": torch.ones(1)}
    expected = torch.func.functional_call(Ridge(2, 1), weights, torch.ones(1, 2))
    assert torch.equal(ModuleNet(Ridge(2, 1))(torch.ones(1, 2), weights=weights), expected)


def test_generate_in_a_thread() -> None:
    import threading

    net, ids = ModuleNet(gpt2()), torch.tensor([[1, 2, 3]])
    found: dict[str, Tensor] = {}

    def work(name: str) -> None:
        found[name] = net.module.generate(ids, max_new_tokens=5, do_sample=False, pad_token_id=10)

    weights = [w[0] for w in stacked(net, 1)]
    with torch.no_grad(), net.using(weights):
        thread = threading.Thread(target=work, args=("thread",))
        thread.start()
        thread.join()
        work("block")
    work("own")
    assert torch.equal(found["thread"], found["block"])
    assert not torch.equal(found["own"], found["block"])


class Spectral(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 3, dtype=torch.cfloat))

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.irfft(torch.fft.rfft(x) @ self.weight, n=4)


def test_complex_weights() -> None:
    module, x = Spectral(), torch.randn(5, 4)
    expected, net = module(x), ModuleNet(copy.deepcopy(module))
    assert net.hyper_shapes_learned == [[3, 3, 2]]
    real = torch.view_as_real(module.weight.detach())
    for weights in ([real], {"weight": module.weight}, real.flatten()):
        torch.testing.assert_close(net(x, weights=weights), expected)
        torch.testing.assert_close(net.materialize(weights)(x), expected)
    torch.testing.assert_close(net(x, weights=net.initial_weights()), expected)
    torch.testing.assert_close(net.batched_forward(x, [real[None]], share_input=True)[0], expected)
    model = HyperModel.from_module(Spectral(), 2)
    model(x, cond_id=1).square().sum().backward()
    assert all(p.grad.any() for p in model.hnet.unconditional_params)
    with pytest.raises(TypeError, match="complex"):
        net(x, weights={"weight": (torch.ones(1, 6), torch.ones(3, 1))})


def test_double_precision_is_not_rounded_silently() -> None:
    net = ModuleNet(nn.Linear(2, 1))
    weights, x = HMLP(net.hyper_shapes_learned, verbose=False).double()(cond_id=0), torch.rand(5, 2)
    with pytest.raises(TypeError, match="weight_dtype='generated'"):
        net(x, weights=weights)
    generated = ModuleNet(nn.Linear(2, 1), weight_dtype="generated")
    assert generated(x.double(), weights=weights).dtype == torch.float64
    assert net.double()(x.double(), weights=weights).dtype == torch.float64


def test_inference_mode() -> None:
    model, x = HyperModel.from_module(nn.Linear(4, 2), 3), torch.randn(3, 5, 4)
    with torch.no_grad():
        right = model(x[0], cond_id=1), model(x, cond_id=[0, 1, 2])
    with torch.inference_mode():
        got = model(x[0], cond_id=1), model(x, cond_id=[0, 1, 2])
    assert all(torch.equal(a, b) for a, b in zip(right, got, strict=True))


# Many weight sets.


def test_arguments_by_position() -> None:
    class Denoiser(nn.Linear):
        def forward(self, x: Tensor, timestep: int, flip: bool = False, more: Any = None) -> Tensor:
            y = super().forward(x["x"] if isinstance(x, dict) else x) / timestep
            return -y if flip else y

    net, x = ModuleNet(Denoiser(4, 2)), torch.randn(SETS, 5, 4)
    weights = stacked(net)
    expected = torch.stack([net(x[b], 10, True, weights=one(weights, b)) for b in range(SETS)])
    for args, kwargs in [
        ((x, 10, True), {"weights": weights}),
        ((x, weights, 10, True), {}),
        ((x, weights), {"timestep": 10, "flip": True}),
        (({"x": x}, 10), {"weights": weights, "flip": True, "more": [x, "text"]}),
    ]:
        torch.testing.assert_close(net.batched_forward(*args, **kwargs), expected)
    torch.testing.assert_close(net.batched_forward(x, 10, True, weights=weights, chunk_size=2), expected)
    with pytest.raises(ValueError, match=r"more: .*leading dimension of 3"):
        net.batched_forward(x, weights, timestep=1, more={"a": x[0]})
    with pytest.raises(ValueError, match="chunk_size"):
        net.batched_forward(x, weights, timestep=1, chunk_size=0)


def test_a_module_that_differentiates() -> None:
    class Forces(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                return -torch.autograd.grad(super().forward(x).sum(), x, create_graph=True)[0]

    net, x = ModuleNet(Forces(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))), torch.randn(SETS, 5, 3)
    weights = stacked(net)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        many = net.batched_forward(x, weights)
    torch.testing.assert_close(many, torch.stack([net(x[b], weights=one(weights, b)) for b in range(SETS)]))


class Plain(nn.Linear):
    """Of a user, but nothing else than the layer of torch."""


class Branching(nn.Linear):
    """Does something else where gradients are to come."""

    def __init__(self, branch: Any) -> None:
        super().__init__(3, 3)
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        return self.branch(self, x, super().forward(x).tanh())


def clipped(y: Tensor) -> Tensor:
    if y.requires_grad:
        y.register_hook(lambda grad: grad / grad.norm())
    return y


def node_clipped(y: Tensor) -> Tensor:
    if y.grad_fn is not None:
        y.grad_fn.register_prehook(lambda grads: (grads[0] / grads[0].norm(),))
    return y


def first_step_only(y: Tensor) -> Tensor:
    """Truncated gradients: what is no leaf is cut off."""
    return y if y.is_leaf else y.detach() + y.detach() * (y.sum() - y.sum().detach())


BRANCHES = {
    "input": lambda layer, x, y: y * 2 if x.requires_grad else y,
    "result": lambda layer, x, y: y * y if y.requires_grad else y,
    "parameters": lambda layer, x, y: y * 3 if any(p.requires_grad for p in layer.parameters()) else y,
    "mode": lambda layer, x, y: y * 2 if torch.is_grad_enabled() and layer.weight.requires_grad else y,
    "checkpoint": lambda layer, x, y: checkpoint(torch.exp, y, use_reentrant=False) if y.requires_grad else y,
    "reentrant": lambda layer, x, y: checkpoint(torch.exp, y, use_reentrant=True) if y.requires_grad else y,
    "hook": lambda layer, x, y: clipped(y),
    "hook of a node": lambda layer, x, y: node_clipped(y),
    "leaf": lambda layer, x, y: first_step_only(y),
}


@pytest.mark.filterwarnings("ignore:.* is evaluated weight set by weight set")
@pytest.mark.parametrize("learned", ["weights", "input", "nothing"])
@pytest.mark.parametrize("name", BRANCHES)
def test_code_that_asks_for_gradients(name: str, learned: str) -> None:
    net = ModuleNet(nn.Sequential(Branching(BRANCHES[name]), nn.Linear(3, 2)))
    weights = [w.requires_grad_(learned == "weights") for w in stacked(net)]
    x, found = torch.randn(SETS, 4, 3, requires_grad=learned == "input"), []
    for many in (net.batched_forward(x, weights), [net(x[b], weights=one(weights, b)) for b in range(SETS)]):
        y = many if isinstance(many, Tensor) else torch.stack(many)
        leaves = [tensor for tensor in (x, *weights) if tensor.requires_grad]
        if leaves:
            y.square().sum().backward()
        found.append([y, *(leaf.grad for leaf in leaves)])
        for leaf in leaves:
            leaf.grad = None
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("pairs", [False, True])
def test_nothing_of_the_library_asks_for_gradients(pairs: bool) -> None:
    """Modules of users are mapped at once, also with gradients."""
    net, x = ModuleNet(nn.Sequential(Plain(3, 4), nn.Linear(4, 2))), torch.randn(5, 3)
    weights: Any = [w.requires_grad_() for w in stacked(net)]
    if pairs:
        shapes = {"0.weight": (3, 4), "1.weight": (4, 2)}
        weights = {k: (torch.randn(SETS, 1, n), torch.randn(SETS, m, 1)) for k, (n, m) in shapes.items()}
        weights = trees.map_tensors(Tensor.requires_grad_, weights)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.batched_forward(x, weights, share_input=True).sum().backward()
    assert all(tensor.grad is not None for tensor in trees.tensors(weights))


def test_what_is_relied_on_of_torch() -> None:
    """Switches that vmap needs: fused attention, autocast of any device."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    with mappable_attention():
        assert not torch.backends.mha.get_fastpath_enabled()
        assert not torch.backends.cuda.flash_sdp_enabled()
    assert torch.backends.mha.get_fastpath_enabled() == enabled
    assert torch.backends.cuda.flash_sdp_enabled()
    assert not torch._C._is_any_autocast_enabled()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch._C._is_any_autocast_enabled()


def test_no_set() -> None:
    net = ModuleNet(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)))
    before = net.module[1].running_mean.clone()
    got = net.batched_forward(torch.randn(0, 5, 3), stacked(net, 0))
    assert got.shape == (0, 5, 4)
    assert torch.equal(before, net.module[1].running_mean)


def test_networks_that_were_trained_with_their_buffers() -> None:
    nets, x = [nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)) for _ in range(SETS)], torch.randn(5, 3)
    for net in nets:
        net(3 * torch.randn(50, 3) + 1)
        net.eval()
    parameters, buffers = torch.func.stack_module_state(nets)
    shell = ModuleNet(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).eval())
    weights = {**parameters, **buffers}
    with torch.no_grad():
        right = torch.stack([net(x) for net in nets])
        torch.testing.assert_close(shell.batched_forward(x, weights=weights, share_input=True), right)
        for b, plain in enumerate(shell.materialize(weights)):
            torch.testing.assert_close(plain(x), right[b])
    assert not shell.module[1].running_mean.any()
    with pytest.raises(ValueError, match=r"weights\['1.running_mean'\]"):
        shell(x, weights={**{k: v[0] for k, v in parameters.items()}, "1.running_mean": torch.zeros(3)})


def test_a_skeleton_on_the_meta_device() -> None:
    """All values come from outside, on the device of the data."""
    nets, x = [nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).eval() for _ in range(SETS)], torch.randn(5, 3)
    parameters, buffers = torch.func.stack_module_state(nets)
    skeleton = ModuleNet(copy.deepcopy(nets[0]).to("meta"))
    weights = {**parameters, **buffers}
    right = torch.stack([net(x) for net in nets])
    torch.testing.assert_close(skeleton.batched_forward(x, weights=weights, share_input=True), right)
    torch.testing.assert_close(skeleton(x, weights={name: w[1] for name, w in weights.items()}), right[1])
    torch.testing.assert_close(skeleton.materialize(weights)[2](x), right[2])
    with pytest.raises(ValueError, match=r"weights\['0.bias'\]: expected a tensor on cpu, got meta"):
        ModuleNet(nets[0]).batched_forward(x, weights={**parameters, "0.bias": torch.zeros(SETS, 4, device="meta")})


def test_unselected_parameters_may_be_given_as_well() -> None:
    net, x = ModuleNet(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), include="0.*"), torch.randn(5, 3)
    weights = dict(zip(net.selected_shapes, one(stacked(net, 1), 0), strict=True))
    head = {"1.weight": torch.zeros(2, 4), "1.bias": torch.ones(2)}
    assert torch.equal(net(x, weights={**weights, **head}), torch.ones(5, 2))
    assert torch.equal(net.materialize({**weights, **head})(x), torch.ones(5, 2))
    assert net(x, weights=weights).std() > 0


class Averaged(nn.Linear):
    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.register_buffer("mean", torch.zeros(sizes[1]))

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        self.mean = 0.9 * self.mean + 0.1 * y.detach().mean(0)
        return y - self.mean


class Counted(nn.Linear):
    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(sizes[1]))
        self.times, self.seen, self.last = 0, [], None

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.times += 1
        y = super().forward(x)
        self.seen.append(y.detach())
        self.last = y.detach()
        with torch.no_grad():
            self.mean.mul_(0.9).add_(y.mean(0), alpha=0.1)
        return y


class Remembering(nn.Linear):
    """Changes only attributes, which vmap does not mind."""

    def forward(self, x: Tensor) -> Tensor:
        self.last = super().forward(x)
        return self.last


@pytest.mark.parametrize("kind", [Averaged, Counted, Remembering])
def test_state_is_that_of_a_loop(kind: type[nn.Linear]) -> None:
    net, x = ModuleNet(kind(3, 2)), torch.randn(4, 3)
    looped, weights = copy.deepcopy(net), stacked(net)
    with pytest.warns(UserWarning, match=f"{kind.__name__} is evaluated weight set by weight set"):
        got = net.batched_forward(x, weights, share_input=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = net.batched_forward(x, weights, share_input=True)
    expected = [torch.stack([looped(x, weights=one(weights, b)) for b in range(SETS)]) for _ in range(2)]
    torch.testing.assert_close([got, again], expected)
    torch.testing.assert_close(dict(net.module.named_buffers()), dict(looped.module.named_buffers()))
    for name in ("times", "seen", "last"):
        if hasattr(net.module, name):
            torch.testing.assert_close(getattr(net.module, name), getattr(looped.module, name))
    assert net.module(x).shape == (4, 2)


@pytest.mark.filterwarnings("ignore:.*:FutureWarning")
@pytest.mark.parametrize("wrap", ["weight_norm", "spectral_norm", "prune"])
def test_hooks_leave_nothing_of_vmap_in_the_module(wrap: str) -> None:
    layer = nn.Linear(3, 2)
    if wrap == "prune":
        prune.l1_unstructured(layer, "weight", 0.5)
    else:
        layer = getattr(nn.utils, wrap)(layer)
    net, x = ModuleNet(layer.eval()), torch.randn(4, 3)
    weights = stacked(net)
    got = net.batched_forward(x, weights, share_input=True)
    torch.testing.assert_close(got, torch.stack([net(x, weights=one(weights, b)) for b in range(SETS)]))
    assert "BatchedTensor" not in repr(layer.weight)
    assert layer(x).shape == copy.deepcopy(net).module(x).shape == (4, 2)


def test_hooks_of_users_get_what_a_loop_gives_them() -> None:
    net, x, seen = ModuleNet(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))), torch.randn(5, 3), []
    weights = stacked(net)
    net.module[0].register_forward_pre_hook(lambda layer, args: seen.append(args[0]))
    net.module[0].register_forward_hook(lambda layer, args, output: seen.append(output))
    net.batched_forward(x, weights, share_input=True)
    for b, w in enumerate(zip(*weights, strict=True)):
        torch.testing.assert_close(seen[2 * b : 2 * b + 2], [x, F.linear(x, w[0], w[1])])


def test_modules_that_do_not_read_where_weights_are_lent() -> None:
    class Listed(nn.Linear):
        def __init__(self) -> None:
            super().__init__(3, 2)
            self.parts = [self.weight, self.bias]

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, *self.parts)

    with pytest.warns(UserWarning, match="module: 'parts' has parameters that are read there as they are"):
        ModuleNet(nn.Sequential(Listed()))
    for scripted in (torch.jit.script(nn.Linear(3, 2)), torch.jit.trace(nn.Linear(3, 2), torch.ones(1, 3))):
        with pytest.raises(TypeError, match=r"ScriptModule \('0'\)"):
            ModuleNet(nn.Sequential(scripted, nn.ReLU()))


def test_errors_of_the_module_are_errors() -> None:
    class Fails(nn.Linear):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            Fails.calls += 1
            raise torch.OutOfMemoryError("out of memory")

    net = ModuleNet(Fails(3, 2))
    with pytest.raises(torch.OutOfMemoryError):
        net.batched_forward(torch.ones(1, 3), stacked(net), share_input=True)
    assert Fails.calls == 1


class Policy(nn.Linear):
    def __init__(self, *sizes: int, make: Any) -> None:
        super().__init__(*sizes)
        self.make = make

    def forward(self, x: Tensor) -> Any:
        return self.make(super().forward(x))


Known = namedtuple("Known", "y z")


class Hiding:
    def __init__(self, y: Tensor) -> None:
        self.y = {"y": y}


def test_results_that_are_no_tensors() -> None:
    x = torch.randn(4, 3)

    def call(make: Any, branching: bool = False) -> Any:
        net = ModuleNet(nn.Sequential(Policy(3, 2, make=make)))
        return net.batched_forward(x, stacked(net), share_input=True)

    assert call(lambda y: Known(y, [y, 3, "text", None])).z[0].shape == (SETS, 4, 2)
    for make in (lambda y: torch.distributions.Normal(y, 1.0), Hiding, lambda y: [y, Hiding(y)]):
        with pytest.raises(TypeError, match="register_pytree_node"):
            call(make)
    with pytest.warns(UserWarning, match="weight set by weight set"), pytest.raises(TypeError, match="different"):
        call(lambda y: (y, y.sum().item()))


@pytest.mark.parametrize("looped", [False, True])
def test_a_language_model_that_returns_its_cache(looped: bool) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = gpt2()

        def forward(self, ids: Tensor, **more: Any) -> Any:
            output = self.model(ids, **more)
            return output if not looped or output.logits.sum() < 1e9 else None

    net, ids = ModuleNet(Model()), torch.tensor([[1, 2, 3], [4, 5, 6]])
    weights = stacked(net, scale=0.2)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        many = net.batched_forward(ids, weights, share_input=True, attention_mask=torch.tensor([[1, 1, 1], [0, 1, 1]]))
        for b in range(SETS):
            single = net(ids, weights=one(weights, b), attention_mask=torch.tensor([[1, 1, 1], [0, 1, 1]]))
            torch.testing.assert_close(many.logits[b], single.logits, rtol=1e-4, atol=1e-5)
            keys = [cache.past_key_values.layers[0].keys for cache in (many, single)]
            torch.testing.assert_close(keys[0][b], keys[1], rtol=1e-4, atol=1e-5)


def test_padding_is_seen() -> None:
    net = ModuleNet(nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 1).eval())
    weights, x = stacked(net), torch.randn(2, 5, 4)
    mask = torch.tensor([[0, 0, 0, 1, 1], [0, 0, 0, 0, 0]]).bool()
    with torch.no_grad(), pytest.warns(UserWarning, match="padded positions"):
        many = net.batched_forward(x, weights, share_input=True, src_key_padding_mask=mask)
    with torch.no_grad():
        for b in range(SETS):
            single = net(x, weights=one(weights, b), src_key_padding_mask=mask)
            torch.testing.assert_close(many[b], single)
            assert not single[0, 3:].any()


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_of_many_sets(reentrant: bool) -> None:
    class Checkpointed(nn.Conv1d):
        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(super().forward, x, use_reentrant=reentrant).tanh()

    net, x = ModuleNet(nn.Sequential(Checkpointed(2, 3, 1), Checkpointed(3, 2, 1))), torch.randn(4, 2, 5)
    weights = [w.requires_grad_() for w in stacked(net)]
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        many = net.batched_forward(inputs[0], weights, share_input=True)
        many.square().sum().backward()
    plain = nn.Sequential(nn.Conv1d(2, 3, 1), nn.Tanh(), nn.Conv1d(3, 2, 1), nn.Tanh())
    names = ["0.weight", "0.bias", "2.weight", "2.bias"]
    expected = torch.stack(
        [
            torch.func.functional_call(plain, dict(zip(names, one(weights, b), strict=True)), inputs[1])
            for b in range(SETS)
        ]
    )
    torch.testing.assert_close(many, expected)
    expected.square().sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)


class Twice(nn.Module):
    """A layer that has its input several times."""

    def __init__(self, layer: nn.Module, times: int = 2) -> None:
        super().__init__()
        self.layer, self.times = layer, times

    def forward(self, x: Tensor) -> Any:
        return self.layer(*[x] * self.times)


class Products(nn.Module):
    """Operations of matrices, by all of their names."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(4, 4)), nn.Parameter(torch.randn(3, 4))

    def forward(self, x: Tensor) -> list[Tensor]:
        y, a = torch.addmm(self.a, x, self.b), self.a
        cube, cubes = torch.einsum("ij,jk->kij", x, self.b), torch.baddbmm(a[None], y[None], a[None])
        return [y, cube, cubes, x @ self.b, a.addmm(x, self.b), a.addbmm(y[None], a[None])]


class Vectors(nn.Module):
    """Operations of vectors, of which a CPU lowers some, and what vmap makes products of matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.v = nn.Parameter(torch.randn(4, 4)), nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor) -> list[Tensor]:
        a, v, rows = self.a, self.v, x[None, None]
        products = [a.mv(v), torch.addmv(v, a, v), torch.addr(a, v, v), v.dot(v), torch.vdot(v, v)]
        return [
            *products,
            torch.linalg.vecdot(x, v),
            F.scaled_dot_product_attention(rows, a[None, None], a[None, None]),
        ]


AUTOCAST = {
    "linear": (lambda: nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2)), (5, 3)),
    "conv": (lambda: nn.Sequential(nn.Conv2d(1, 2, 2), nn.GroupNorm(1, 2), nn.ConvTranspose2d(2, 1, 2)), (2, 1, 4, 4)),
    "attention": (lambda: nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True), (2, 5, 4)),
    "encoder": (lambda: nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).eval(), (2, 5, 4)),
    "no bias": (lambda: nn.Linear(3, 2, bias=False), (5, 3)),
    "slopes": (lambda: nn.Sequential(nn.Conv1d(2, 3, 1), nn.PReLU(3)), (2, 2, 4)),
    "norm of a layer": (lambda: nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)), (5, 3)),
    "norm of groups": (lambda: nn.Sequential(nn.Conv1d(2, 4, 1), nn.GroupNorm(2, 4)), (2, 2, 4)),
    "root mean squares": (lambda: nn.Sequential(nn.Linear(3, 4), nn.RMSNorm(4)), (5, 3)),
    "two inputs": (lambda: Twice(nn.Bilinear(3, 3, 2)), (5, 3)),
    "queries": (lambda: Twice(nn.MultiheadAttention(4, 2), 3), (5, 2, 4)),
    "products": (Products, (4, 3)),
    "vectors": (Vectors, (3, 4)),
    "norms": (
        lambda: nn.Sequential(nn.Conv1d(2, 3, 1), nn.BatchNorm1d(3), nn.InstanceNorm1d(3, True)).eval(),
        (2, 2, 4),
    ),
}


@pytest.mark.parametrize("name", AUTOCAST)
def test_autocast_is_that_of_a_loop(name: str) -> None:
    build, shape = AUTOCAST[name]
    net, x = ModuleNet(build()), torch.randn(shape)
    weights = stacked(net)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        many, single = net.batched_forward(x, weights, share_input=True), net(x, weights=one(weights, 0))
    for got, expected in zip(trees.tensors(many), trees.tensors(single), strict=True):
        torch.testing.assert_close(got[0], expected, rtol=0.05, atol=0.05)


def test_one_graph_for_every_number_of_sets() -> None:
    import torch._dynamo.testing as testing

    net, counter = ModuleNet(nn.Linear(4, 2)), testing.CompileCounter()
    compiled = torch.compile(lambda x, w: net.batched_forward(x, w), backend=counter, fullgraph=True)
    for number in (2, 3, 4, 5, 8, 17, 33, 64):
        x, weights = torch.randn(number, 5, 4), stacked(net, number)
        torch.testing.assert_close(compiled(x, weights), net.batched_forward(x, weights))
    assert counter.frame_count <= 2
    torch._dynamo.reset()


def test_exported_for_every_number_of_sets() -> None:
    class Many(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = ModuleNet(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))

        def forward(self, x: Tensor, weights: list[Tensor]) -> Tensor:
            return self.net.batched_forward(x, weights)

    model, sets = Many(), {0: torch.export.Dim("sets", min=2, max=2**40)}
    example = torch.randn(3, 5, 4), stacked(model.net)
    program = torch.export.export(model, example, dynamic_shapes=(sets, [sets] * len(example[1]))).module()
    for number in (2, 7):
        x, weights = torch.randn(number, 5, 4), stacked(model.net, number)
        torch.testing.assert_close(program(x, weights), model(x, weights))


def test_materialize_many() -> None:
    net, x = ModuleNet(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))), torch.randn(5, 3)
    weights = stacked(net)
    pairs = {"0.weight": LowRank(torch.randn(SETS, 1, 3), torch.randn(SETS, 4, 1))}
    flat = torch.cat([w.flatten(1) for w in weights], 1)
    for given in (weights, dict(zip(net.param_names, weights, strict=True)), flat, pairs):
        plains, many = net.materialize(given), net.batched_forward(x, weights=given, share_input=True)
        assert isinstance(plains, list)
        torch.testing.assert_close(torch.stack([plain(x) for plain in plains]), many)
        assert all(p.requires_grad for plain in plains for p in plain.parameters())
    assert isinstance(net.materialize(one(weights, 0)), nn.Sequential)
