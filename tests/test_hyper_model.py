"""A hypernetwork and its main network behave like one ordinary module."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from hypnettorch.hnets import HMLP, ChunkedHMLP, HLowRank
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets import MLP, ModuleNet
from hypnettorch.utils.hnet_regularizer import calc_fix_target_reg, get_current_targets

NUM_CONDS = 12


@pytest.fixture(autouse=True)
def _no_graphs_left() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def model(kind: str = "HMLP", mnet: dict[str, Any] | None = None, **options: Any) -> HyperModel:
    network = MLP(n_in=3, n_out=2, hidden_layers=[4], **{"no_weights": True, "verbose": False, **(mnet or {})})
    settings = {"cond_in_size": 3, "layers": (5,), "num_cond_embs": NUM_CONDS, "verbose": False, **options}
    shapes = network.hyper_shapes_learned or network.param_shapes
    if kind == "HMLP":
        return HyperModel(HMLP(shapes, **settings), network)
    return HyperModel(ChunkedHMLP(shapes, chunk_size=7, cond_chunk_embs=kind == "own-chunks", **settings), network)


kinds = pytest.mark.parametrize("kind", ["HMLP", "ChunkedHMLP", "own-chunks"])


def inputs(*lead: int) -> torch.Tensor:
    return torch.randn(*lead, 5, 3)


@kinds
def test_one_condition_is_the_main_network(kind: str) -> None:
    both = model(kind)
    x = inputs()
    expected = both.mnet(x, weights=both.hnet(cond_id=3))
    for cond_id in (3, torch.tensor(3)):
        torch.testing.assert_close(both(x, cond_id=cond_id), expected)
    for cond_id in ([3], torch.tensor([3])):  # many weight sets, of which there is one
        torch.testing.assert_close(both(x.unsqueeze(0), cond_id=cond_id), expected.unsqueeze(0))
        torch.testing.assert_close(both(x, cond_id=cond_id, share_input=True), expected.unsqueeze(0))


@kinds
@pytest.mark.parametrize("table", [False, True])
def test_no_condition_is_an_empty_batch(kind: str, table: bool) -> None:
    both = model(kind, {"use_batch_norm": True}, embedding_table=table)
    for cond_id in ([], (), torch.zeros(0, dtype=torch.long)):
        assert both(inputs(0), cond_id=cond_id).shape == (0, 5, 2)
        assert both(inputs(), cond_id=cond_id, share_input=True).shape == (0, 5, 2)
        assert [len(weight) for weight in both.weights(cond_id=cond_id).values()] == [0] * 6
    both(inputs(0), cond_id=[]).sum().backward()
    assert not any(param.grad.any() for param in both.parameters() if param.grad is not None)
    for wrong in ("", {}):
        with pytest.raises((TypeError, ValueError), match="cond_id"):
            both(inputs(), cond_id=wrong)


@pytest.mark.parametrize("kind", ["HMLP", "ChunkedHMLP"])
def test_no_vector_is_an_empty_batch(kind: str) -> None:
    assert model(kind)(inputs(0), cond_input=torch.zeros(0, 3)).shape == (0, 5, 2)


@kinds
def test_many_conditions_are_a_loop(kind: str) -> None:
    both = model(kind)
    x = inputs(3)
    got = both(x, cond_id=[4, 0, 4])
    torch.testing.assert_close(got, torch.stack([both(part, cond_id=k) for part, k in zip(x, (4, 0, 4), strict=True)]))
    shared = both(x[0], cond_id=[4, 0], share_input=True)
    torch.testing.assert_close(shared, torch.stack([both(x[0], cond_id=k) for k in (4, 0)]))


@pytest.mark.parametrize("share_input", [False, True])
@pytest.mark.parametrize("kind", ["network", "module", "recurrent"])
def test_an_id_that_is_repeated_is_produced_once(kind: str, share_input: bool) -> None:
    mnet = {
        "network": lambda: MLP(n_in=4, n_out=2, no_weights=True, verbose=False),
        "module": lambda: ModuleNet(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))),
        "recurrent": lambda: ModuleNet(nn.GRU(4, 2)),
    }[kind]()
    hnet = HMLP(mnet.hyper_shapes_learned, num_cond_embs=3, layers=[5], verbose=False)
    model, ids = HyperModel(hnet, mnet), torch.randint(3, (30,))
    x = torch.randn(*(() if share_input else (30,)), 5, 4)
    sizes = []
    hnet.register_forward_hook(lambda net, args, output: sizes.append(len(output[0])))
    many = model(x, cond_id=ids, share_input=share_input)
    assert sizes == [3]
    alone = [model(x if share_input else x[b], cond_id=int(i)) for b, i in enumerate(ids)]
    expected = torch.utils._pytree.tree_map(lambda *parts: torch.stack(parts), *alone)
    torch.testing.assert_close(many, expected)
    parameters = list(hnet.parameters())
    got, wanted = (
        torch.autograd.grad(torch.utils._pytree.tree_leaves(output)[0].square().sum(), parameters, allow_unused=True)
        for output in (many, expected)
    )
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="cond_id"):
        model(torch.randn(7, 5, 4), cond_id=ids)


def test_all_kinds_of_inputs() -> None:
    both = model(uncond_in_size=2)
    x, cond, uncond = inputs(4), torch.randn(4, 3), torch.randn(4, 2)
    got = both(x, cond_input=cond, uncond_input=uncond)
    one = [both(x[k], cond_input=cond[k], uncond_input=uncond[k]) for k in range(4)]
    torch.testing.assert_close(got, torch.stack(one))
    of_one = [both(x[k : k + 1], cond_input=cond[k : k + 1], uncond_input=uncond[k : k + 1]) for k in range(4)]
    torch.testing.assert_close(got, torch.cat(of_one))
    both(x, cond_id=1, uncond_input=uncond)


def test_a_main_network_with_internal_weights() -> None:
    both = model(mnet={"no_weights": False})
    x = inputs()
    torch.testing.assert_close(both(x, cond_id=0), both.mnet(x, weights=both.hnet(cond_id=0)))


def test_outputs_may_be_tuples() -> None:
    both = model(mnet={"out_fn": torch.sigmoid})
    activations, logits = both(inputs(2), cond_id=[0, 1])
    assert activations.shape == logits.shape == (2, 5, 2)


@kinds
def test_unselected_conditions_keep_no_gradient(kind: str) -> None:
    both = model(kind)
    for cond_id, x in ((2, inputs()), ([2, 5], inputs(2)), (torch.tensor([2, 5]), inputs(2))):
        both.zero_grad()
        both(x, cond_id=cond_id).sum().backward()
        chosen = {2} if isinstance(cond_id, int) else {2, 5}
        for k in range(NUM_CONDS):
            for param in both.hnet.parameters_of_condition(k):
                assert (param.grad is not None) == (k in chosen)


# Statistics per condition


def with_statistics(**mnet: Any) -> HyperModel:
    both = model(mnet={"use_batch_norm": True, **mnet})
    for layer in both.mnet.batchnorm_layers:
        for _ in range(NUM_CONDS - 1):
            layer.checkpoint_stats()
    return both


def changed(layer: Any) -> list[int]:
    return [k for k in range(layer.num_stats) if layer.get_stats(k)[0].any()]


def test_the_condition_selects_its_statistics() -> None:
    both = with_statistics()
    (layer,) = both.mnet.batchnorm_layers
    both(inputs(), cond_id=3)
    assert changed(layer) == [3]
    both(inputs(2), cond_id=[5, 1])
    assert changed(layer) == [1, 3, 5]
    both(inputs(2), cond_id=torch.tensor([6, 0]))
    both(inputs(1), cond_id=torch.tensor([7]))
    assert changed(layer) == [0, 1, 3, 5, 6, 7]
    both(inputs(), cond_id=0, condition=9)
    assert changed(layer) == [0, 1, 3, 5, 6, 7, 9]


def test_statistics_of_one_set_serve_all_conditions() -> None:
    both = model(mnet={"use_batch_norm": True})
    both(inputs(2), cond_id=[5, 1])
    (layer,) = both.mnet.batchnorm_layers
    assert changed(layer) == [0]


def test_statistics_are_used_in_evaluation() -> None:
    both = with_statistics().eval()
    (layer,) = both.mnet.batchnorm_layers
    layer.get_stats(4)[0].fill_(3.0)
    x = inputs()
    got = both(torch.stack([x, x]), cond_id=[4, 4], condition=[4, 5])
    assert not torch.allclose(got[0], got[1])
    torch.testing.assert_close(both(x, cond_id=4), got[0])


# The regulariser inside


def test_regularizer_inside() -> None:
    both = model()
    targets = get_current_targets(2, both.hnet)
    with torch.no_grad():
        for param in both.parameters():
            param.add_(0.1 * torch.randn_like(param))
    x = inputs()

    def regularizer(hnet: Any) -> torch.Tensor:
        return 0.5 * calc_fix_target_reg(hnet, 2, targets=targets)

    output, value = both(x, cond_id=2, regularizer=regularizer)
    torch.testing.assert_close(output, both(x, cond_id=2))
    torch.testing.assert_close(value, regularizer(both.hnet))
    assert value.item() > 0
    (output.sum() + value).backward()
    assert all(param.grad is not None for k in (0, 1, 2) for param in both.hnet.parameters_of_condition(k))


# One module


def test_parameters_are_listed_once() -> None:
    both = model("own-chunks", mnet={"use_batch_norm": True, "use_context_mod": True})
    params = list(both.parameters())
    assert len({id(p) for p in params}) == len(params)
    assert len(params) == len(both.hnet.internal_params) + len(both.mnet.internal_params)
    assert all(name.startswith(("hnet.", "mnet.")) for name, _ in both.named_parameters())


@kinds
def test_state_dict_round_trips(kind: str) -> None:
    both, other = (model(kind, mnet={"use_batch_norm": True}) for _ in range(2))
    x = inputs(2)
    both(x, cond_id=[0, 1])
    state = both.state_dict()
    storages = [value.untyped_storage().data_ptr() for value in state.values()]
    assert len(set(storages)) == len(storages)
    assert set(state) == {f"hnet.{name}" for name in both.hnet.state_dict()} | {
        f"mnet.{name}" for name in both.mnet.state_dict()
    }
    other.load_state_dict(load(save(state)), strict=True)
    torch.testing.assert_close(other.eval()(x, cond_id=[3, 0]), both.eval()(x, cond_id=[3, 0]))


@kinds
def test_copies(kind: str) -> None:
    both = model(kind)
    x = inputs(2)
    expected = both(x, cond_id=[0, 1])
    for other in (copy.deepcopy(both), pickle.loads(pickle.dumps(both))):
        assert torch.equal(other(x, cond_id=[0, 1]), expected)
        assert not {id(p) for p in other.parameters()} & {id(p) for p in both.parameters()}
        with torch.no_grad():
            for param in other.parameters():
                param.zero_()
        assert not other(x, cond_id=[0, 1]).any()
    assert torch.equal(both(x, cond_id=[0, 1]), expected)


def test_replaced_networks_are_used() -> None:
    both, other = model(), model()
    both.hnet = other.hnet
    x = inputs()
    torch.testing.assert_close(both(x, cond_id=0), other.mnet(x, weights=other.hnet(cond_id=0)))


def test_dtype_moves() -> None:
    both = model().double()
    assert both(inputs().double(), cond_id=0).dtype == torch.float64


def test_added_conditions_are_known() -> None:
    both = model()
    both.hnet.add_conditions(1)
    assert both(inputs(), cond_id=NUM_CONDS).shape == (5, 2)


@kinds
def test_a_checkpoint_with_fewer_conditions_loads(kind: str) -> None:
    small, large = model(kind, num_cond_embs=3), model(kind)
    large.load_state_dict(small.state_dict(), strict=False)
    x = inputs(3)
    torch.testing.assert_close(large(x, cond_id=[0, 1, 2]), small(x, cond_id=[0, 1, 2]))
    with pytest.raises(RuntimeError, match="Missing"):
        large.load_state_dict(small.state_dict(), strict=True)
    with pytest.raises(RuntimeError, match="Unexpected"):
        small.load_state_dict(large.state_dict(), strict=True)
    x = inputs(3)
    for param in large.parameters():
        nn.init.normal_(param)
    left = small.load_state_dict(large.state_dict(), strict=False)
    torch.testing.assert_close(small(x, cond_id=[0, 1, 2]), large(x, cond_id=[0, 1, 2]))
    surplus = {id(p) for k in range(3, NUM_CONDS) for p in large.hnet.parameters_of_condition(k)}
    assert not left.missing_keys
    assert set(left.unexpected_keys) == {name for name, p in large.named_parameters() if id(p) in surplus}


def test_it_learns() -> None:
    both = model(num_cond_embs=2)
    optimizer = torch.optim.Adam(both.parameters(), lr=0.02)
    x = inputs(2)
    target = torch.stack([x[0].sum(-1, keepdim=True), -x[1].sum(-1, keepdim=True)]).expand(2, 5, 2)
    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        loss = (both(x, cond_id=[0, 1]) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


# Compilation


@kinds
def test_compiled_once_for_all_conditions(kind: str) -> None:
    """Conditions are looked up outside of the graph: ids make no new one, others keep no gradient."""
    both, eager = (model(kind) for _ in range(2))
    eager.load_state_dict(both.state_dict())
    graphs = []

    def backend(graph: Any, example_inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    both.compile(fullgraph=True, backend=backend)
    x = inputs()
    for cond_id in range(10):
        both.zero_grad()
        output = both(x, cond_id=cond_id)
        torch.testing.assert_close(output, eager(x, cond_id=cond_id))
        output.sum().backward()
        for k in range(NUM_CONDS):
            for param in both.hnet.parameters_of_condition(k):
                assert (param.grad is None) == (k != cond_id)
    assert len(graphs) == 1


@kinds
def test_compiled_with_gradients(kind: str) -> None:
    both, eager = (model(kind) for _ in range(2))
    eager.load_state_dict(both.state_dict())
    both.compile(fullgraph=True, backend="aot_eager")
    for x, cond_id in ((inputs(), 1), (inputs(2), [3, 0])):
        for net in (both, eager):
            net.zero_grad()
            net(x, cond_id=cond_id).square().sum().backward()
        for (name, a), b in zip(both.named_parameters(), eager.parameters(), strict=True):
            assert (a.grad is None) == (b.grad is None), name
            if a.grad is not None:
                torch.testing.assert_close(a.grad, b.grad)


def test_compiled_with_statistics_per_condition() -> None:
    both, eager = (with_statistics() for _ in range(2))
    eager.load_state_dict(both.state_dict())
    both.compile(fullgraph=True, backend="aot_eager")
    for cond_id in (4, 0, torch.tensor(4), torch.tensor([4]), 11):
        x = inputs(1) if isinstance(cond_id, torch.Tensor) and cond_id.dim() else inputs()
        torch.testing.assert_close(both(x, cond_id=cond_id), eager(x, cond_id=cond_id))
    for a, b in zip(both.mnet.buffers(), eager.mnet.buffers(), strict=True):
        torch.testing.assert_close(a, b)


def test_a_compiled_model_is_copied_and_saved() -> None:
    both = model()
    names = set(both.state_dict())
    both.compile(fullgraph=True, backend="aot_eager")
    x = inputs()
    expected = both(x, cond_id=0)
    assert set(both.state_dict()) == names
    torch.testing.assert_close(copy.deepcopy(both)(x, cond_id=0), expected)
    torch.testing.assert_close(pickle.loads(pickle.dumps(both))(x, cond_id=0), expected)


def test_export() -> None:
    both = model()
    x, cond = inputs(), torch.randn(3)
    program = torch.export.export(both, (x,), {"cond_input": cond})
    torch.testing.assert_close(program.module()(x, cond_input=cond), both(x, cond_input=cond))
    x, cond = inputs(2), torch.randn(2, 3)
    program = torch.export.export(both, (x,), {"cond_input": cond})
    torch.testing.assert_close(program.module()(x, cond_input=cond), both(x, cond_input=cond))


# Errors


@pytest.mark.parametrize(
    ("hnet", "mnet", "error", "name"),
    [
        (MLP(verbose=False), MLP(verbose=False), TypeError, "hnet"),
        (HMLP([[1]], verbose=False), nn.Linear(1, 1), TypeError, "mnet"),
        (HMLP([[1]], verbose=False), MLP(verbose=False), ValueError, "hnet"),
    ],
)
def test_networks_that_do_not_fit(hnet: Any, mnet: Any, error: type[Exception], name: str) -> None:
    with pytest.raises(error, match=name):
        HyperModel(hnet, mnet)


@pytest.mark.parametrize(
    ("arguments", "error", "name"),
    [
        ({}, ValueError, "cond_id"),
        ({"cond_id": NUM_CONDS}, ValueError, "cond_id"),
        ({"cond_id": torch.tensor([-1])}, ValueError, "cond_id"),
        ({"cond_id": "0"}, TypeError, "cond_id"),
        ({"cond_id": 0, "cond_input": torch.zeros(1, 3)}, ValueError, "cond_input"),
        ({"cond_input": torch.zeros(())}, ValueError, "cond_input"),
        ({"cond_input": torch.zeros(4)}, ValueError, "cond_input"),
        ({"cond_input": torch.zeros(1, 3)}, ValueError, "x"),
        ({"cond_id": [0]}, ValueError, "x"),
        ({"cond_id": 0, "uncond_input": torch.zeros(1, 3)}, ValueError, "uncond_input"),
        ({"cond_id": [0, 1]}, ValueError, "x"),
        ({"cond_id": 0, "condition": "0"}, TypeError, "condition"),
        ({"cond_id": 0, "regularizer": 0.1}, TypeError, "regularizer"),
        ({"cond_id": 0, "nonsense": 1}, TypeError, "nonsense"),
        ({"cond_id": 0, "weights": []}, TypeError, "weights"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], error: type[Exception], name: str) -> None:
    with pytest.raises(error, match=name):
        model()(inputs(), **arguments)


def test_any_module_in_one_line() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 200), nn.LayerNorm(200), nn.Tanh(), nn.Linear(200, 2))
    own = module[0].weight.detach().clone()
    both = HyperModel.from_module(module, num_cond_embs=2, exclude="3.bias")
    weight, _, scale, shift, _ = both.hnet(cond_input=torch.randn(500, 8), ret_format="stacked")
    assert weight.square().mean().item() == pytest.approx(own.square().mean().item(), rel=0.1)  # its ordinary start
    assert (scale == 1).all()
    assert (shift == 0).all()
    optimizer = torch.optim.Adam(both.parameters(), lr=1e-2)
    x, y = torch.randn(2, 20, 3), torch.randn(2, 20, 2)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        losses.append((both(x, cond_id=[0, 1]) - y).square().mean())
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]
    with pytest.raises(ValueError, match="num_cond_embs: expected an integer of at least 0"):
        HyperModel.from_module(nn.Linear(2, 1), num_cond_embs=-1)


def test_residual_conditions_start_at_the_module() -> None:
    module = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 2)).eval()
    x = torch.randn(4, 3)
    expected = module(x).detach()
    model = HyperModel.from_module(module, num_cond_embs=200, residual=True).eval()
    for output in model(x, cond_id=[0, 7, 199], share_input=True):
        torch.testing.assert_close(output, expected)
    (embeddings,) = model.hnet.conditional_params
    assert embeddings.std().item() == pytest.approx(0.03, rel=0.1)
    before = model.hnet.conditional_params[0].detach().clone()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        (model(x, cond_id=[0, 7], share_input=True) - torch.tensor([[[0.0]], [[1.0]]])).square().mean().backward()
        optimizer.step()
    assert not torch.equal(embeddings[7], before[7])
    assert torch.equal(embeddings[8], before[8])


def test_samples_of_conditions_set_the_start() -> None:
    samples = 100 + 2 * torch.rand(64, 1)
    module = nn.Linear(64, 64)
    own = module.weight.detach().std().item()
    model = HyperModel.from_module(module, num_cond_embs=0, cond_in_size=1, cond_input=samples)
    assert model.weights(cond_input=samples[:1])["weight"].std().item() == pytest.approx(own, rel=0.2)


def test_unknown_options_are_told() -> None:
    with pytest.raises(TypeError, match=r"from_module: unexpected keyword argument 'num_cond_emb' \(did you mean"):
        HyperModel.from_module(nn.Linear(2, 1), num_cond_emb=3)


def test_networks_without_own_weights_are_no_modules() -> None:
    with pytest.raises(ValueError, match=r"module: expected a module with parameters \(HyperModel\(hnet, mnet\) takes"):
        HyperModel.from_module(MLP(no_weights=True, verbose=False))


def test_conditions_are_keywords() -> None:
    model = HyperModel.from_module(nn.Linear(2, 1))
    with pytest.raises(ValueError, match="expected uncond_input=, cond_input= or cond_id=, got no input at all"):
        model(torch.randn(3, 2), torch.randn(8))


def test_vectors_as_conditions_of_a_module() -> None:
    model = HyperModel.from_module(nn.Linear(4, 2), num_cond_embs=0, cond_in_size=5)
    assert not any("embeddings" in name for name, _ in model.named_parameters())
    assert model(torch.randn(3, 7, 4), cond_input=torch.randn(3, 5)).shape == (3, 7, 2)
    with pytest.raises(ValueError, match="a leading dimension of 3 weight sets, or share_input=True, got shape"):
        model(torch.randn(7, 4), cond_input=torch.randn(3, 5))


AROUND: dict[str, Callable[[], Any]] = {
    "network": lambda: MLP(n_in=3, n_out=2, hidden_layers=[4], no_weights=True, verbose=False),
    "products": lambda: ModuleNet(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))),
    "vmap": lambda: ModuleNet(nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))),
}


@pytest.mark.parametrize("kind", AROUND)
@pytest.mark.parametrize("cond_id", [0, [0, 1]])
def test_both_networks_are_called_as_modules(cond_id: Any, kind: str) -> None:
    net = AROUND[kind]()
    model = HyperModel(HMLP(net.hyper_shapes_learned, num_cond_embs=2, verbose=False), net)
    fired: list[str] = []
    for name in ("hnet", "mnet"):
        getattr(model, name).register_forward_hook(lambda *_, name=name: fired.append(name))
    model(torch.randn(5, 3) if cond_id == 0 else torch.randn(2, 5, 3), cond_id=cond_id)
    assert fired == ["hnet", "mnet"]


@pytest.mark.parametrize("kind", AROUND)
@pytest.mark.parametrize("cond_id", [1, [1, 0]])
def test_the_main_network_may_be_compiled_by_itself(cond_id: Any, kind: str) -> None:
    net = AROUND[kind]()
    model = HyperModel(HMLP(net.hyper_shapes_learned, num_cond_embs=2, verbose=False), net)
    x = torch.randn(5, 3)
    expected = model(x, cond_id=cond_id, share_input=cond_id != 1)
    graphs: list[int] = []
    model.mnet.compile(backend=lambda graph, _: graphs.append(1) or graph.forward)
    torch.testing.assert_close(model(x, cond_id=cond_id, share_input=cond_id != 1), expected)
    assert graphs


def test_one_graph_for_all_conditions_however_they_are_named() -> None:
    net = MLP(n_in=4, n_out=2, no_weights=True, verbose=False)
    model = HyperModel(HMLP(net.hyper_shapes_learned, num_cond_embs=12, embedding_table=True, verbose=False), net)
    graphs: list[int] = []
    compiled = torch.compile(model, fullgraph=True, backend=lambda graph, _: graphs.append(1) or graph.forward)
    x = torch.randn(7, 4)
    for condition in range(12):
        torch.testing.assert_close(compiled(x, cond_id=condition), model(x, cond_id=condition))
    assert len(graphs) <= 3


class WithLoss(nn.Module):
    """Returns what models of Hugging Face return."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 1)

    def forward(self, x: Tensor, num_items_in_batch: Any = None) -> dict[str, Tensor]:
        errors = self.linear(x).square()
        loss = errors.mean() if num_items_in_batch is None else errors.sum() / num_items_in_batch
        return {"loss": loss, "errors": errors}


def test_losses_of_trainers_are_one_number() -> None:
    """It is what one pass with all samples gives; without a trainer there is a loss for each weight set."""
    model = HyperModel.from_module(WithLoss(), 4)
    x = torch.randn(4, 5, 3)
    each = model(x, cond_id=[0, 1, 2, 3])
    assert each["loss"].shape == (4,)
    for items in (20, torch.tensor(20), None):
        output = model(x, cond_id=[0, 1, 2, 3], num_items_in_batch=items)
        torch.testing.assert_close(output["loss"], each["errors"].mean())
        torch.testing.assert_close(output["errors"], each["errors"])


def test_any_module_that_returns_updates() -> None:
    class Generator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 2 * (3 + 1))

        def forward(self, e: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
            A, B = self.linear(e).split([6, 2], dim=-1)
            return {"linear.weight": (A.view(-1, 2, 3), B.view(-1, 1, 2))}

    generator, net = Generator(), ModuleNet(WithLoss(), include="*.weight")
    model = HyperModel(generator, net)
    x, e = torch.randn(4, 5, 3), torch.randn(4, 2)
    output = model(x, cond_input=e)["errors"]
    for i in range(4):
        A, B = (factor[0] for factor in generator(e[i : i + 1])["linear.weight"])
        torch.testing.assert_close(output[i], net(x[i], weights={"linear.weight": (A, B)})["errors"])
        torch.testing.assert_close(model(x[i], cond_input=e[i])["errors"], output[i])
    assert set(model.weights(cond_input=e)) == {"linear.weight"}
    output.sum().backward()
    assert all(parameter.grad is not None for parameter in generator.parameters())


@pytest.mark.parametrize("cond_id", [3, [0, 2], [0, 1] * 12])
def test_factors_beside_the_output(cond_id: Any) -> None:
    """They are those that the output was computed with, so that a penalty needs no second generation."""
    calls = []
    net = ModuleNet(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), include="*.weight")
    hnet = HLowRank(lambda shapes: HMLP(shapes, num_cond_embs=4, verbose=False), net, rank=2, gate=1, verbose=False)
    hnet.register_forward_hook(lambda *_: calls.append(1))
    both, plain = HyperModel(hnet, net, return_factors=True), HyperModel(hnet, net)
    x = inputs(*([] if isinstance(cond_id, int) else [len(cond_id)]))
    output, factors = both(x, cond_id=cond_id)
    assert len(calls) == 1
    torch.testing.assert_close(output, plain(x, cond_id=cond_id))
    for key, pair in plain.weights(cond_id=cond_id).items():
        torch.testing.assert_close(factors[key], pair)
    (output.square().mean() + sum(A.abs().mean() + B.abs().mean() for A, B in factors.values())).backward()
    assert (hnet.gates.grad != 0).all()
    _, _, value = both(x, cond_id=cond_id, regularizer=lambda hnet: hnet.gates.sum())
    assert value.item() == 2


def test_weights_beside_the_output() -> None:
    both = model()
    both = HyperModel(both.hnet, both.mnet, return_factors=True)
    x = inputs()
    y, weights = both(x, cond_id=1)
    assert list(weights) == both.mnet.param_names
    torch.testing.assert_close(both.mnet(x, weights=weights), y)
