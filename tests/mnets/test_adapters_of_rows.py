"""Rows of a batch with different adapters: layers add their terms by batched products, as if called row by row."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hypnettorch.core import trees
from hypnettorch.core.low_rank import LowRank, add_adapters, sum_of_stacked
from hypnettorch.hnets import HMLP, HLowRank
from hypnettorch.mnets import ModuleNet
from hypnettorch.mnets.layer_types import register_layer
from tests.mnets.test_weight_updates import FACTORED, SUMMED, close, draw, first, make

ROWS = 3


def rows_of(x: Tensor, number: int) -> Tensor:
    """A batch of so many different samples."""
    return torch.stack([x[i % len(x)].roll(i, -1) for i in range(number)])


def one(updates: dict[str, LowRank], row: int) -> dict[str, LowRank]:
    return {name: LowRank(A[row], B[row]) for name, (A, B) in updates.items()}


BATCHES = [name for name in FACTORED if name != "conv 2d of one image"]


@pytest.mark.parametrize("name", BATCHES)
def test_each_row_has_its_own_adapter(name: str) -> None:
    net, sample = make(name)
    x = rows_of(sample, ROWS)
    net.eval()
    updates = {name: LowRank(*(t.requires_grad_() for t in pair)) for name, pair in draw(net, ROWS).items()}
    leaves = trees.tensors(updates)
    with net.using(updates) as module:
        output = first(module(x))
    expected = torch.cat([first(net(x[i : i + 1], weights=one(updates, i))) for i in range(ROWS)])
    close(output, expected)
    weighting = torch.randn_like(output)
    close(torch.autograd.grad(output, leaves, weighting), torch.autograd.grad(expected, leaves, weighting))


@pytest.mark.parametrize("name", ["linear", "conv 2d in groups", "embedding", "tied"])
def test_which_row_has_which(name: str) -> None:
    """By a list, by a tensor, and several rows following one another for each adapter."""
    net, sample = make(name)
    x = rows_of(sample, 4)
    net.eval()
    updates = draw(net, ROWS)
    for mapping in ([0, 0, 1, 2], torch.tensor([2, 0, 0, 1])):
        with net.using(updates, sample_to_adapter=mapping) as module:
            output = first(module(x))
        close(output, torch.cat([first(net(x[i : i + 1], weights=one(updates, a))) for i, a in enumerate(mapping)]))
    two = {name: LowRank(pair.A[:2], pair.B[:2]) for name, pair in updates.items()}
    with net.using(two) as module:
        output = first(module(x))
    close(output, torch.cat([first(net(x[2 * i : 2 * i + 2], weights=one(two, i))) for i in range(2)]))


@pytest.mark.parametrize("name", ["linear", "embedding", "tied"])
def test_positions_of_packed_rows(name: str) -> None:
    """Each position of a row may have another adapter, in any order; gradients are those of samples by themselves."""
    net, sample = make(name)
    net.eval()
    x = torch.stack([rows_of(sample, 4), rows_of(sample, 4).flip(0)]) if sample.is_floating_point() else sample
    which = torch.tensor([[2, 0, 0, 1], [1, 2, 1, 1]])
    updates = {name: LowRank(*(t.requires_grad_() for t in pair)) for name, pair in draw(net, ROWS).items()}
    with net.using(updates, sample_to_adapter=which) as module:
        output = first(module(x))
    every = [first(net(x, weights=one(updates, i))) for i in range(ROWS)]
    at = which.view(*which.shape, *[1] * (output.dim() - 2))
    expected = torch.stack(every).gather(0, at.expand_as(output)[None])[0]
    close(output, expected)
    weighting, leaves = torch.randn_like(output), trees.tensors(updates)
    close(torch.autograd.grad(output, leaves, weighting), torch.autograd.grad(expected, leaves, weighting))


def test_samples_packed_into_one_row() -> None:
    """What a language model gives for samples in one row, which its positions keep apart, is what it gives for each."""
    net = llama()
    updates = draw(net, 2, scale=1.0)
    samples = PROMPTS[0, :4], PROMPTS[1], PROMPTS[2, :3]
    positions = torch.cat([torch.arange(len(sample)) for sample in samples])
    which = torch.tensor([0] * 4 + [1] * 6 + [0] * 3)
    with net.using(updates, sample_to_adapter=which[None]) as module:
        packed = module(torch.cat(samples)[None], position_ids=positions[None], use_cache=False).logits[0]
    for sample, adapter, logits in zip(samples, (0, 1, 0), packed.split([4, 6, 3]), strict=True):
        close(logits, net(sample[None], weights=one(updates, adapter), use_cache=False).logits[0])


def test_one_row_is_meant_for_all() -> None:
    net, x = make("linear")
    updates = draw(net, ROWS)
    with net.using(updates) as module:
        close(module(x[:1]), torch.cat([net(x[:1], weights=one(updates, i)) for i in range(ROWS)]))
        assert module(x[:0]).shape == (0, 50)


def test_one_adapter_and_tensors_beside_stacked_ones() -> None:
    net, sample = make("linear")
    x, stacked, single, bias = rows_of(sample, ROWS), draw(net, ROWS), draw(net), torch.randn(30)
    mixed = {"0.weight": stacked["0.weight"], "2.weight": single["2.weight"], "0.bias": bias}
    with net.using(mixed) as module:
        output = module(x)
    for i in range(ROWS):
        alone = {**mixed, "0.weight": one(stacked, i)["0.weight"]}
        close(output[i], net(x[i], weights=alone))


def llama() -> ModuleNet:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "pad_token_id": 0, "eos_token_id": 2}
    model = LlamaForCausalLM(LlamaConfig(**sizes, **heads)).eval()
    assert model.config._attn_implementation == "sdpa"
    return ModuleNet(model, include=["*_proj.weight", "model.embed_tokens.weight"])


PROMPTS = torch.randint(3, 40, (ROWS, 6), generator=torch.Generator().manual_seed(0))
GREEDY: dict[str, Any] = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False}


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"num_return_sequences": 2, "num_beams": 2}], ids=str)
def test_generation_of_text(options: dict[str, Any]) -> None:
    """With a cache and left padding; beams are rows repeated."""
    net = llama()
    updates = draw(net, ROWS, scale=1.0)
    mask = torch.ones_like(PROMPTS)
    mask[1, :2] = 0
    with net.using(updates) as module:
        texts = module.generate(PROMPTS, attention_mask=mask, **GREEDY, **options)
    per_prompt = texts.unflatten(0, (ROWS, -1))
    for i in range(ROWS):
        with net.using(one(updates, i)) as module:
            alone = module.generate(PROMPTS[i : i + 1], attention_mask=mask[i : i + 1], **GREEDY, **options)
        assert torch.equal(per_prompt[i], alone)
    assert len({tuple(text[6:].tolist()) for text in texts}) > 1


def test_generation_in_another_thread() -> None:
    net = llama()
    updates, found = draw(net, ROWS, scale=1.0), []
    with net.using(updates) as module:
        thread = threading.Thread(target=lambda: found.append(module.generate(PROMPTS, **GREEDY)))
        thread.start()
        thread.join()
        assert torch.equal(found[0], module.generate(PROMPTS, **GREEDY))


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing(reentrant: bool) -> None:
    for name in ("linear", "conv 2d"):
        net, sample = make(name)
        x = rows_of(sample, ROWS).requires_grad_()
        updates = {name: LowRank(*(t.requires_grad_() for t in pair)) for name, pair in draw(net, ROWS).items()}
        leaves = trees.tensors(updates)
        with net.using(updates) as module:
            module(x).square().sum().backward()
            expected = [leaf.grad.clone() for leaf in leaves]
            for leaf in leaves:
                leaf.grad = None
            loss = checkpoint(module, x, use_reentrant=reentrant).square().sum()
            if reentrant:
                loss.backward()
        if not reentrant:
            loss.backward()
        close([leaf.grad for leaf in leaves], expected)


def test_checkpointed_language_model() -> None:
    """As it is trained: factors from a hypernetwork, checkpoints in the layers of the model."""
    net = llama()
    hnet = HLowRank(lambda shapes: HMLP(shapes, num_cond_embs=ROWS, verbose=False), net, rank=2, verbose=False)
    nn.init.ones_(hnet.gates)
    net.train()
    gradients = []
    for checkpoints in (False, True):
        if checkpoints:
            net.module.gradient_checkpointing_enable({"use_reentrant": False})
        with net.using(hnet.factors(cond_id=[0, 1, 2])) as module:
            logits = module(input_ids=PROMPTS, use_cache=False).logits
        logits.log_softmax(-1).square().mean().backward()
        gradients.append(hnet.gates.grad.clone())
        hnet.zero_grad()
    close(gradients[1], gradients[0])
    assert (gradients[0] != 0).all()


def test_checkpointed_weight_sets() -> None:
    """As many weight sets, each with its own loss: checkpoints of the model change nothing."""
    net = llama().train()
    updates = {name: LowRank(*(t.requires_grad_() for t in pair)) for name, pair in draw(net, ROWS).items()}
    leaves = trees.tensors(updates)
    arguments = {"input_ids": PROMPTS[:, None], "labels": PROMPTS[:, None], "use_cache": False}
    gradients = []
    for checkpoints in (False, True):
        if checkpoints:
            net.module.gradient_checkpointing_enable({"use_reentrant": False})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is evaluated set by set
            losses = net.batched_forward(**arguments, weights=updates).loss
        assert losses.shape == (ROWS,)
        gradients.append(torch.autograd.grad(losses.sum(), leaves))
    close(gradients[1], gradients[0])


def test_factors_of_another_type() -> None:
    """A float32 adapter beside a bfloat16 model: its term is computed in float32."""
    net, sample = make("linear")
    x, updates = rows_of(sample, ROWS).bfloat16(), draw(net, ROWS)
    net = ModuleNet(net.module.bfloat16(), include="*.weight", weight_dtype="generated")
    with net.using(updates) as module:
        output = module(x)
    assert output.dtype == torch.bfloat16
    hidden = net.module[0](x) + (x.float()[:, None] @ updates["0.weight"].product([30, 40]).mT)[:, 0].bfloat16()
    hidden = net.module[1](hidden)
    term = (hidden.float()[:, None] @ updates["2.weight"].product([50, 30]).mT)[:, 0].bfloat16()
    torch.testing.assert_close(output, net.module[2](hidden) + term, rtol=2e-2, atol=2e-2)
    torch.testing.assert_close(net(x[0], weights=one(updates, 0)), output[0], rtol=2e-2, atol=2e-2)


def test_a_registered_layer_does_not_have_to_know_of_rows() -> None:
    class Tripled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 3 * super().forward(x)

    register_layer(Tripled, term=lambda layer, x, update: 3 * (x @ update.A.mT @ update.B.mT))
    net, x = ModuleNet(nn.Sequential(Tripled(4, 3)), include="*.weight"), torch.randn(2 * ROWS, 5, 4)
    updates = draw(net, ROWS)
    with net.using(updates) as module:
        output = module(x)
    close(output, torch.cat([net(x[2 * i : 2 * i + 2], weights=one(updates, i)) for i in range(ROWS)]))


def test_layers_may_be_called_by_keyword() -> None:
    class Called(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.embedding = nn.Linear(4, 3), nn.Embedding(5, 4)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.linear(input=self.embedding(input=tokens))

    net, tokens = ModuleNet(Called(), include="*.weight"), torch.tensor([[1, 2], [0, 4], [3, 3]])
    updates = draw(net, ROWS)
    with net.using(updates) as module:
        output = module(tokens)
    for i in range(ROWS):
        dense = {
            name: own + one(updates, i)[name].product(own.shape)
            for name, own in net.module.named_parameters()
            if name in updates
        }
        close(output[i], net(tokens[i], weights=dense))


def test_sums_of_generated_and_given_adapters() -> None:
    net, sample = make("linear")
    x, generated, given = rows_of(sample, ROWS), draw(net, ROWS), draw(net, rank=3)
    both = add_adapters(generated, given)
    assert both["0.weight"].rank == 5
    with net.using(both) as module:
        output = module(x)
    for i in range(ROWS):
        close(output[i], net(x[i], weights=add_adapters(one(generated, i), given)))


def test_beside_a_lora_of_peft() -> None:
    """The base of the generated adapter is a model that has one of PEFT already."""
    peft = pytest.importorskip("peft")
    net, sample = make("linear")
    x = rows_of(sample, ROWS)
    adapted = peft.get_peft_model(net.module, peft.LoraConfig(r=2, target_modules=["0", "2"], init_lora_weights=False))
    own = adapted(x)
    over = ModuleNet(adapted, include="*base_layer.weight")
    updates = draw(over, ROWS)
    with over.using(updates) as module:
        output = module(x)
    for i in range(ROWS):
        close(output[i], over(x[i], weights=one(updates, i)))
    assert not torch.allclose(output, own, atol=1e-3)


def test_chunks_of_documents() -> None:
    """Three documents of 2, 1 and 3 chunks: ranks add up, zeros fill."""
    net, sample = make("linear")
    updates, x = draw(net, 6), rows_of(sample, 3)
    with net.using(sum_of_stacked(updates, groups=[2, 1, 3])) as module:
        output = module(x)
    chunks = [[0, 1], [2], [3, 4, 5]]
    for i, document in enumerate(chunks):
        close(output[i], net(x[i], weights=add_adapters(*(one(updates, chunk) for chunk in document))))


def use(weights: Any, x: Tensor | None = None, module: nn.Module | None = None, **options: Any) -> Any:
    net = ModuleNet(module or nn.Sequential(nn.Linear(2, 1)), include="*.weight")
    with net.using(weights, **options) as used:
        return used(torch.ones(ROWS, 2) if x is None else x)


def stacked(rows: int = ROWS, n_in: int = 2, n_out: int = 1) -> LowRank:
    return LowRank(torch.ones(rows, 1, n_in), torch.ones(rows, n_out, 1))


WRONG: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "number of rows": (lambda: use({0: stacked(2)}), ValueError, "weights: expected factors for 3 rows.*those for 2"),
    "different numbers": (
        lambda: use({0: stacked(2), 1: stacked(3)}, module=nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))),
        ValueError,
        r"B: expected shape|same number of rows",
    ),
    "rows of pair": (lambda: use({0: (torch.ones(2, 1, 2), torch.ones(3, 1, 1))}), ValueError, "B: expected shape"),
    "columns": (lambda: use({0: stacked(n_in=3)}), ValueError, r"A: expected shape \(N, r, 2\)"),
    "stacked tensor": (lambda: use({0: torch.ones(3, 1, 2)}), ValueError, r"\(1, 2\).*\(3, 1, 2\)"),
    "unknown adapter": (
        lambda: use({0: stacked()}, sample_to_adapter=[0, 3, 1]),
        ValueError,
        r"sample_to_adapter\[1\]: expected an integer between 0 and 2, got 3",
    ),
    "no integer": (lambda: use({0: stacked()}, sample_to_adapter=[0.5]), TypeError, r"sample_to_adapter\[0\]"),
    "nothing stacked": (
        lambda: use({0: LowRank(torch.ones(1, 2), torch.ones(1, 1))}, sample_to_adapter=[0]),
        ValueError,
        "sample_to_adapter",
    ),
    "no position": (
        lambda: use({0: stacked()}, sample_to_adapter=[[]]),
        ValueError,
        r"position \[R, T\], got \[1, 0\]",
    ),
    "other positions": (
        lambda: use({0: stacked()}, torch.ones(1, 4, 2), sample_to_adapter=[[0, 1, 2]]),
        ValueError,
        r"sample_to_adapter: expected shape \(1, 4\), got \(1, 3\)",
    ),
    "no sample": (lambda: use({0: stacked()}, sample_to_adapter=[]), ValueError, "sample_to_adapter"),
    "groups": (lambda: sum_of_stacked({0: stacked()}, groups=[1, 1]), ValueError, "groups: .*sum 3"),
}


@pytest.mark.parametrize(("wrong", "error", "message"), WRONG.values(), ids=WRONG)
def test_wrong_use(wrong: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        wrong()


@pytest.mark.parametrize("name", SUMMED)
def test_layers_that_cannot_say_so(name: str) -> None:
    net, _ = make(name)
    kind = r"Attention|LSTM|Conv|Halved|GRU|Linear|Parametrization"
    with pytest.raises(ValueError, match=rf"weights\['.*'\]: expected a layer .*register_layer.* for .*({kind})"):
        net.using(draw(net, ROWS))


def test_readers_of_the_weight_get_an_error() -> None:
    net, _ = make("linear")
    with (
        net.using(draw(net, ROWS)) as module,
        pytest.raises(RuntimeError, match=r"different updates.*batched_forward"),
    ):
        module[0].weight.norm()
    with net.using(draw(net, ROWS)) as module:
        weight = module[0].weight
        assert (weight.shape, weight.device, weight.dtype) == ((30, 40), torch.device("cpu"), torch.float64)
        assert weight.is_floating_point()
        for reads in (
            lambda: weight + 1,
            lambda: weight.data,
            lambda: weight.tolist(),
            lambda: sum(module.parameters()),
        ):
            with pytest.raises(RuntimeError, match="different updates"):
                reads()
