"""Generators that all places share: their equation, where they start, and what accepts them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypnettorch.adapters import HDocToLoRA, HTextToLoRA
from hypnettorch.adapters.documents import adapters_of_documents, chunks_of, nearest_of_rank
from hypnettorch.adapters.factor_heads import FactorHeads, draw_lora
from hypnettorch.adapters.repeated_weights import repeated_weights
from hypnettorch.core import trees
from hypnettorch.core.low_rank import LowRank
from hypnettorch.hnets import HLowRank, HyperNetwork
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets import ModuleNet
from hypnettorch.testing import check_hypernetwork
from hypnettorch.utils.peft_adapters import load_peft_adapter, save_peft_adapter
from tests.adapters.models import layered, llama

SIZE, RANK = 5, 2
DRAWS = torch.Generator().manual_seed(0)
DOCUMENTS = {"features": torch.randn(3, 7, SIZE, generator=DRAWS), "mask": torch.ones(3, 7)}

GENERATORS: dict[str, tuple[Callable[..., Any], Any]] = {
    **{
        f"text {variant}": (
            lambda net, variant=variant, **options: HTextToLoRA(net, SIZE, RANK, variant, size=16, **options),
            torch.randn(3, SIZE, generator=DRAWS),
        )
        for variant in "LMS"
    },
    "documents": (lambda net, **options: HDocToLoRA(net, SIZE, RANK, size=16, **options), DOCUMENTS),
}
each_generator = pytest.mark.parametrize("name", GENERATORS)


def random_heads(hnet: nn.Module, std: float = 0.1) -> Any:
    """As after training: the heads start at 0."""
    for name, parameter in hnet.named_parameters():
        if name.endswith(".linear.weight"):
            nn.init.normal_(parameter, std=std)
    return hnet


def make(name: str, net: Any, trained: bool = True, **options: Any) -> tuple[Any, Any]:
    build, condition = GENERATORS[name]
    hnet = build(net, **options)
    return (random_heads(hnet) if trained else hnet), condition


def rows_of(condition: Any, rows: slice) -> Any:
    return trees.map_tensors(lambda tensor: tensor[rows], condition)


@each_generator
def test_pairs_of_all_places(name: str) -> None:
    net = layered()
    hnet, condition = make(name, net)
    factors = hnet.factors(cond_input=condition)
    assert list(factors) == list(net.selected_shapes)
    for key, (rows, columns) in net.selected_shapes.items():
        A, B = factors[key]
        assert (A.shape, B.shape) == ((3, RANK, columns), (3, rows, RANK))
    stacked = [torch.stack([factors[f"{i}.up.weight"].A for i in range(3)])]
    assert stacked[0].std(0).min() > 0, "equal in all layers"
    assert stacked[0].std(1).min() > 0, "equal for all conditions"


@each_generator
def test_conditions_are_apart(name: str) -> None:
    """What a batch gives is what each condition gives alone."""
    net = layered()
    hnet, condition = make(name, net)
    together = hnet.factors(cond_input=condition)
    for i in range(3):
        alone = hnet.factors(cond_input=rows_of(condition, slice(i, i + 1)))
        for key, pair in alone.items():
            torch.testing.assert_close(pair, LowRank(*(t[i] for t in together[key])), rtol=1e-4, atol=1e-6)


@each_generator
def test_all_conditions_start_at_the_model_itself(name: str) -> None:
    net, x = layered(), torch.randn(3, 4, 6)
    hnet, condition = make(name, net, trained=False)
    model = HyperModel(hnet, net)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as if it could not be evaluated for all conditions at once
        torch.testing.assert_close(model(x, cond_input=condition), net.module(x))
    nn.init.ones_(next(p for key, p in hnet.named_parameters() if key.endswith(".B")))
    assert not torch.allclose(model(x, cond_input=condition), net.module(x))


@each_generator
def test_start_at_an_adapter_of_peft(name: str, tmp_path: Any) -> None:
    net, x = layered(), torch.randn(3, 4, 6)
    start = {key: LowRank(A, torch.randn_like(B)) for key, (A, B) in draw_lora(net.selected_shapes, RANK).items()}
    save_peft_adapter(tmp_path, start, net)
    hnet, condition = make(name, net, trained=False, start=load_peft_adapter(tmp_path, net))
    y = HyperModel(hnet, net)(x, cond_input=condition)
    torch.testing.assert_close(y, torch.stack([net(row, weights=start) for row in x]))


@each_generator
def test_everything_learns(name: str) -> None:
    """The heads from the first step on, everything before them from the second one."""
    net, x = layered(), torch.randn(3, 4, 6)
    hnet, condition = make(name, net, trained=False)
    model = HyperModel(hnet, net)
    optimizer = torch.optim.SGD(hnet.parameters(), lr=0.1)
    for step in range(3):
        optimizer.zero_grad()
        model(x, cond_input=condition).square().mean().backward()
        reached = {key for key, p in hnet.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        assert any("linear" in key for key in reached), "the heads are closed"
        optimizer.step()
        if step == 2:
            assert reached == {key for key, _ in hnet.named_parameters()}


@each_generator
def test_inside_of_low_rank(name: str) -> None:
    """Scale, dropout and gates come from ``HLowRank``; gates that start at 1 let gradients through."""
    net = layered()
    hnet, condition = make(name, net)
    scaled = HLowRank(hnet, net, rank=RANK, alpha=6, gate=1, verbose=False)
    plain, factors = hnet.factors(cond_input=condition), scaled.factors(cond_input=condition)
    for key, pair in factors.items():
        torch.testing.assert_close(pair, LowRank(plain[key].A, 3 * plain[key].B))
    y = HyperModel(scaled, net)(torch.randn(3, 4, 6), cond_input=condition)
    y.square().mean().backward()
    assert (scaled.gates.grad != 0).all()


@each_generator
def test_files(name: str, tmp_path: Any) -> None:
    net = layered()
    start = {key: LowRank(A, torch.randn_like(B)) for key, (A, B) in draw_lora(net.selected_shapes, RANK).items()}
    for hnet, condition in (make(name, net), make(name, net, start=start)):
        wrapped = HLowRank(hnet, net, rank=RANK, gate=1, verbose=False)
        wrapped.save_pretrained(tmp_path, base=net)
        loaded = HyperNetwork.from_pretrained(tmp_path, base=layered())
        assert type(loaded.internal_hnet) is type(hnet)
        expected = wrapped.eval().factors(cond_input=condition)
        assert all(
            torch.equal(a, b)
            for key, pair in loaded.factors(cond_input=condition).items()
            for a, b in zip(pair, expected[key], strict=True)
        )


def test_files_beside_another_base(tmp_path: Any) -> None:
    net = layered()
    make("text L", net)[0].save_pretrained(tmp_path, base=net)
    with pytest.raises(ValueError, match=r"base: expected the model .*Sequential, got one with other shapes"):
        HyperNetwork.from_pretrained(tmp_path, base=layered(2))
    other = layered()
    with torch.no_grad():
        other.module[1].q.weight[0, 0] += 1
    with pytest.raises(ValueError, match=r"base: .* other values"):
        HyperNetwork.from_pretrained(tmp_path, base=other)
    HyperNetwork.from_pretrained(tmp_path, base=ModuleNet(net.module.bfloat16(), include="*.weight"))
    make("text L", net)[0].save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"base: expected None, since .* written without its base"):
        HyperNetwork.from_pretrained(tmp_path, base=net)


def test_sizes_of_the_variants() -> None:
    """The finer the question, the smaller the heads: M has half of L for square weights, S the r-th part of M."""
    net = layered()
    heads = {
        variant: sum(
            p.numel() for key, p in make(f"text {variant}", net)[0].named_parameters() if key.endswith("linear.weight")
        )
        for variant in "LMS"
    }
    shapes = repeated_weights(net.selected_shapes)
    assert heads["L"] == 16 * RANK * sum(weight.rows + weight.columns for weight in shapes)
    assert heads["M"] == 16 * RANK * sum(max(weight.rows, weight.columns) for weight in shapes)
    assert heads["S"] * RANK == heads["M"]


@pytest.mark.parametrize("variant", "LMS")
def test_equation_of_text(variant: str) -> None:
    """Each place by itself: ``h`` of the condition, its layer, its kind, and what it is asked for."""
    net = layered()
    hnet, e = make(f"text {variant}", net)
    trunk, heads = hnet.module, hnet.module.heads
    factors = hnet.factors(cond_input=e)

    def state(layer: int, kind: int, factor: int, rank: int) -> Tensor:
        parts = [trunk.layer.weight[layer], trunk.kind.weight[kind]]
        parts += [] if trunk.factor is None else [trunk.factor[factor, 0]]
        parts += [] if trunk.rank is None else [trunk.rank[rank]]
        x = trunk.mix(torch.cat([trunk.encoder(e), torch.cat(parts).expand(3, -1)], dim=1))
        for block in trunk.blocks:
            x = x + block.layers(x)
        return trunk.norm(x)

    for kind, (weight, head) in enumerate(zip(heads.weights, heads.heads, strict=True)):
        for place, (key, layer) in enumerate(zip(weight.keys, weight.layers, strict=True)):
            for rank in range(RANK):
                of_a, of_b = (head.linear(state(layer, kind, factor, rank)) for factor in (0, 1))
                if variant != "S":  # all ranks, one after the other
                    of_a, of_b = (made.chunk(RANK, dim=1)[rank] for made in (of_a, of_b))
                a = head.A[place, rank] + of_a[:, : weight.columns]
                b = head.B[place, :, rank] + of_b[:, -weight.rows :]
                torch.testing.assert_close(factors[key].A[:, rank], a, rtol=1e-4, atol=1e-5)
                torch.testing.assert_close(factors[key].B[..., rank], b, rtol=1e-4, atol=1e-5)


@each_generator
@pytest.mark.parametrize("given", [False, True])
def test_scalers_of_ranks(name: str, given: bool) -> None:
    """What the heads make times a number for each rank; before training there is one update for all conditions."""
    net, x = layered(), torch.randn(3, 4, 6)
    drawn = {key: LowRank(A, torch.randn_like(B)) for key, (A, B) in draw_lora(net.selected_shapes, RANK).items()}
    hnet, condition = make(name, net, trained=False, scalers=True, start=drawn if given else None)
    with net.using(hnet.factors(cond_input=condition)) as module:
        torch.testing.assert_close(module(x), net(x, weights=drawn) if given else net.module(x))
    heads = next(part for part in hnet.modules() if isinstance(part, FactorHeads)).heads
    assert all((head.scalers[0] == float(not given)).all() for head in heads)

    def factors(a: float, b: float) -> Any:
        for head in heads:
            for scaler, value in zip(head.scalers, (a, b), strict=True):
                nn.init.zeros_(scaler)
                nn.init.constant_(scaler[:, 1], value)  # of the second rank
        return hnet.factors(cond_input=condition)

    start, once, more = factors(0, 0), factors(1, 1), factors(2, -3)
    for key in net.selected_shapes:
        for own, one, zero, times in zip(more[key], once[key], start[key], (2, -3), strict=True):
            torch.testing.assert_close(own - zero, times * (one - zero))
        changed = [(one - zero).abs() > 0 for one, zero in zip(once[key], start[key], strict=True)]
        assert changed[0].all((0, 2)).tolist() == [False, True]
        assert changed[1].all((0, 1)).tolist() == [False, True]
        assert not changed[0][:, 0].any()
        assert not changed[1][..., 0].any()


def test_scalers_let_heads_learn() -> None:
    net = layered()
    hnet, condition = make("documents", net, trained=False, scalers=True)
    drawn = [A.std() * (3 * A.shape[-1]) ** 0.5 for A, _ in hnet.factors(cond_input=condition).values()]
    assert 1.2 < torch.stack(drawn).mean() < 1.6, "entries of A0 and of what is added have the variance 1 / 3n each"
    HyperModel(hnet, net)(torch.randn(3, 4, 6), cond_input=condition).square().mean().backward()
    for head in hnet.module.last.heads:
        assert head.scalers[1].grad.abs().min() > 0


def test_what_stands_where_no_token_is_has_no_effect() -> None:
    net = layered()
    hnet, _ = make("documents", net)
    features = torch.randn(3, 7, SIZE)
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3, [0] * 7])
    masked = hnet.factors(cond_input={"features": features, "mask": mask})
    with_noise = features.where(mask[..., None].bool(), 100.0)
    noisy = hnet.factors(cond_input={"features": with_noise, "mask": mask})
    short = hnet.factors(cond_input={"features": features[1:2, :4]})
    for key, pair in masked.items():
        torch.testing.assert_close(pair, noisy[key])
        torch.testing.assert_close(LowRank(*(t[1] for t in pair)), short[key], rtol=1e-4, atol=1e-5)
        assert all(t.isfinite().all() for t in pair)


def test_documents_in_chunks() -> None:
    net, x = layered(), torch.randn(2, 4, 6)
    hnet, _ = make("documents", net)
    features, mask = torch.randn(2, 7, SIZE), torch.tensor([[1] * 7, [0] * 2 + [1] * 2 + [0] * 3])
    condition, groups = chunks_of(features, mask, 3)
    assert groups == [3, 1]
    assert torch.equal(condition["features"][3, :2], features[1, 2:4])
    factors = adapters_of_documents(hnet, features, mask, chunk_size=3)
    with net.using(factors) as module:
        y = module(x)
    for i, parts in enumerate(([(0, 3), (3, 6), (6, 7)], [(2, 4)])):
        pairs = [hnet.factors(cond_input={"features": features[i : i + 1, a:b]}) for a, b in parts]
        sums = {
            key: own + sum(pair[key].product(own.shape) for pair in pairs)
            for key, own in zip(net.selected_shapes, net.initial_weights(), strict=True)
        }
        torch.testing.assert_close(y[i], net(x[i], weights=sums), rtol=1e-4, atol=1e-5)


def test_nearest_adapter_of_a_rank() -> None:
    A, B = torch.randn(2, 6, 9, dtype=torch.float64), torch.randn(2, 8, 6, dtype=torch.float64)
    near = nearest_of_rank({"w": (A, B)}, 2)["w"]
    u, s, v = torch.linalg.svd(B @ A, full_matrices=False)
    torch.testing.assert_close(near.product([8, 9]), u[..., :2] * s[:, None, :2] @ v[:, :2])
    same = nearest_of_rank({"w": (A, B)}, 6)["w"]
    assert same.A is A
    assert same.B is B


def test_names_of_places() -> None:
    names = {
        "encoder.layers.10.q.weight": [4, 3],
        "decoder.layers.0.q.weight": [4, 3],
        "encoder.layers.2.q.weight": [4, 3],
        "encoder.layers.2.experts.7.up.weight": [4, 3, 2],
        "head.weight": [4, 3],
        "0.weight": [4, 3],
        "2.weight": [5, 4],
        5: [4, 3],
    }
    found = {(w.pattern, w.rows, w.columns): w.layers for w in repeated_weights(names)}
    assert found == {
        ("encoder.layers.*.q.weight", 4, 3): [10, 2],
        ("decoder.layers.*.q.weight", 4, 3): [0],
        ("encoder.layers.*.experts.7.up.weight", 4, 6): [2],
        ("head.weight", 4, 3): [0],
        ("*.weight", 4, 3): [0],
        ("*.weight", 5, 4): [2],
        ("*", 4, 3): [5],
    }


def test_contract() -> None:
    """They keep the laws of all hypernetworks."""
    check_hypernetwork(make("text M", layered(1))[0], cond_input=torch.randn(3, SIZE))
    check_hypernetwork(make("documents", layered(1))[0], cond_input=DOCUMENTS["features"])


def test_language_model_writes_with_generated_adapters() -> None:
    """Rows of ``generate()`` with adapters of different documents; hidden states of the model itself are read."""
    net = llama()
    hnet = random_heads(HDocToLoRA(net, in_size=16, rank=RANK, size=16), std=1.0)
    documents = torch.randint(3, 40, (2, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        features = net.module.model(documents).last_hidden_state
        factors = adapters_of_documents(hnet, features, chunk_size=5, budget=3)
    questions = torch.tensor([[5, 6], [5, 6]])
    greedy: dict[str, Any] = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}
    with net.using(factors) as module:
        texts, logits = module.generate(questions, **greedy), module(questions).logits
    for i in range(2):
        with net.merged({key: (A[i], B[i]) for key, (A, B) in factors.items()}) as module:
            assert torch.equal(module.generate(questions[:1], **greedy)[0], texts[i])
    assert (logits[0] - logits[1]).abs().max() > 1e-2


@each_generator
def test_scales_of_norms_beside_lora(name: str, tmp_path: Any) -> None:
    """One generator makes both, and each row of a batch has its own, as if the model had the sums."""
    net = ModuleNet(llama().module, include=["*_proj.weight", "*norm.weight"])
    hnet, condition = make(name, net)
    factors = hnet.factors(cond_input=condition)
    assert factors["model.norm.weight"].product([16]).shape == (3, 16)
    ids = torch.randint(3, 40, (3, 6), generator=torch.Generator().manual_seed(0))
    greedy: dict[str, Any] = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False}
    with net.using(factors) as module:
        logits, texts = module(ids).logits, module.generate(ids, **greedy)
    logits.square().sum().backward()
    heads = [p for key, p in hnet.named_parameters() if key.endswith("linear.weight")]
    assert len(heads) == 7 + 3
    assert all(p.grad.abs().sum() > 0 for p in heads)
    for i in range(3):
        own = {key: LowRank(A[i], B[i]) for key, (A, B) in factors.items()}
        with net.merged(own) as module:
            torch.testing.assert_close(logits[i], module(ids[i : i + 1]).logits[0], rtol=1e-4, atol=1e-5)
            assert torch.equal(texts[i], module.generate(ids[i : i + 1], **greedy)[0])
    with pytest.raises(ValueError, match="net: expected layers that PEFT has a LoRA for, got LlamaRMSNorm"):
        save_peft_adapter(tmp_path, own, net)


WRONG: dict[str, tuple[Callable[[Any], object], type[Exception], str]] = {
    "variant": (lambda net: HTextToLoRA(net, SIZE, variant="XL"), ValueError, "variant: .*'L'"),
    "rank": (lambda net: HTextToLoRA(net, SIZE, rank=0), ValueError, "rank: "),
    "condition": (
        lambda net: HTextToLoRA(net, SIZE).factors(cond_input=torch.randn(2, 4)),
        ValueError,
        "cond_input: expected 5 entries",
    ),
    "places of start": (lambda net: HTextToLoRA(net, SIZE, start={}), ValueError, "start: expected a pair"),
    "rank of start": (
        lambda net: HTextToLoRA(net, SIZE, rank=3, start=draw_lora(net.selected_shapes, 2)),
        ValueError,
        r"start\['0.q.weight'\], A: expected shape \(3, 6\), got \(2, 6\)",
    ),
    "heads": (lambda net: HDocToLoRA(net, SIZE, size=10, heads=4), ValueError, "size: expected a multiple of heads=4"),
    "features": (
        lambda net: HDocToLoRA(net, SIZE).factors(cond_input={"features": torch.randn(2, 7)}),
        ValueError,
        r"cond_input\['features'\]: expected shape \(N, T, 5\), got \(2, 7\)",
    ),
    "mask": (
        lambda net: HDocToLoRA(net, SIZE).factors(cond_input={**DOCUMENTS, "mask": torch.ones(3, 6)}),
        ValueError,
        r"cond_input\['mask'\]: expected shape \(3, 7\)",
    ),
}


@pytest.mark.parametrize(("wrong", "error", "message"), WRONG.values(), ids=WRONG)
def test_wrong_use(wrong: Callable[[Any], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        wrong(layered())
