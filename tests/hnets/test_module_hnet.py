"""ModuleHNet: any module as a hypernetwork, its inputs, modes, parameters and initialisation."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hypnettorch.hnets import HMLP, HEncodedInput, HLowRank, HPerturbWrapper, HResidual, ModuleHNet
from hypnettorch.hnets.hnet_helpers import init_conditional_embeddings
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets import ModuleNet
from hypnettorch.testing import check_hypernetwork
from hypnettorch.utils.hnet_regularizer import calc_fix_target_reg, get_current_targets
from tests.hnets.tables import looked_up_in_a_table
from tests.hnets.trunks import attends, normalises, perceptron, reads_images, reads_sequences

TARGETS = [[4, 3], [4], [2, 4], [2]]


def module_hnet(trunk: nn.Module | None = None, **options: Any) -> ModuleHNet:
    settings = {"cond_in_size": 3, "num_cond_embs": 2, "verbose": False, **options}
    return ModuleHNet(perceptron() if trunk is None else trunk, TARGETS, **settings)


TRUNKS: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "layer norm": (perceptron, {}),
    "images": (reads_images, {"cond_in_size": (1, 4, 4)}),
    "recurrent": (reads_sequences, {"cond_in_size": (5, 2)}),
    "attention": (attends, {"cond_in_size": (5, 4)}),
    "batch norm": (normalises, {}),
}
ALL = pytest.mark.parametrize("name", TRUNKS)


@ALL
@pytest.mark.parametrize("chunk_size", [None, 7])
def test_equation(name: str, chunk_size: int | None) -> None:
    build, options = TRUNKS[name]
    hnet = module_hnet(build(), chunk_size=chunk_size, **options).eval()
    conditions = torch.stack([hnet.get_cond_in_emb(i) for i in (1, 0)])
    features = hnet.trunk(conditions).flatten(1)
    expected = hnet.internal_hnet(cond_input=features, ret_format="flattened")
    torch.testing.assert_close(hnet(cond_id=[1, 0], ret_format="flattened"), expected)
    torch.testing.assert_close(hnet(cond_input=conditions, ret_format="flattened"), expected)


def test_a_linear_head_is_the_last_layer() -> None:
    hnet = module_hnet()
    weight, bias = hnet.internal_hnet.internal_params
    expected = hnet.trunk(hnet.get_cond_in_emb(0)[None]) @ weight.T + bias
    torch.testing.assert_close(hnet(cond_id=0, ret_format="flattened"), expected)
    assert module_hnet(layers=[6], use_bias=False).internal_hnet.param_shapes == [[6, 4], [26, 6]]


def test_vectors_are_joined() -> None:
    hnet = module_hnet(perceptron(5), uncond_in_size=2)
    noise = torch.randn(4, 2)
    joined = torch.cat([noise, hnet.get_cond_in_emb(1).expand(4, 3)], dim=1)
    expected = hnet.internal_hnet(cond_input=hnet.trunk(joined), ret_format="flattened")
    torch.testing.assert_close(hnet(uncond_input=noise, cond_id=1, ret_format="flattened"), expected)
    free = module_hnet(uncond_in_size=3, cond_in_size=0, num_cond_embs=0)
    assert free(uncond_input=torch.randn(7, 3), ret_format="flattened").shape == (7, 26)


def test_tokens_of_any_length() -> None:
    trunk = nn.Sequential(nn.EmbeddingBag(9, 5), nn.LayerNorm(5))
    hnet = module_hnet(trunk, cond_in_size=(None,), feature_size=5, num_cond_embs=0)
    for length in (2, 6):
        tokens = torch.randint(9, (3, length))
        weights = hnet(cond_input=tokens, ret_format="stacked")
        assert [tuple(w.shape) for w in weights] == [(3, *shape) for shape in TARGETS]
    hnet.apply_hyperfan_init(cond_input=torch.randint(9, (50, 4)))
    with pytest.raises(ValueError, match="cond_input"):
        hnet.apply_hyperfan_init()


def test_contract_for_conditions_that_are_passed() -> None:
    images = torch.randn(3, 1, 4, 4)
    check_hypernetwork(module_hnet(reads_images(), cond_in_size=(1, 4, 4), num_cond_embs=0), cond_input=images)
    chunked = module_hnet(reads_sequences(), cond_in_size=(None, 2), feature_size=4, num_cond_embs=0, chunk_size=7)
    check_hypernetwork(chunked, cond_input=torch.randn(3, 5, 2))


def test_modes_of_the_trunk() -> None:
    """Dropout and batch norm are those of the mode; other parts of the program may switch the network."""
    trunk = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))
    hnet = module_hnet(trunk)
    mean = trunk[1].running_mean
    assert not mean.any()
    hnet.eval()
    first = hnet(cond_id=[0, 1], ret_format="flattened")
    assert torch.equal(hnet(cond_id=[0, 1], ret_format="flattened"), first)
    assert not mean.any()
    hnet.train()
    outputs = [hnet(cond_id=[0, 1], ret_format="flattened") for _ in range(2)]
    assert not torch.equal(*outputs)
    assert mean.any()
    model = HyperModel(hnet, ModuleNet(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)))).eval()
    assert not trunk[2].training
    assert "hnet.trunk.1.running_mean" in model.state_dict()


@ALL
@pytest.mark.parametrize("train", [False, True])
def test_many_parameter_sets_are_a_loop(name: str, train: bool) -> None:
    build, options = TRUNKS[name]
    hnet = module_hnet(build(), **options).double().train(train)
    weights = [torch.randn(3, *shape).double() for shape in hnet.param_shapes]
    nets = [copy.deepcopy(hnet) for _ in range(2)]
    got = nets[0].batched_forward(cond_id=[1, 0], weights=weights, ret_format="flattened")
    one_by_one = [nets[1](cond_id=[1, 0], weights=[w[b] for w in weights], ret_format="flattened") for b in range(3)]
    torch.testing.assert_close(got, torch.stack(one_by_one))
    for own, other in zip(nets[0].buffers(), nets[1].buffers(), strict=True):
        torch.testing.assert_close(own, other)


@ALL
def test_external_parameters(name: str) -> None:
    """A hypernetwork of a hypernetwork: all parameters, of the trunk as well, are produced."""
    torch.manual_seed(0)
    build, options = TRUNKS[name]
    inner = module_hnet(build(), no_uncond_weights=True, **options).eval()
    internal = module_hnet(build(), **options).eval()
    assert inner.hyper_shapes_learned == internal.unconditional_param_shapes
    assert len(list(inner.parameters())) == 2
    outer = HMLP(inner.hyper_shapes_learned, num_cond_embs=3, layers=[4], verbose=False)
    weights = outer(cond_id=2)
    got = inner(cond_id=[0, 1], weights=weights, ret_format="flattened")
    conditions = [inner.get_cond_in_emb(i) for i in range(2)]
    expected = internal(weights=[*conditions, *weights], cond_id=[0, 1], ret_format="flattened")
    torch.testing.assert_close(got, expected)
    got.square().sum().backward()
    assert all(param.grad is not None for param in outer.unconditional_params)
    with pytest.raises(ValueError, match="weights"):
        inner(cond_id=0)
    twin = module_hnet(build(), no_uncond_weights=True, **options).eval()
    twin.load_state_dict(inner.state_dict(), strict=True)
    torch.testing.assert_close(twin(cond_id=[0, 1], weights=weights, ret_format="flattened"), got)


class Twice(nn.Module):
    """One layer under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = self.second = nn.Sequential(nn.Linear(3, 3), nn.PReLU())
        self.last = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.second(self.first(x)))
        return y


@pytest.mark.parametrize("external", [False, True])
def test_a_layer_under_two_names(external: bool) -> None:
    """Passed weights hold for one call, and leave nothing behind."""
    hnet = module_hnet(Twice(), no_uncond_weights=external).double()
    sets = [torch.randn(3, *shape).double() for shape in hnet.unconditional_param_shapes]
    one = {"uncond_weights": [w[1] for w in sets]}
    tensors = [*hnet.parameters(), *hnet.buffers()]
    first = hnet(cond_id=0, weights=one, ret_format="flattened")
    batched = hnet.batched_forward(cond_id=0, weights={"uncond_weights": sets}, ret_format="flattened")
    torch.testing.assert_close(batched[1], first)
    broken = hnet.trunk.last.register_forward_pre_hook(lambda *_: [][0])
    with pytest.raises(IndexError):
        hnet(cond_id=0, weights=one)
    broken.remove()
    assert all(a is b for a, b in zip([*hnet.parameters(), *hnet.buffers()], tensors, strict=True))
    assert hnet.trunk.first is hnet.trunk.second
    torch.testing.assert_close(copy.deepcopy(hnet)(cond_id=0, weights=one, ret_format="flattened"), first)
    if not external:
        own = {"uncond_weights": list(hnet.unconditional_params)}
        torch.testing.assert_close(hnet(cond_id=0), hnet(cond_id=0, weights=own))


def test_tied_weights_change_together() -> None:
    trunk = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
    trunk[2].weight = trunk[0].weight
    hnet = module_hnet(trunk)
    weight = torch.randn(3, 3)
    changed = copy.deepcopy(hnet)
    with torch.no_grad():
        changed.trunk[0].weight.copy_(weight)
    torch.testing.assert_close(hnet(cond_id=0, weights={"trunk.0.weight": weight}), changed(cond_id=0))
    sets = torch.stack([weight, torch.zeros(3, 3)])
    batched = hnet.batched_forward(cond_id=0, weights={"trunk.0.weight": sets}, ret_format="flattened")
    torch.testing.assert_close(batched[0], changed(cond_id=0, ret_format="flattened"))


class Waits(nn.Module):
    """Two layers; between them each of two threads waits until the other one is as far."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 3), nn.Linear(3, 4)
        self.barrier: threading.Barrier | None = None

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        if self.barrier is not None:
            self.barrier.wait(timeout=60)
        y: Tensor = self.last(x)
        return y


@pytest.mark.parametrize("external", [False, True])
def test_threads_with_weights_of_their_own(external: bool) -> None:
    trunk = Waits()
    hnet = module_hnet(trunk, no_uncond_weights=external)
    sets = [{"uncond_weights": [torch.randn(shape) for shape in hnet.unconditional_param_shapes]} for _ in range(2)]
    expected = [hnet(cond_id=0, weights=weights, ret_format="flattened") for weights in sets]
    before = [tensor.clone() for tensor in (*hnet.parameters(), *hnet.buffers())]
    trunk.barrier = threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda weights: hnet(cond_id=0, weights=weights, ret_format="flattened"), sets))
    for got, wanted in zip(made, expected, strict=True):
        torch.testing.assert_close(got, wanted)
    assert all(torch.equal(a, b) for a, b in zip((*hnet.parameters(), *hnet.buffers()), before, strict=True))


class Checkpointed(nn.Module):
    """A perceptron whose activations are computed again in the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = perceptron()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = checkpoint(self.inside, x, use_reentrant=False)
        return y


def test_what_the_trunk_computes_again_sees_the_weights() -> None:
    plain, again = module_hnet(perceptron()), module_hnet(Checkpointed())
    weights = [torch.randn(shape) for shape in plain.unconditional_param_shapes]
    gradients = []
    for hnet in (plain, again):
        own = [weight.clone().requires_grad_() for weight in weights]
        made = hnet(cond_input=torch.ones(2, 3), weights={"uncond_weights": own}, ret_format="flattened")
        gradients.append(torch.autograd.grad(made.square().sum(), own))
    torch.testing.assert_close(*gradients)


def test_one_graph_with_weights() -> None:
    hnet = module_hnet().eval()
    conditions = torch.randn(2, 3)
    weights = {"uncond_weights": [torch.randn(shape) for shape in hnet.unconditional_param_shapes]}
    compiled = torch.compile(hnet, fullgraph=True, backend="aot_eager")
    expected = hnet(cond_input=conditions, weights=weights, ret_format="stacked")
    torch.testing.assert_close(compiled(cond_input=conditions, weights=weights, ret_format="stacked"), expected)
    assert all(isinstance(param, nn.Parameter) for param in hnet.trunk.parameters())
    torch._dynamo.reset()


def test_embeddings_in_a_table() -> None:
    """The same numbers as one parameter; files of one form load into the other."""
    hnet = module_hnet(reads_images(), cond_in_size=(1, 4, 4), num_cond_embs=3)
    table = module_hnet(reads_images(), cond_in_size=(1, 4, 4), num_cond_embs=3, embedding_table=True)
    assert table.conditional_param_shapes == [[3, 1, 4, 4]]
    table.load_state_dict(hnet.state_dict())
    torch.testing.assert_close(table(cond_id=[2, 0]), hnet(cond_id=[2, 0]))
    hnet.load_state_dict(table.state_dict())
    assert table.add_conditions(2)[0].shape == (5, 1, 4, 4)
    torch.testing.assert_close(table(cond_id=[2, 0]), hnet(cond_id=[2, 0]))
    looked_up_in_a_table(table)


def test_parameters_are_in_the_table() -> None:
    hnet = module_hnet()
    assert [meta["name"] for meta in hnet.param_shapes_meta] == [
        *["embedding"] * 2,
        *["bn_scale", "bn_shift", "weight", "bias", "weight", "bias"],
        *["weight", "bias"],
    ]
    assert {id(p) for p in hnet.internal_params} == {id(p) for p in hnet.parameters()}
    assert hnet.mask_fc_out
    assert hnet.has_linear_out
    assert [tuple(p.shape) for p in hnet.add_conditions(2)] == [(3,), (3,)]
    assert hnet(cond_id=3, ret_format="flattened").shape == (1, 26)
    init_conditional_embeddings(hnet, normal_std=0.0)
    assert not hnet.get_cond_in_emb(3).any()


def test_forgetting_is_measured() -> None:
    hnet = module_hnet(chunk_size=7).eval()
    targets = get_current_targets(1, hnet)
    with torch.no_grad():
        hnet.trunk[0].weight.add_(0.1)
    value = calc_fix_target_reg(hnet, 1, targets=targets)
    value.backward()
    assert value > 0
    assert hnet.trunk[0].weight.grad.any()


def test_weights_from_the_input_of_the_main_network() -> None:
    """Each sample has weights of its own, which a module reads off it."""
    net = ModuleNet(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)))
    trunk = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    settings = {"cond_in_size": (1, 4, 4), "num_cond_embs": 0, "verbose": False}
    model = HyperModel(ModuleHNet(trunk, net.hyper_shapes_learned, **settings), net)
    images = torch.randn(6, 1, 4, 4)
    output = model(images.unsqueeze(1), cond_input=images)
    assert output.shape == (6, 1, 3)
    alone = net(images[2:3], weights=model.hnet(cond_input=images[2:3]))
    torch.testing.assert_close(output[2], alone)


def test_wrappers_around_it() -> None:
    net = ModuleNet(nn.Linear(6, 5), include="weight")
    low_rank = HLowRank(lambda shapes: ModuleHNet(perceptron(), shapes, cond_in_size=3, verbose=False), net, 2)
    low_rank.apply_hyperfan_init(mnet=net)
    x = torch.randn(4, 6)
    torch.testing.assert_close(net(x, weights=low_rank.factors(cond_id=0)), net.module(x))
    with torch.no_grad():
        low_rank.gates.fill_(1.0)
    assert not torch.allclose(net(x, weights=low_rank.factors(cond_id=0)), net.module(x))
    free = {"num_cond_embs": 0, "no_cond_weights": True}
    encoded = HEncodedInput(module_hnet(perceptron(4), cond_in_size=4, **free), num_cond_embs=2, verbose=False)
    check_hypernetwork(HPerturbWrapper(encoded, 0, sigma_noise=0.1, verbose=False))
    residual = HResidual(module_hnet(chunk_size=7), verbose=False)
    residual.start_at_base()
    torch.testing.assert_close(residual(cond_id=1), [w.detach() for w in residual.base_weights])


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("chunk_size", [None, 7])
def test_the_trunk_is_measured(chunk_size: int | None, train: bool) -> None:
    """Features of any size, and dropout, leave the produced weights their variance; nothing else changes."""
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(3, 30), nn.BatchNorm1d(30), nn.Dropout(0.5))
    with torch.no_grad():
        trunk[1].weight.fill_(5.0)
    hnet = module_hnet(trunk, chunk_size=chunk_size, num_cond_embs=0).train(train)
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    moments = torch.zeros(4)
    for _ in range(100):
        hnet.apply_hyperfan_init(cond_var=0.5)
        assert all(torch.equal(value, before[name]) for name, value in trunk.state_dict().items())
        state = copy.deepcopy(trunk.state_dict())
        with torch.no_grad():
            weights = hnet(cond_input=0.5**0.5 * torch.randn(20, 3), ret_format="stacked")
            moments += torch.stack([w.square().mean() for w in weights]) / 100
        trunk.load_state_dict(state)
    torch.testing.assert_close(moments, torch.tensor([1 / 3, 1, 1 / 4, 1]), rtol=0.15, atol=0)


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no module": ({"trunk": torch.relu}, TypeError, "trunk"),
    "no input": ({"cond_in_size": 0}, ValueError, "cond_in_size"),
    "empty shape": ({"cond_in_size": ()}, ValueError, "cond_in_size"),
    "zero in a shape": ({"cond_in_size": (1, 0)}, ValueError, "cond_in_size"),
    "text": ({"cond_in_size": "8"}, TypeError, "cond_in_size"),
    "noise and images": ({"cond_in_size": (1, 4, 4), "uncond_in_size": 2}, ValueError, "uncond_in_size"),
    "embeddings of open shape": ({"cond_in_size": (None, 3)}, ValueError, "num_cond_embs"),
    "open shape": ({"cond_in_size": (None, 3), "num_cond_embs": 0}, ValueError, "feature_size"),
    "features": ({"feature_size": 0}, ValueError, "feature_size"),
    "chunks": ({"chunk_size": 0}, ValueError, "chunk_size"),
    "pair": ({"trunk": Pair()}, TypeError, r"trunk\(\.\.\.\)"),
    "mixed conditions": ({"trunk": nn.Flatten(0)}, ValueError, r"trunk\(\.\.\.\)"),
}


@pytest.mark.parametrize(("options", "error", "name"), WRONG.values(), ids=WRONG)
def test_wrong_arguments(options: dict[str, Any], error: type[Exception], name: str) -> None:
    with pytest.raises(error, match=name):
        ModuleHNet(**{"trunk": perceptron(), "target_shapes": TARGETS, "cond_in_size": 3, "verbose": False, **options})


WRONG_CALLS: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "forward"),
    "both": ({"cond_id": 0, "cond_input": torch.zeros(1, 1, 4, 4)}, "cond_input"),
    "a vector": ({"cond_input": torch.zeros(2, 16)}, r"cond_input: expected shape \('N', 1, 4, 4\), got \(2, 16\)"),
    "another size": ({"cond_input": torch.zeros(2, 1, 4, 5)}, "cond_input"),
    "noise": ({"cond_id": 0, "uncond_input": torch.zeros(1, 2)}, "uncond_input"),
    "an unknown condition": ({"cond_id": 2}, "cond_id"),
}


@pytest.mark.parametrize(("inputs", "name"), WRONG_CALLS.values(), ids=WRONG_CALLS)
def test_wrong_inputs(inputs: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        module_hnet(reads_images(), cond_in_size=(1, 4, 4))(**inputs)


def test_wrong_features() -> None:
    hnet = module_hnet(nn.Linear(3, 5), feature_size=4)
    with pytest.raises(ValueError, match=r"trunk\(\.\.\.\): expected 4 entries"):
        hnet(cond_id=0)
    with pytest.warns(UserWarning, match="num_cond_embs"):
        module_hnet(uncond_in_size=3, cond_in_size=0)
    with pytest.raises(ValueError, match="internal"):
        module_hnet(no_uncond_weights=True).apply_hyperfan_init()


class MaskedMean(nn.Module):
    """Reads features of tokens and says how many of them there are."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 4)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        return (self.linear(features) * mask[..., None]).sum(-2) / mask.sum(-1, keepdim=True)


def documents(*lead: int) -> dict[str, Tensor]:
    mask = torch.ones(*lead, 2, 5)
    mask[..., 1, 3:] = 0
    return {"features": torch.randn(*lead, 2, 5, 8), "mask": mask}


def test_conditions_that_are_dictionaries() -> None:
    """A trunk gets the entries as keywords, also within wrappers, for many parameter sets and as samples of a start."""
    inner = ModuleHNet(
        MaskedMean(), [[3, 2], [3]], cond_in_size=(None, 8), num_cond_embs=0, feature_size=4, verbose=False
    )
    both = documents()
    weights = inner(cond_input=both, ret_format="flattened")
    short = {"features": both["features"][1:, :3], "mask": both["mask"][1:, :3]}
    torch.testing.assert_close(weights[1:], inner(cond_input=short, ret_format="flattened"))
    expected = inner.internal_hnet(cond_input=inner.trunk(**both), ret_format="flattened")
    torch.testing.assert_close(weights, expected)

    hnet = HResidual(inner, verbose=False)
    nets = [copy.deepcopy(hnet) for _ in range(3)]
    for net in nets:
        for parameter in net.parameters():
            nn.init.normal_(parameter)
    stacked = {name: torch.stack([net.get_parameter(name) for net in nets]) for name, _ in hnet.named_parameters()}
    many = documents(3)
    of_many = hnet.batched_forward(cond_input=many, weights=stacked, ret_format="flattened")
    for b, net in enumerate(nets):
        own = {name: value[b] for name, value in many.items()}
        torch.testing.assert_close(of_many[b], net(cond_input=own, ret_format="flattened"))

    for start in (inner.apply_hyperfan_init, inner.apply_calibrated_init):
        start(cond_input=both)
        assert inner(cond_input=both, ret_format="flattened").isfinite().all()


@pytest.mark.parametrize(
    ("build", "given", "error", "message"),
    [
        (lambda: HMLP([[3]], cond_in_size=8, verbose=False), {}, TypeError, "cond_input: expected a tensor, got dict"),
        (lambda: HMLP([[3]], cond_in_size=0, uncond_in_size=1, num_cond_embs=0, verbose=False),
         {"uncond_input": torch.ones(2, 1)}, TypeError, "cond_input: expected a tensor, got dict"),
        (lambda: ModuleHNet(nn.Linear(9, 4), [[3]], 1, 8, num_cond_embs=0, verbose=False),
         {"uncond_input": torch.ones(2, 1)}, ValueError, "cond_input: expected a tensor"),
        (lambda: ModuleHNet(MaskedMean(), [[3]], cond_in_size=8, num_cond_embs=0, feature_size=4, verbose=False),
         {"cond_input": {"features": torch.ones(2, 5, 8), "mask": torch.ones(3, 5)}}, ValueError, "cond_input"),
        (lambda: ModuleHNet(MaskedMean(), [[3]], cond_in_size=8, num_cond_embs=0, feature_size=4, verbose=False),
         {"cond_input": {"features": [1.0]}}, TypeError, r"cond_input\['features'\]: expected a tensor, got float"),
    ],
)  # fmt: skip
def test_dictionaries_that_do_not_fit(build: Any, given: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        build()(**{"cond_input": documents(), **given})
