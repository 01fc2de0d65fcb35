"""HLowRank: the equation, its start at zero, factors of conditions, and other hypernetworks around and inside of it."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypnettorch.core.low_rank import LowRank
from hypnettorch.core.starts import hyperfan
from hypnettorch.hnets import (
    HMLP,
    ChunkedHMLP,
    HContainer,
    HDeconv,
    HEncodedInput,
    HLowRank,
    HPerturbWrapper,
    HRecurrent,
    HResidual,
    HScaling,
    HSetInput,
)
from hypnettorch.hnets.initialization import describe_targets
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets import MLP, ModuleNet
from hypnettorch.testing import check_hypernetwork
from tests.hnets.assemblies import HandWritten, hnets_around_plain

TARGETS = [[4, 3], [2, 4, 3, 3], [5, 2]]
FACTORS = [[2, 3], [4, 2], [1, 36], [2, 1], [3, 2], [5, 3]]
RANKS = [2, 1, 3]
COMMON: dict[str, Any] = {"num_cond_embs": 3, "cond_in_size": 3, "verbose": False}


def hmlp(shapes: Any = FACTORS, **options: Any) -> HMLP:
    return HMLP(shapes, **{**COMMON, "layers": [5], **options}).double()


def low_rank(hnet: Any = hmlp, target: Any = TARGETS, rank: Any = RANKS, **options: Any) -> HLowRank:
    """A network with open gates."""
    made = HLowRank(hnet, target, rank, **{"verbose": False, **options}).double()
    nn.init.normal_(made.gates)
    return made


def module() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def module_net() -> ModuleNet:
    return ModuleNet(module(), include="*.weight")


def test_equation() -> None:
    hnet = low_rank(alpha=[4.0, 3.0, 0.5])
    produced = hnet.internal_hnet(cond_id=[2, 0], ret_format="stacked")
    updates = hnet(cond_id=[2, 0], ret_format="stacked")
    factors = hnet.factors(cond_id=[2, 0])
    assert list(factors) == [0, 1, 2]
    for i, (shape, alpha) in enumerate(zip(TARGETS, (4.0, 3.0, 0.5), strict=True)):
        A, B = produced[2 * i], produced[2 * i + 1]
        expected = alpha / RANKS[i] * hnet.gates[i] * torch.einsum("nor,nri->noi", B, A)
        torch.testing.assert_close(updates[i], expected.view(2, *shape))
        torch.testing.assert_close(factors[i].A, A)
        torch.testing.assert_close(factors[i].B @ factors[i].A, expected)
    for one, row in zip(hnet.factors(cond_id=0).values(), factors.values(), strict=True):
        torch.testing.assert_close(one, LowRank(row.A[1], row.B[1]))
    assert hnet.factors(cond_id=[1], ret_format="stacked")[0].A.shape == (1, 2, 3)
    assert hnet.factors(cond_id=[1])[0].A.shape == (2, 3)


@pytest.mark.parametrize("build", [hmlp, lambda s: hmlp(s, no_uncond_weights=True), HandWritten])
def test_step_0_is_the_base_model(build: Any) -> None:
    """Exactly, whatever the class and the weights of the hypernetwork are; gradients open the gates."""
    net = module_net()
    hnet = HLowRank(build, net, rank=2, verbose=False).double()
    weights = [torch.randn(*shape).double() for shape in hnet.hyper_shapes_learned or []] or None
    x = torch.randn(7, 6).double()
    assert torch.equal(net(x, weights=hnet.factors(cond_id=1, weights=weights)), net.module(x))
    batched = net.batched_forward(x, weights=hnet.factors(cond_id=[0, 1, 2], weights=weights), share_input=True)
    torch.testing.assert_close(batched, net.module(x).expand(3, -1, -1), rtol=1e-12, atol=1e-14)
    net(x, weights=hnet.factors(cond_id=1, weights=weights)).square().sum().backward()
    assert (hnet.gates.grad.abs() > 0).all()


def test_keys_and_ranks() -> None:
    net = ModuleNet(
        nn.ModuleDict({"attn": nn.Linear(6, 6), "attn2": nn.Linear(6, 6), "out": nn.Linear(6, 2)}), "*weight"
    )
    hnet = HLowRank(HMLP, net, {"attn.*": 5, "attn*": 3, "*": 1}, {"out.weight": 1.0, "*": 2.0}, verbose=False)
    assert hnet.target_keys == ["attn.weight", "attn2.weight", "out.weight"]
    assert [pair.rank for pair in hnet.factors(cond_id=0).values()] == [5, 3, 1]
    assert hnet.internal_hnet.target_shapes == HLowRank.factor_shapes(net, [5, 3, 1])
    mnet = MLP(n_in=3, n_out=2, hidden_layers=[4], use_bias=False, no_weights=True, verbose=False)
    by_position = HLowRank(HMLP, mnet, {0: 2, 1: 1}, verbose=False)
    assert by_position.target_shapes == mnet.hyper_shapes_learned
    assert [(key, pair.rank) for key, pair in by_position.factors(cond_id=0).items()] == [(0, 2), (1, 1)]


def test_factors_of_any_condition() -> None:
    hnet = low_rank(lambda shapes: hmlp(shapes, uncond_in_size=2))
    noise, embedding = torch.randn(3, 2).double(), torch.randn(3, 3).double()
    for given in (
        {"uncond_input": noise, "cond_id": [0, 2, 1]},
        {"uncond_input": noise, "cond_input": embedding},
        {"uncond_input": noise, **hnet.condition_inputs(torch.tensor([1, 1, 0]))},
        {"uncond_input": noise, "cond_id": 1, "weights": {"uncond_weights": [*map(torch.randn_like, uncond(hnet))]}},
    ):
        updates = hnet(**given, ret_format="stacked")
        for pair, shape, update in zip(hnet.factors(**given).values(), TARGETS, updates, strict=True):
            torch.testing.assert_close(pair.product(shape), update)


def uncond(hnet: Any) -> list[Tensor]:
    return list(hnet.unconditional_params)


def test_contract() -> None:
    check_hypernetwork(low_rank(lambda shapes: ChunkedHMLP(shapes, 5, cond_chunk_embs=True, layers=[5], **COMMON)))
    check_hypernetwork(low_rank(HandWritten))
    base = [torch.randn(*shape).double() for shape in TARGETS]
    check_hypernetwork(HResidual(low_rank(lambda s: hmlp(s, no_uncond_weights=True)), base, verbose=False))
    parts = [low_rank(target=TARGETS[:2], rank=RANKS[:2], hnet=hmlp), hmlp(TARGETS[2:])]
    check_hypernetwork(HContainer(TARGETS, hnets_around_plain, parts, num_cond_embs=3, verbose=False))


def test_inputs_may_be_wrapped_inside() -> None:
    net = module_net()
    x = torch.randn(2, 4, 6).double()

    def of_sets(shapes: Any) -> HSetInput:
        return HSetInput(hmlp(shapes, cond_in_size=2), nn.Linear(6, 2).double(), verbose=False)

    def encoded(shapes: Any) -> HEncodedInput:
        inner = hmlp(shapes, cond_in_size=6, num_cond_embs=0, no_cond_weights=True)
        return HEncodedInput(inner, verbose=False)

    for build, condition in ((of_sets, torch.randn(2, 9, 6)), (encoded, torch.rand(2, 3))):
        model = HyperModel(low_rank(build, net, 2), net)
        output = model(x, cond_input=condition.double())
        update = model.hnet.factors(cond_input=condition[1:].double())
        torch.testing.assert_close(output[1], net(x[1], weights=update))


@pytest.mark.parametrize("trainable", [True, False])
def test_residual_passes_factors_through(trainable: bool) -> None:
    net = module_net()
    inner = low_rank(target=net, rank=2, hnet=lambda s: hmlp(s, no_uncond_weights=True))
    hnet = HResidual(inner, net.initial_weights(), trainable, verbose=False)
    weights = [torch.randn(*shape).double() for shape in hnet.hyper_shapes_learned or []]
    x = torch.randn(7, 6).double()
    for ids in (1, [0, 2]):
        got = hnet.factors(cond_id=ids, weights=weights)
        assert list(got) == net.param_names[::2]
        torch.testing.assert_close(got, inner.factors(cond_id=ids, weights=weights))
    full = hnet(cond_id=1, weights=weights)
    torch.testing.assert_close(net(x, weights=hnet.factors(cond_id=1, weights=weights)), net(x, weights=full))


def test_start_at_base() -> None:
    net = module_net()
    hnet = HResidual(low_rank(target=net, rank=2), net.initial_weights(), verbose=False)
    hnet.start_at_base()
    torch.testing.assert_close(hnet(cond_id=1), net.initial_weights(), rtol=0, atol=0)
    loss = sum(w.sum() for w in hnet(cond_id=1))
    loss.backward()
    assert hnet.internal_hnet.gates.grad.abs().min() > 0


def test_others_refuse() -> None:
    others = [
        hmlp(TARGETS),
        HScaling(hmlp([[4], [2], [5]]), [torch.randn(*shape) for shape in TARGETS], verbose=False),
        HPerturbWrapper(hmlp(TARGETS, uncond_in_size=2), hnet_uncond_in_size=2, verbose=False),
        HResidual(hmlp(TARGETS), verbose=False),
    ]
    for other in others:
        with pytest.raises(NotImplementedError, match="no factors"):
            other.factors(cond_id=0)


FREE: dict[str, Any] = {"num_cond_embs": 0, "no_cond_weights": True}


def updates(**options: Any) -> HLowRank:
    return low_rank(lambda shapes: hmlp(shapes, **options))


AROUND: dict[str, Any] = {
    "encoding": (lambda: HEncodedInput(updates(cond_in_size=6, **FREE), num_cond_embs=3, verbose=False), {}),
    "set": (lambda: HSetInput(updates(), nn.Linear(2, 3), verbose=False), {"cond_input": torch.rand(2, 5, 2)}),
    "recurrent": (lambda: HRecurrent(updates(**FREE), 2, verbose=False), {"cond_input": torch.randn(3, 2, 2)}),
    "residual": (lambda: HResidual(updates(), verbose=False), {}),
    "several": (
        lambda: HResidual(
            HEncodedInput(HResidual(updates(cond_in_size=6, **FREE), verbose=False), num_cond_embs=3, verbose=False),
            verbose=False,
        ),
        {},
    ),
}


@pytest.mark.parametrize(("build", "given"), AROUND.values(), ids=AROUND)
def test_wrappers_around_it_pass_updates_on(build: Any, given: dict[str, Any]) -> None:
    hnet = build().double()
    given = {name: value.double() for name, value in given.items()} or {"cond_id": [2, 0]}
    assert hnet.makes_updates
    assert hnet.target_keys == [0, 1, 2]
    last, base = hnet, torch.zeros(()).double()
    while not isinstance(last, HLowRank):
        if isinstance(last, HResidual):
            base = base + torch.cat([w.flatten() for w in last.base_weights])
        last = last.internal_hnet
    full = hnet.convert_out_format(hnet(**given, ret_format="flattened") - base, "flattened", "stacked")
    for pair, shape, expected in zip(hnet.factors(**given).values(), TARGETS, full, strict=True):
        torch.testing.assert_close(pair.product(shape), expected)
    weights = {name: 2 * param for name, param in hnet.named_parameters() if name.endswith("gate.weight")}
    for doubled, pair in zip(
        hnet.factors(**given, weights=weights).values(), hnet.factors(**given).values(), strict=True
    ):
        torch.testing.assert_close(doubled, LowRank(pair.A, 2 * pair.B))


def test_wrappers_that_change_updates_refuse() -> None:
    """What is no update any more is not taken for one, and not for weights either."""
    noisy = HPerturbWrapper(updates(), 0, verbose=False)
    encoded = HPerturbWrapper(updates(cond_in_size=6, **FREE), 0, verbose=False)
    for hnet in (
        noisy,
        HPerturbWrapper(HResidual(updates(), verbose=False), 0, verbose=False),
        HResidual(noisy, verbose=False),
        HEncodedInput(encoded, num_cond_embs=1, verbose=False),
    ):
        assert hnet.makes_updates
        with pytest.raises(
            NotImplementedError, match="HPerturbWrapper changes weights: expected it inside of HLowRank"
        ):
            hnet.factors(uncond_input=torch.randn(1, noisy.num_outputs).double(), cond_id=0)


class Overridden(HLowRank):
    """A subclass with factors of its own."""

    def factors(self, *args: Any, **kwargs: Any) -> Any:
        return {key: LowRank(A, -B) for key, (A, B) in super().factors(*args, **kwargs).items()}


def test_factors_of_a_subclass_are_asked_for() -> None:
    inner = Overridden(hmlp, TARGETS, RANKS, verbose=False).double()
    nn.init.normal_(inner.gates)
    hnet = HResidual(inner, verbose=False)
    weights = {"hnet.gate.weight": torch.randn(3).double()}
    expected = inner.factors(cond_id=[1, 2], weights={"gate.weight": weights["hnet.gate.weight"]})
    torch.testing.assert_close(hnet.factors(cond_id=[1, 2], weights=weights), expected)


def test_hyper_model_adds_to_the_base() -> None:
    net = module_net()
    hnet = low_rank(target=net, rank=2)
    model = HyperModel(hnet, net)
    x = torch.randn(2, 7, 6).double()
    sums = [w + u for w, u in zip(net.initial_weights(), hnet(cond_id=2), strict=True)]
    torch.testing.assert_close(model(x[0], cond_id=2), net(x[0], weights=sums))
    batched = model(x, cond_id=[0, 2])
    torch.testing.assert_close(batched[1], net(x[1], weights=sums))
    torch.testing.assert_close(batched[0], net(x[0], weights=hnet.factors(cond_id=0)))
    assert {name.partition(".")[0] for name, _ in model.named_parameters()} == {"hnet", "mnet"}
    model.compile(fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(model(x, cond_id=[0, 2]), batched)
    torch._dynamo.reset()


def test_export() -> None:
    net = module_net()
    hnet = low_rank(target=net, rank=2, hnet=lambda s: hmlp(s, num_cond_embs=0, no_cond_weights=True))
    model = HyperModel(hnet, net)
    x, e = torch.randn(4, 6).double(), torch.randn(3).double()
    program = torch.export.export(model, (x,), {"cond_input": e})
    torch.testing.assert_close(program.module()(x, cond_input=e), model(x, cond_input=e))


def test_training_leaves_the_base() -> None:
    torch.manual_seed(0)
    net = module_net()
    hnet = HLowRank(hmlp, net, rank=2, verbose=False).double()
    hnet.apply_hyperfan_init(mnet=net)
    model = HyperModel(hnet, net)
    x = torch.randn(3, 20, 6).double()
    y = torch.stack([net.module(x[b]).detach() * b for b in range(3)])
    before = [w.clone() for w in net.initial_weights()]
    optimizer = torch.optim.Adam(hnet.parameters(), lr=2e-2)
    losses = []
    for _ in range(150):
        optimizer.zero_grad()
        loss = (model(x, cond_id=[0, 1, 2]) - y).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
    torch.testing.assert_close(net.initial_weights(), before, rtol=0, atol=0)


@pytest.mark.parametrize("method", ["in", "harmonic"])
def test_hyperfan(method: str) -> None:
    """With gates of 1 and inputs of typical norm, updates have the variance that the weights should have."""
    net = ModuleNet(nn.Sequential(nn.Linear(40, 30), nn.Linear(30, 50)), include="*.weight")
    hnet = HLowRank(lambda s: HMLP(s, layers=(), verbose=False), net, [4, 8], alpha=[4, 8], verbose=False)
    moments = torch.zeros(2)
    for _ in range(80):
        nn.init.normal_(hnet.gates)
        hnet.apply_hyperfan_init(method, mnet=net)
        assert not hnet.gates.any()
        nn.init.ones_(hnet.gates)
        updates = hnet(cond_input=torch.randn(10, 8).sign(), ret_format="stacked")
        moments += torch.stack([w.detach().square().mean() for w in updates]) / 80
    starts = [hyperfan(target, method) for target in describe_targets(hnet.target_shapes, net)]
    torch.testing.assert_close(moments, torch.tensor([start.generated for start in starts]), rtol=0.15, atol=0)


def test_more_conditions_copies_and_files() -> None:
    hnet = low_rank()
    expected = hnet.factors(cond_id=[0, 2])
    new = hnet.add_conditions(2)
    assert hnet.num_known_conds == 5
    assert [tuple(p.shape) for p in new] == [(3,), (3,)]
    torch.testing.assert_close(hnet.factors(cond_id=[0, 2]), expected, rtol=0, atol=0)
    fresh = low_rank(lambda shapes: hmlp(shapes, num_cond_embs=5))
    fresh.load_state_dict(hnet.state_dict())
    for twin in (fresh, copy.deepcopy(hnet), pickle.loads(pickle.dumps(hnet))):
        torch.testing.assert_close(twin.factors(cond_id=[0, 2]), expected, rtol=0, atol=0)


def test_table() -> None:
    hnet = low_rank()
    assert hnet.param_shapes == [*hnet.internal_hnet.param_shapes, [3]]
    assert hnet.num_outputs == sum(w.numel() for w in hnet(cond_id=0)) > 0
    assert HMLP(HLowRank.factor_shapes([[512, 512]], 4), verbose=False).num_outputs == 4096


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "main network": ({"hnet": MLP(verbose=False)}, TypeError, "hnet"),
    "dropout": ({"dropout": 1.5}, ValueError, "dropout"),
    "number": ({"hnet": 3}, TypeError, "hnet"),
    "what a function makes": ({"hnet": lambda shapes: 3}, TypeError, "hnet"),
    "other targets": ({"hnet": hmlp(TARGETS)}, ValueError, "hnet: expected target shapes"),
    "target": ({"target": 3}, TypeError, "target"),
    "rank": ({"rank": 0}, ValueError, "rank"),
    "type of rank": ({"rank": 1.5}, TypeError, "rank"),
    "number of ranks": ({"rank": [1, 2]}, ValueError, "rank"),
    "rank of nothing": ({"rank": {0: 1, 1: 1, 2: 1, 7: 2}}, ValueError, r"rank: .*\[7\]"),
    "rank is missing": ({"rank": {0: 1, 1: 1}}, ValueError, r"rank: .*\[2\]"),
    "alpha": ({"alpha": "x"}, TypeError, "alpha"),
    "number of alphas": ({"alpha": [1.0]}, ValueError, "alpha"),
}


@pytest.mark.parametrize(("options", "error", "name"), WRONG.values(), ids=WRONG)
def test_wrong_arguments(options: dict[str, Any], error: type[Exception], name: str) -> None:
    with pytest.raises(error, match=name):
        HLowRank(**{"hnet": hmlp, "target": TARGETS, "rank": RANKS, "verbose": False, **options})


@pytest.mark.parametrize(
    ("options", "error", "name"),
    [
        ({"cond_id": 3}, ValueError, "cond_id"),
        ({"cond_id": 0, "ret_format": "flattened"}, ValueError, "ret_format"),
        ({"cond_id": 0, "cond_input": torch.zeros(1, 3)}, ValueError, "cond_i"),
        ({}, ValueError, "cond_id"),
    ],
)
def test_wrong_conditions(options: dict[str, Any], error: type[Exception], name: str) -> None:
    with pytest.raises(error, match=name):
        low_rank().factors(**options)


def test_deconvolutional_generator() -> None:
    """The generator may be any: here factors are drawn as an image."""
    net = module_net()
    hnet = low_rank(
        lambda s: HDeconv(s, (6, 10), num_layers=2, num_filters=(3,), kernel_size=3, sa_units=(), **COMMON), net, 2
    )
    x = torch.randn(5, 6).double()
    sums = [w + u for w, u in zip(net.initial_weights(), hnet(cond_id=2), strict=True)]
    torch.testing.assert_close(net(x, weights=hnet.factors(cond_id=2)), net(x, weights=sums))


class Shared(nn.Module):
    """One network for all layers, as it is written for Text-to-LoRA: it knows nothing of this package."""

    def __init__(self, net: ModuleNet, rank: int = 2) -> None:
        super().__init__()
        self.shapes, self.rank = dict(net.selected_shapes), rank
        self.layers = nn.Embedding(len(self.shapes), 3)
        self.trunk = nn.Linear(6, 8)
        self.heads = nn.ModuleList(nn.Linear(8, rank * sum(shape)) for shape in self.shapes.values())

    def forward(self, e: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        pairs = {}
        for i, (name, (rows, columns)) in enumerate(self.shapes.items()):
            own = torch.cat([e, self.layers.weight[i].expand(len(e), -1)], dim=-1)
            A, B = self.heads[i](self.trunk(own)).split([self.rank * columns, self.rank * rows], dim=-1)
            pairs[name] = A.view(-1, self.rank, columns), B.view(-1, rows, self.rank)
        return pairs


def test_any_module_that_returns_pairs() -> None:
    net = module_net()
    generator = Shared(net).double()
    hnet = HLowRank(generator, net, rank=2, alpha=3.0, verbose=False).double()
    e, x = torch.randn(3, 3).double(), torch.randn(3, 7, 6).double()
    assert torch.equal(net(x[0], weights=hnet.factors(cond_input=e[:1])), net.module(x[0]))
    nn.init.normal_(hnet.gates)
    made, factors = generator(e), hnet.factors(cond_input=e)
    for i, (name, (A, B)) in enumerate(made.items()):
        torch.testing.assert_close(factors[name], LowRank(A, 1.5 * hnet.gates[i] * B))
    model = HyperModel(hnet, net)
    output = model(x, cond_input=e)
    torch.testing.assert_close(output[2], net(x[2], weights=hnet.factors(cond_input=e[2:])))
    output.sum().backward()
    assert all(parameter.grad is not None for parameter in generator.parameters())
    doubled = {name: 2 * parameter for name, parameter in hnet.named_parameters()}
    of_two = hnet.batched_forward(
        cond_input=e,
        weights={name: torch.stack([p, doubled[name]]) for name, p in hnet.named_parameters()},
        share_input=True,
        ret_format="stacked",
    )
    torch.testing.assert_close(of_two[0][1], hnet(cond_input=e, weights=doubled, ret_format="stacked")[0])
    assert set(hnet.state_dict()) == {"gate.weight", *(f"hnet.module.{name}" for name in generator.state_dict())}
    copy.deepcopy(hnet).load_state_dict(hnet.state_dict())


class Documents(nn.Module):
    """Pairs from token features of documents and their mask."""

    def __init__(self, net: ModuleNet) -> None:
        super().__init__()
        self.generator = Shared(net)
        self.linear = nn.Linear(5, 3)

    def forward(self, features: Tensor, mask: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        pooled = (self.linear(features) * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return self.generator(pooled)


def test_conditions_that_are_dictionaries() -> None:
    net = module_net()
    hnet = HLowRank(Documents(net), net, rank=2, verbose=False).double()
    nn.init.normal_(hnet.gates)
    features, mask = torch.randn(2, 9, 5).double(), torch.ones(2, 9).double()
    mask[1, 4:] = 0
    both = hnet.factors(cond_input={"features": features, "mask": mask})
    short = hnet.factors(cond_input={"features": features[1:, :4], "mask": mask[1:, :4]})
    for pair, alone in zip(both.values(), short.values(), strict=True):
        torch.testing.assert_close(pair.A[1], alone.A)
    with pytest.raises(TypeError, match=r"cond_input\['mask'\]: expected a tensor, got int"):
        hnet.factors(cond_input={"features": features, "mask": [1]})


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda pairs: {"0.weight": pairs["0.weight"]}, r"hnet\(...\): expected a dictionary with pairs .*'2.weight'"),
        (lambda pairs: list(pairs.values()), r"hnet\(...\): expected a dictionary .* got list"),
        (lambda pairs: {**pairs, "2.weight": pairs["0.weight"]}, r"hnet\(...\)\['2.weight'\], A: expected shape"),
        (lambda pairs: {name: (A, B[:1]) for name, (A, B) in pairs.items()}, r"\['0.weight'\], B: expected shape"),
    ],
)
def test_modules_that_return_something_else(made: Any, message: str) -> None:
    net = module_net()

    class Other(Shared):
        def forward(self, e: Tensor) -> Any:
            return made(super().forward(e))

    hnet = HLowRank(Other(net), net, rank=2, verbose=False).double()
    with pytest.raises(ValueError, match=message):
        hnet.factors(cond_input=torch.randn(2, 3).double())


def test_dropout() -> None:
    """In training mode entries of the input of an adapter are 0, others larger: on average nothing changes."""
    net = module_net()
    hnet = low_rank(target=net, rank=2, dropout=0.25)
    plain = hnet.eval().factors(cond_id=[0, 1])
    assert torch.equal(hnet.factors(cond_id=[0, 1])["0.weight"].A, plain["0.weight"].A)
    hnet.train()
    total = torch.zeros_like(plain["0.weight"].A)
    for _ in range(400):
        dropped = hnet.factors(cond_id=[0, 1])["0.weight"]
        assert torch.equal(dropped.B, plain["0.weight"].B)
        ratio = dropped.A / plain["0.weight"].A
        torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio))
        kept = torch.isclose(ratio, torch.tensor(4 / 3).double())
        assert (kept | (ratio == 0)).all()
        total += ratio / 400
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=0.15)
    assert not torch.equal(hnet.factors(cond_id=0)["0.weight"].A, hnet.factors(cond_id=0)["0.weight"].A)


class FusedExperts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.Parameter(torch.randn(4, 6, 5))


def test_stacks_of_matrices_are_refused() -> None:
    """Read as one matrix, ``A`` would be as large as an expert."""
    module = nn.ModuleDict(
        {"mixture": FusedExperts(), "conv": nn.utils.parametrizations.weight_norm(nn.Conv1d(3, 4, 2))}
    )
    with pytest.raises(ValueError, match=r"target: .*'mixture.experts' of shape \(4, 6, 5\)"):
        HLowRank(HMLP, ModuleNet(module, include=lambda name, p: p.dim() > 1), verbose=False)
    HLowRank(HMLP, ModuleNet(module, include="conv*original1"), verbose=False)


def test_vectors_are_columns() -> None:
    """Scales and shifts have updates of their own beside those of matrices; gradients reach all of them."""
    net = ModuleNet(nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 3)).double())
    hnet = HLowRank(lambda shapes: hmlp(shapes), net, rank=2, verbose=False).double()
    assert HLowRank.factor_shapes(net, 2)[4:6] == [[2, 1], [5, 2]]
    hnet.apply_calibrated_init(net)
    x = torch.randn(7, 6).double()
    net(x, weights=hnet.factors(cond_id=0)).square().sum().backward()
    assert (hnet.gates.grad != 0).all()
    nn.init.normal_(hnet.gates)
    factors = hnet.factors(cond_id=0)
    assert factors["1.weight"].product([5]).shape == (5,)
    sums = {
        name: own + factors[name].product(shape)
        for (name, shape), own in zip(net.selected_shapes.items(), net.initial_weights(), strict=True)
    }
    torch.testing.assert_close(net(x, weights=factors), net(x, weights=sums))
    torch.testing.assert_close(HyperModel(hnet, net)(x, cond_id=0), net(x, weights=sums))
