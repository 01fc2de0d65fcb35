"""The calibrated start: what is produced has the moments of the main network as it starts by itself."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypnettorch.core.values import Values
from hypnettorch.hnets import (
    HMLP,
    ChunkedHMLP,
    HContainer,
    HDeconv,
    HLowRank,
    HPerturbWrapper,
    HResidual,
    HSetInput,
    ModuleHNet,
    StructuredHMLP,
)
from hypnettorch.hnets.factors import can_factorize
from hypnettorch.hnets.hypernetwork import HyperNetwork, Produced, Request
from hypnettorch.hnets.wrapper import Wrapper
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets import MLP, ModuleNet
from tests.hnets import calibrated
from tests.hnets.assemblies import HandWritten
from tests.hnets.calibrated import FREE, HNETS, KNOWN, MAIN, chunked, conditions, rows_of, samples

SEEDS = 3

pytestmark = pytest.mark.filterwarnings("ignore:seq_lengths:UserWarning")


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Hundreds of tiny operations per second are slower with several threads, which wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def moment(weight: Tensor, mean: float = 0.0) -> float:
    """The mean square around a value."""
    return (weight.detach() - mean).square().mean().item()


def spread(output: Any) -> float:
    """The standard deviation of logits."""
    return float((output[0] if isinstance(output, tuple) else output).detach().std())


@pytest.fixture(scope="module")
def own_spread() -> dict[str, float]:
    """What main networks put out as they start by themselves: the mean over seeds."""
    torch.manual_seed(1)
    with torch.no_grad():
        return {
            name: float(torch.tensor([spread(main.build()(main.x())) for _ in range(9)]).mean())
            for name, main in MAIN.items()
        }


@pytest.mark.parametrize("main", MAIN)
def test_tables_tell_the_truth(main: str) -> None:
    """What rows say of their start is what the network starts with."""
    torch.manual_seed(0)
    sums: dict[str, list[tuple[float, float, int]]] = {}
    for _ in range(5):
        for row in MAIN[main].build(**({"no_weights": True} if main == "ModuleNet" else {})).table.rows:
            value = row.value() if row.owner is not None else None
            if value is not None:
                mean, variance = row.start
                sums.setdefault(row.name, []).append((moment(value, mean), variance, value.numel()))
    for name, entries in sums.items():
        found, variance = sum(entry[0] for entry in entries) / len(entries), entries[0][1]
        tolerance = 6 * variance / math.sqrt(len(entries) * entries[0][2])
        assert abs(found - variance) <= tolerance + 1e-12, name


@pytest.mark.parametrize("main", MAIN)
@pytest.mark.parametrize("name", HNETS)
def test_main_networks_start_as_by_themselves(name: str, main: str, own_spread: dict[str, float]) -> None:
    """Moments of each tensor, and the spread of logits."""
    found: list[float] = []
    pooled: dict[str, list[float]] = {}
    net = MAIN[main].build(no_weights=True)
    rows = rows_of(net)
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        hnet = HNETS[name]([list(row.shape) for row in rows])
        hnet.apply_calibrated_init(net, **samples(name))
        for part in hnet.modules():
            if isinstance(part, nn.Dropout):
                part.eval()
        with torch.no_grad():
            produced = hnet(**conditions(hnet), ret_format="stacked")
            for row, weight in zip(rows, produced, strict=True):
                mean, variance = row.start
                assert (weight - mean).mean().abs() < 0.05 + 5 * variance**0.5 / weight[0].numel() ** 0.5, row.name
                if variance == 0:
                    assert moment(weight, mean) < 0.02**2, row.name
                    continue
                ratio = moment(weight, mean) / variance
                pooled.setdefault(row.name, []).append(ratio)
                enough = 1000 if hasattr(hnet, "base_weights") else 100  # a base is drawn, and not measured
                if weight[0].numel() >= enough and hnet.num_known_conds and not hnet._uncond_in_size:
                    assert ratio == pytest.approx(1, rel=0.2), row.name
            for sample in zip(*[weight[:: len(weight) // 4].unbind() for weight in produced], strict=True):
                found.append(spread(net(MAIN[main].x(), weights=list(sample))))
    for row in rows:
        if row.name in pooled and math.prod(row.shape) >= 10:
            assert 0.4 < sum(pooled[row.name]) / SEEDS < 2.5, row.name
    assert sum(map(sum, pooled.values())) / sum(map(len, pooled.values())) == pytest.approx(1, rel=0.4)
    assert 0.5 < sum(found) / len(found) / own_spread[main] < 2


@pytest.mark.parametrize("name", ["HMLP, free", "HMLP, noise", "HPerturbWrapper", "HSetInput", "HRecurrent"])
def test_networks_without_conditions(name: str) -> None:
    """Second moments over many inputs like those for which they were measured."""
    torch.manual_seed(0)
    net = MAIN["MLP"].build(no_weights=True)
    rows = rows_of(net)
    hnet = HNETS[name]([list(row.shape) for row in rows])
    ratios = []
    for _ in range(5):
        hnet.apply_calibrated_init(net, **samples(name))
        count = 300
        given: dict[str, Any] = (
            {"uncond_input": torch.randn(count, hnet._uncond_in_size)} if hnet._uncond_in_size else {}
        )
        if name == "HSetInput":
            given["cond_input"] = torch.randn(count, 20, 3)
        elif name == "HRecurrent":
            given["cond_input"] = torch.randn(16, 20, 3)
        elif name == "HMLP, noise":
            given["cond_id"] = [i % hnet.num_known_conds for i in range(count)]
        elif hnet._cond_in_size:
            given["cond_input"] = torch.randn(count, hnet._cond_in_size)
        with torch.no_grad():
            weights = hnet(**given, ret_format="stacked")
        ratios.append([moment(w) / row.start[1] for w, row in zip(weights, rows, strict=True)])
    for row, ratio in zip(rows, torch.tensor(ratios).mean(0).tolist(), strict=True):
        assert ratio == pytest.approx(1, rel=0.2 if math.prod(row.shape) >= 100 else 0.5), row.name


@pytest.mark.parametrize("count", [1, 5])
def test_the_networks_of_the_paper(count: int) -> None:
    """Chunks of 42 000 weights by 10 hidden units; by the constructor it puts out 2 000 times as much."""
    options: dict[str, Any] = {"n_in": 784, "n_out": 2, "hidden_layers": (400, 400), "verbose": False}
    torch.manual_seed(0)
    own = torch.tensor([spread(MLP(**options)(torch.randn(50, 784))) for _ in range(3)]).mean()
    found = []
    net = MLP(no_weights=True, **options)
    for _ in range(3):
        hnet = ChunkedHMLP(
            net.hyper_shapes_learned,
            42000,
            chunk_emb_size=96,
            cond_in_size=96,
            layers=(10, 10),
            num_cond_embs=count,
            verbose=False,
        )
        hnet.apply_calibrated_init(net)
        with torch.no_grad():
            found += [spread(net(torch.randn(50, 784), weights=hnet(cond_id=i))) for i in range(count)]
    assert 0.5 < torch.tensor(found).median() / own < 2


def test_low_rank_updates_start_at_the_base_model() -> None:
    net = ModuleNet(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8)), include="*.weight")
    hnet = HLowRank(lambda shapes: chunked(shapes), net, rank=4, verbose=False)
    nn.init.ones_(hnet.gates)
    hnet.apply_calibrated_init(net)
    assert not hnet.gates.any()
    assert all(not update.any() for update in hnet(cond_id=0))
    nn.init.ones_(hnet.gates)
    for row, update in zip(net.table.learned, hnet(cond_id=list(range(8)), ret_format="stacked"), strict=True):
        assert 0.3 < moment(update) / row.start[1] < 3


def test_residuals_start_at_an_ordinary_base() -> None:
    net = MAIN["MLP"].build(no_weights=True)
    hnet = HResidual(HMLP(net.hyper_shapes_learned, **KNOWN), verbose=False)
    hnet.apply_calibrated_init(net)
    for base, weight, row in zip(hnet.base_weights, hnet(cond_id=3), net.table.rows, strict=True):
        assert torch.equal(base, weight)
        assert base.abs().max() <= math.sqrt(3 * row.start[1]) + 1e-6
    hnet(cond_id=0, ret_format="flattened").square().sum().backward()
    assert hnet.hnet.layer_weight_tensors[-1].grad.any()
    base = [torch.randn(shape) for shape in net.hyper_shapes_learned]
    hnet = HResidual(HMLP(net.hyper_shapes_learned, **KNOWN), base, verbose=False)
    hnet.apply_calibrated_init(net)
    torch.testing.assert_close(list(hnet(cond_id=1)), base)


def test_full_networks_need_no_constants() -> None:
    """The scale is in the rows of the output layer, so that the regulariser can use its products."""
    net = MAIN["ModuleNet"].build(no_weights=True)
    hnet = HMLP(net.hyper_shapes_learned, **KNOWN)
    before = set(hnet.state_dict())
    hnet.apply_calibrated_init(net)
    assert set(hnet.state_dict()) == before
    assert can_factorize(hnet)
    without = HMLP(net.hyper_shapes_learned, use_bias=False, **KNOWN)
    without.apply_calibrated_init(net)
    assert can_factorize(without)
    assert without.output_offset.any()
    hnet = chunked(net.hyper_shapes_learned)
    hnet.apply_calibrated_init(net)
    kept = [value.numel() for key, value in hnet.state_dict().items() if key.startswith("output_")]
    assert kept == [len(net.hyper_shapes_learned)] * 2


def test_siren_starts_as_its_class_has_it() -> None:
    """A module whose own values say how it wants to start."""
    layer = nn.Linear(64, 64)
    nn.init.uniform_(layer.weight, -0.01, 0.01)
    nn.init.constant_(layer.bias, 0.3)
    model = HyperModel.from_module(layer, 4)
    weight, bias = model.hnet(cond_id=[0, 1, 2, 3], ret_format="stacked")
    assert weight.std().item() == pytest.approx(0.01 / 3**0.5, rel=0.1)
    assert bias.sub(0.3).abs().max() < 1e-6


# Arguments


def test_without_main_network_shapes_decide() -> None:
    torch.manual_seed(0)
    shapes = [[60, 40], [60], [8, 60, 3, 3], [8]]
    hnet = HMLP(shapes, **KNOWN)
    hnet.apply_calibrated_init()
    for weight, fan in zip(hnet(cond_id=list(range(8)), ret_format="stacked"), (40, 40, 540, 540), strict=True):
        assert moment(weight) * 3 * fan == pytest.approx(1, rel=0.8)


TARGET_VARS: dict[str, tuple[Any, list[float]]] = {
    "number": (0.5, [0.5] * 4),
    "list": ([None, 2.0, 0.25, None], [1 / 60, 2.0, 0.25, 1 / 120]),
    "by tensor": ({"layers.0.weight": 4.0, "layers.1.bias": 1.0}, [4.0, 1 / 60, 1 / 120, 1.0]),
    "by role": ({"weight": 3.0, "layers.1.weight": 1.0}, [3.0, 1 / 60, 1.0, 1 / 120]),
}


@pytest.mark.parametrize("case", TARGET_VARS)
@pytest.mark.parametrize("build", [lambda shapes: HMLP(shapes, **KNOWN), chunked], ids=["full", "chunked"])
def test_prescribed_variances(case: str, build: Any) -> None:
    torch.manual_seed(0)
    net = MLP(n_in=20, n_out=30, hidden_layers=[40], no_weights=True, verbose=False)
    given, wanted = TARGET_VARS[case]
    assert [row.name for row in net.table.rows] == [
        "layers.0.weight",
        "layers.0.bias",
        "layers.1.weight",
        "layers.1.bias",
    ]
    hnet = build(net.hyper_shapes_learned)
    means = torch.zeros(4)
    for _ in range(20):
        hnet.apply_calibrated_init(net, target_var=given)
        means += torch.stack([torch.tensor(moment(w)) for w in hnet(cond_id=list(range(8)), ret_format="stacked")]) / 20
    torch.testing.assert_close(means, torch.tensor(wanted), rtol=0.3, atol=0)


@pytest.mark.parametrize("build", [lambda shapes: HMLP(shapes, **KNOWN), chunked], ids=["full", "chunked"])
def test_prescribed_variances_with_hyperfan(build: Any) -> None:
    """Those that are not prescribed follow from fans: ``2 / (2 fan_in)`` for weights with a bias."""
    torch.manual_seed(0)
    net = MLP(n_in=20, n_out=30, hidden_layers=[40], no_weights=True, verbose=False)
    hnet = build(net.hyper_shapes_learned)
    means = torch.zeros(4)
    for _ in range(20):
        hnet.apply_hyperfan_init(mnet=net, target_var={"layers.0.weight": 4.0, "bias": 0.01})
        means += torch.stack([torch.tensor(moment(w)) for w in hnet(cond_id=list(range(8)), ret_format="stacked")]) / 20
    torch.testing.assert_close(means, torch.tensor([4.0, 0.01, 1 / 40, 0.01]), rtol=0.3, atol=0)
    with pytest.raises(ValueError, match=r"target_var \(key\)"):
        hnet.apply_hyperfan_init(mnet=net, target_var={"layers.2.weight": 1.0})


def test_sines_keep_their_spread_through_all_layers() -> None:
    """Variances ``2 / fan_in`` (SIREN, Sitzmann et al., 2020, section 3.2) leave the mean square of sines as it is.

    A sum of many terms is normal with variance ``2 v``, and the mean square of its sine is ``(1 - exp(-4 v)) / 2``.
    """
    torch.manual_seed(0)
    net = MLP(n_in=1, n_out=64, hidden_layers=[64] * 6, use_bias=False, no_weights=True, verbose=False)
    hnet = HMLP(net.hyper_shapes_learned, **KNOWN)
    hnet.apply_hyperfan_init(mnet=net, target_var=[400.0, *[2 / 64] * 6])
    x = torch.linspace(-1, 1, 200).unsqueeze(1)
    for weight in hnet(cond_id=list(range(8)), ret_format="stacked"):
        x = (x @ weight.mT).sin()
    fixed_point = 0.3985
    assert (1 - math.exp(-4 * fixed_point)) / 2 == pytest.approx(fixed_point, abs=1e-3)
    assert moment(x) == pytest.approx(fixed_point, rel=0.1)


def test_a_number_leaves_neutral_values_alone() -> None:
    net = MAIN["MLP, norm"].build(no_weights=True)
    hnet = HMLP(net.hyper_shapes_learned, **KNOWN)
    hnet.apply_calibrated_init(net, target_var=0.5)
    weights = dict(zip(net.param_names, hnet(cond_id=0), strict=True))
    scales = [row.name for row in net.table.rows if row.role == "bn_scale"]
    assert scales
    assert all(weights[name].eq(1).all() for name in scales)


def test_samples_decide() -> None:
    torch.manual_seed(0)
    net = MAIN["MLP"].build(no_weights=True)
    inputs = 5 + torch.randn(64, 16)
    for hnet in (HMLP(net.hyper_shapes_learned, **FREE), chunked(net.hyper_shapes_learned, **FREE)):
        hnet.apply_calibrated_init(net, cond_input=inputs)
        weights = hnet(cond_input=inputs, ret_format="stacked")
        for weight, row in zip(weights, net.table.rows, strict=True):
            if math.prod(row.shape) >= 100:
                assert moment(weight) / row.start[1] == pytest.approx(1, rel=0.1)


def test_wrong_arguments() -> None:
    net = MAIN["MLP"].build(no_weights=True)
    hnet = HMLP(net.hyper_shapes_learned, **KNOWN)
    for arguments, name in (
        ({"mnet": MLP(verbose=False)}, "mnet"),
        ({"mnet": net, "target_var": -1.0}, "target_var"),
        ({"mnet": net, "target_var": [1.0]}, "target_var"),
        ({"mnet": net, "target_var": {"layers.7.weight": 1.0}}, "target_var"),
        ({"cond_input": torch.randn(3, 7)}, "cond_input"),
        ({"uncond_input": torch.randn(3, 7)}, "uncond_input"),
    ):
        with pytest.raises(ValueError, match=name):
            hnet.apply_calibrated_init(**arguments)
    with pytest.raises(TypeError, match="mnet"):
        hnet.apply_calibrated_init(3)
    for external in (HMLP, ChunkedHMLP):
        options: dict[str, Any] = {"chunk_size": 50} if external is ChunkedHMLP else {}
        with pytest.raises(ValueError, match="internal unconditional parameters"):
            external([[4, 3]], no_uncond_weights=True, verbose=False, **options).apply_calibrated_init()
    free = HSetInput(HMLP([[4, 3]], **FREE), nn.Linear(3, 16), verbose=False)
    with pytest.raises(ValueError, match="cond_input"):
        free.apply_calibrated_init()
    images = ModuleHNet(
        nn.Flatten(), [[4, 3]], cond_in_size=(1, None, 4), feature_size=16, verbose=False, num_cond_embs=0
    )
    with pytest.raises(ValueError, match="cond_input"):
        images.apply_calibrated_init()
    images.apply_calibrated_init(cond_input=torch.randn(5, 1, 4, 4))
    with pytest.raises(NotImplementedError, match="HandWritten"):
        HPerturbWrapper(HandWritten([[4, 3]]), 0, verbose=False).apply_calibrated_init()


# Networks and modes are left as they were


def test_modes_statistics_and_embeddings_stay() -> None:
    trunk = nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16), nn.Dropout(0.5))
    hnets = [
        ModuleHNet(trunk, [[40, 30]], **KNOWN),
        HMLP([[40, 30]], use_batch_norm=True, dropout_rate=0.3, **KNOWN),
        chunked([[40, 30]], dropout_rate=0.3),
    ]
    for hnet in hnets:
        for mode in (True, False):
            hnet.train(mode)
            embeddings = [e.detach().clone() for _, e in hnet.condition_embeddings()]
            buffers = {name: b.clone() for name, b in hnet.named_buffers() if "output_" not in name}
            own = {name: p.detach().clone() for name, p in hnet.named_parameters() if name.startswith("trunk")}
            hnet.apply_calibrated_init()
            assert all(part.training == mode for part in hnet.modules())
            torch.testing.assert_close([e for _, e in hnet.condition_embeddings()], embeddings, rtol=0, atol=0)
            after = dict(hnet.named_buffers())
            assert all(torch.equal(after[name], value) for name, value in buffers.items())
            assert all(torch.equal(dict(hnet.named_parameters())[name], value) for name, value in own.items())


class Rows(HyperNetwork):
    """``h(e) = 7 tanh(W e)``: a class of a user without a start of its own."""

    def __init__(self, target_shapes: Any) -> None:
        super().__init__(target_shapes, cond_in_size=16)
        self.embed(8)
        self.map = self.linear("layers.0", 16, self.num_outputs)

    def generate(self, request: Request, values: Values) -> Tensor:
        """The equation."""
        return 7 * torch.tanh(self.map(request.cond, values))


class Negated(HMLP):
    """The negative of what it was made of."""

    def generate(self, request: Request, values: Values) -> Tensor:
        """The equation."""
        return -5 * super().generate(request, values)  # type: ignore[operator]


class Shifted(Wrapper):
    """``3 h(-e) + 2``."""

    def __init__(self, hnet: Any) -> None:
        super().__init__(hnet)
        self.wrap(hnet)

    def before(self, request: Request, values: Values) -> Request:
        """The negative of the inputs."""
        ids = request.ids
        cond = request.cond if ids is None else self.hnet.conditions(ids, values.part("hnet"))["embeddings"]
        return replace(request, cond=-cond, ids=None)

    def after(self, produced: Produced, request: Request, values: Values) -> Tensor:
        """Other weights."""
        return 3 * produced.flat + 2


USERS: dict[str, Any] = {
    "own": Rows,
    "changed": lambda shapes: Negated(shapes, **KNOWN),
    "wrapper": lambda shapes: Shifted(HMLP(shapes, **KNOWN)),
    "wrapper, chunked": lambda shapes: Shifted(chunked(shapes)),
}


@pytest.mark.parametrize("build", USERS.values(), ids=USERS)
def test_classes_of_users(build: Any) -> None:
    """Constants bring what they produce to scale."""
    torch.manual_seed(0)
    net = MAIN["MLP, norm"].build(no_weights=True)
    hnet = build(net.hyper_shapes_learned)
    hnet.apply_calibrated_init(net)
    for weight, row in zip(hnet(cond_id=list(range(8)), ret_format="stacked"), net.table.rows, strict=True):
        mean, variance = row.start
        if math.prod(row.shape) >= 100:
            assert moment(weight, mean) / variance == pytest.approx(1, rel=0.05)
        elif variance == 0:
            assert (weight - mean).abs().max() < 0.1


@pytest.mark.parametrize("computes", [False, True])
def test_containers_that_use_a_tensor_twice_or_compute(computes: bool) -> None:
    torch.manual_seed(0)
    net = MLP(n_in=40, n_out=30, hidden_layers=[30], use_bias=False, no_weights=True, verbose=False)

    def assembly(hnets: Any, uncond: Any, cond: Any) -> list[Tensor]:
        (part,) = hnets[0]
        second = uncond[0] * 3 if computes else uncond[0]
        return [torch.cat([part, uncond[0][:, :10]], 1), second]

    parts = [HMLP([[30, 30]], **KNOWN)]
    hnet = HContainer(net.hyper_shapes_learned, assembly, parts, uncond_param_shapes=[[30, 30]], verbose=False)
    hnet.apply_calibrated_init(net)
    for weight, row in zip(hnet(cond_id=list(range(8)), ret_format="stacked"), net.table.rows, strict=True):
        assert moment(weight) / row.start[1] == pytest.approx(1, rel=0.05)


def test_structures_that_compute() -> None:
    hnet = StructuredHMLP(
        [[40, 30]], [[[40, 30]]], [2], 3, {"layers": [20]}, lambda chunks: [9 * chunks[0][0] * chunks[1][0]], **KNOWN
    )
    hnet.apply_calibrated_init()
    assert moment(hnet(cond_id=list(range(8)), ret_format="flattened")) * 90 == pytest.approx(1, rel=0.05)


def test_starts_can_follow_each_other() -> None:
    """Constants of one start are not left to another."""
    net = MAIN["MLP"].build(no_weights=True)
    shapes = net.hyper_shapes_learned
    for build in (chunked, calibrated.halves, calibrated.deconv, calibrated.container):
        hnet = build(shapes)
        for _ in range(2):
            hnet.apply_hyperfan_init(mnet=net)
            hnet.apply_calibrated_init(net)
        weight = hnet(cond_id=list(range(8)), ret_format="stacked")[0]
        assert moment(weight) / net.table.rows[0].start[1] == pytest.approx(1, rel=0.1)
    assert isinstance(calibrated.deconv(shapes), HDeconv)
