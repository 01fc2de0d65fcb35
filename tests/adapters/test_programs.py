"""Generated adapters in programs of others: trainers, streams of text, accelerators, files."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypnettorch.adapters import HDocToLoRA, HTextToLoRA
from hypnettorch.adapters.experts import separate_experts
from hypnettorch.core.low_rank import LowRank
from hypnettorch.hnets import HMLP, HLowRank, HyperNetwork
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets import ModuleNet, layer_types
from hypnettorch.mnets.layer_types import LINEAR_FORM, register_layer
from hypnettorch.utils.peft_adapters import load_peft_adapter, save_peft_adapter
from tests.adapters.models import VOCABULARY, llama

transformers = pytest.importorskip("transformers")
SIZE = 4


def texts(rows: int) -> Tensor:
    return torch.randint(3, VOCABULARY, (rows, 6), generator=torch.Generator().manual_seed(0))


def opened(hnet: nn.Module) -> Any:
    """Heads as after training."""
    for name, parameter in hnet.named_parameters():
        if "heads" in name or "last" in name:
            nn.init.normal_(parameter, std=0.3)
    return hnet


def trainer(folder: Path, steps: int, condition: Any, reader: Any, net: ModuleNet) -> Any:
    """A trainer of Hugging Face; the batch has a condition for each text, and 7 texts are no multiple of 4."""
    ids = texts(7)

    def collate(rows: list[int]) -> dict[str, Any]:
        own = {name: tensor[rows] for name, tensor in condition.items()}
        return {
            "input_ids": ids[rows][:, None],
            "labels": ids[rows][:, None],
            "cond_input": own if len(own) > 1 else own["e"],
        }

    arguments = transformers.TrainingArguments(
        str(folder), per_device_train_batch_size=4, max_steps=steps, save_steps=2, logging_steps=1, report_to=[],
        use_cpu=True, remove_unused_columns=False, disable_tqdm=True, learning_rate=1e-2, seed=0,
    )  # fmt: skip
    return transformers.Trainer(HyperModel(reader, net), arguments, train_dataset=list(range(7)), data_collator=collate)


@pytest.mark.filterwarnings("ignore:.* weight set by weight set")
@pytest.mark.parametrize("kind", ["text", "documents"])
@pytest.mark.parametrize("checkpoints", [False, True])
def test_trainer_of_hugging_face(kind: str, checkpoints: bool, tmp_path: Path) -> None:
    """With a last batch of one text; a training that goes on from a checkpoint ends where one without break ends."""
    condition = {
        "text": {"e": torch.randn(7, SIZE)},
        "documents": {"features": torch.randn(7, 5, SIZE), "mask": torch.ones(7, 5)},
    }[kind]

    def fresh() -> tuple[Any, ModuleNet]:
        net = llama()
        net.module.config.use_cache = False
        make = HTextToLoRA if kind == "text" else HDocToLoRA
        torch.manual_seed(1)
        return make(net, SIZE, rank=2, size=8), net

    hnet, net = fresh()
    base = [weight.clone() for weight in net.initial_weights()]
    if checkpoints:
        net.module.gradient_checkpointing_enable({"use_reentrant": False})
    whole = trainer(tmp_path / "whole", 4, condition, hnet, net)
    whole.train()
    losses = [entry["loss"] for entry in whole.state.log_history if "loss" in entry]
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    assert all(map(torch.equal, net.initial_weights(), base)), "the base model was trained"
    again, net = fresh()
    if checkpoints:
        net.module.gradient_checkpointing_enable({"use_reentrant": False})
    trainer(tmp_path / "again", 4, condition, again, net).train(str(tmp_path / "whole" / "checkpoint-2"))
    for own, expected in zip(again.parameters(), hnet.parameters(), strict=True):
        torch.testing.assert_close(own, expected)


def test_a_batch_of_one_is_a_batch() -> None:
    net = llama()
    model, ids, e = HyperModel(opened(HTextToLoRA(net, SIZE, rank=2)), net), texts(3), torch.randn(3, SIZE)
    all_of_them = model(input_ids=ids[:, None], cond_input=e).logits
    last = model(input_ids=ids[2:, None], cond_input=e[2:]).logits
    torch.testing.assert_close(all_of_them[2:], last, rtol=1e-4, atol=1e-5)


class Digits:
    """A tokenizer whose tokens are numbers."""

    def decode(self, ids: Any, **_: Any) -> str:
        return "".join(f"{int(i)} " for i in ids)


def test_streamed_text() -> None:
    """``generate()`` in a thread of its own, as ``TextIteratorStreamer`` is used."""
    net = llama()
    factors = opened(HTextToLoRA(net, SIZE, rank=2)).factors(cond_input=torch.randn(1, SIZE))
    streamer = transformers.TextIteratorStreamer(Digits(), skip_prompt=True, timeout=60)
    greedy: dict[str, Any] = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}
    with net.using(factors) as module:
        thread = threading.Thread(target=module.generate, kwargs={"inputs": texts(1), "streamer": streamer, **greedy})
        thread.start()
        streamed = "".join(streamer)
        thread.join()
        written = module.generate(texts(1), **greedy)[0, 6:].tolist()
    assert streamed.split() == [str(i) for i in written]
    assert written != net.module.generate(texts(1), **greedy)[0, 6:].tolist()


def test_accelerate(tmp_path: Path) -> None:
    accelerate = pytest.importorskip("accelerate")
    torch.manual_seed(0)
    net = llama()
    model = HyperModel(HTextToLoRA(net, SIZE, rank=2), net)
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
    optimizer = torch.optim.Adam(model.hnet.parameters(), lr=1e-2)
    prepared, optimizer = accelerator.prepare(model, optimizer)
    ids, e = texts(2)[:, None], torch.randn(2, SIZE)
    losses = []
    for _ in range(6):
        with accelerator.accumulate(prepared):
            loss = prepared(input_ids=ids, labels=ids, cond_input=e).loss.mean()
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[1] == losses[0], "a step without accumulation"
    assert losses[-1] < losses[0]
    accelerator.save_state(str(tmp_path))
    with torch.no_grad():
        nn.init.normal_(next(p for key, p in model.hnet.named_parameters() if key.endswith(".B")))
    accelerator.load_state(str(tmp_path))
    assert prepared(input_ids=ids, labels=ids, cond_input=e).loss.mean().item() < losses[0]


def test_experts_of_a_mixture(tmp_path: Path) -> None:
    """Fused experts are refused; routers and attention are adapted, and PEFT's own file of such a model is read."""
    peft = pytest.importorskip("peft")
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "num_local_experts": 4}
    torch.manual_seed(0)
    module = transformers.MixtralForCausalLM(transformers.MixtralConfig(**sizes, **heads)).eval()
    with pytest.raises(ValueError, match="may be a stack of matrices"):
        HTextToLoRA(ModuleNet(module, include="*experts*"), SIZE)
    net = ModuleNet(module, include=["*q_proj.weight", "*v_proj.weight"])
    factors = opened(HTextToLoRA(net, SIZE, rank=2)).factors(cond_input=torch.randn(1, SIZE))
    ids = texts(2)
    expected = net(input_ids=ids, weights=factors).logits
    save_peft_adapter(tmp_path, factors, net)
    adapted = peft.PeftModel.from_pretrained(transformers.MixtralForCausalLM(module.config).eval(), tmp_path)
    adapted.save_pretrained(tmp_path / "again")
    loaded = load_peft_adapter(tmp_path / "again", net)
    torch.testing.assert_close(net(input_ids=ids, weights=loaded).logits, expected)


def mixture(kind: str) -> Any:
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2, "head_dim": 8}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "num_experts_per_tok": 2, "pad_token_id": 0}
    more = {
        "Mixtral": {"num_local_experts": 4, "intermediate_size": 24},
        "Qwen3Moe": {"num_experts": 4, "moe_intermediate_size": 24, "decoder_sparse_step": 1},
        "GptOss": {"num_local_experts": 4, "intermediate_size": 24},
    }[kind]
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**sizes, **heads, **more)
    return getattr(transformers, f"{kind}ForCausalLM")(config).eval()


@pytest.mark.parametrize("kind", ["Mixtral", "Qwen3Moe", "GptOss"])
def test_each_expert_has_a_pair_of_its_own(kind: str) -> None:
    """What the model computes then is what it computes with the sums in its fused weights."""
    module, fused = mixture(kind), mixture(kind)
    ids = texts(2)
    memory = {p.untyped_storage().data_ptr() for p in module.parameters()}
    taken = separate_experts(module)
    assert len(taken) == 4, "two in each layer"
    assert {p.untyped_storage().data_ptr() for p in module.parameters()} == memory
    torch.testing.assert_close(module(ids).logits, fused(ids).logits)
    net = ModuleNet(module, include="*experts*.weight")
    assert len(net.selected_shapes) == 16
    hnet = opened(HTextToLoRA(net, SIZE, rank=2))
    factors = hnet.factors(cond_input=torch.randn(1, SIZE))
    sizes = {key: sum(factor.numel() for factor in pair) for key, pair in factors.items()}
    assert all(sizes[key] == 2 * sum(shape) for key, shape in net.selected_shapes.items())
    with torch.no_grad():
        for name in taken:
            stack = fused.get_parameter(name)
            for e in range(4):
                stack[e] += factors[f"{name}.{e}.weight"].product(stack[e].shape)
    with net.using(factors) as adapted:
        logits = adapted(ids).logits
        written = adapted.generate(ids, max_new_tokens=3, do_sample=False)
    torch.testing.assert_close(logits, fused(ids).logits)
    assert torch.equal(written, fused.generate(ids, max_new_tokens=3, do_sample=False))
    logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in hnet.parameters())
    rows = hnet.factors(cond_input=torch.randn(2, SIZE))
    with pytest.raises(ValueError, match="different updates to the rows"), net.using(rows) as adapted:
        adapted(ids)


def test_experts_are_read() -> None:
    with pytest.raises(ValueError, match=r"module: expected parameters \[E, out, in\].*, got none"):
        separate_experts(llama().module)
    module = mixture("Mixtral")
    name = separate_experts(module)[0]
    weights = module.get_submodule(name)
    assert weights[torch.tensor(2)] is weights[2] is module.get_parameter(f"{name}.2.weight")


def test_frozen_base_is_no_buffer() -> None:
    """``DistributedDataParallel`` sends buffers in every forward pass, frozen parameters never."""
    net = llama()
    model = HyperModel(HLowRank(lambda shapes: HMLP(shapes, verbose=False), net, rank=1, verbose=False), net)
    buffers = sum(buffer.numel() for buffer in model.buffers())
    assert buffers < 100
    assert not any(weight.requires_grad for name, weight in model.named_parameters() if "_proj.weight" in name)


class Packed(nn.Linear):
    """As ``Linear4bit`` of bitsandbytes: a byte has two numbers, all stand in one column; each row has a scale."""

    def __init__(self, dense: nn.Linear) -> None:
        super().__init__(dense.in_features, dense.out_features, bias=dense.bias is not None)
        rows, columns = dense.weight.shape
        self.register_buffer("scale", dense.weight.detach().abs().amax(1, keepdim=True) / 7)
        numbers = (dense.weight.detach() / self.scale).round().add(8).to(torch.uint8).reshape(-1, 2)
        self.weight = nn.Parameter((numbers[:, :1] * 16 + numbers[:, 1:]), requires_grad=False)
        self.load_state_dict({"bias": dense.bias} if dense.bias is not None else {}, strict=False)
        assert self.weight.shape == (rows * columns // 2, 1)

    def dense(self) -> Tensor:
        halves = torch.cat([self.weight // 16, self.weight % 16], dim=1).reshape(self.out_features, -1)
        return (halves.float() - 8) * self.scale

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.dense(), self.bias)


register_layer(Packed, term=layer_types.term_of(nn.Linear(1, 1)), adapter_form=LINEAR_FORM)


def quantised() -> tuple[ModuleNet, ModuleNet]:
    """A language model with packed weights, and what it computes with, in full precision."""
    module, dense = llama().module, llama().module
    for name, layer in list(module.named_modules()):
        if name.endswith("_proj"):
            packed = Packed(layer)
            module.set_submodule(name, packed)
            dense.get_submodule(name).weight.data.copy_(packed.dense())
    return ModuleNet(module, include="*_proj.weight"), ModuleNet(dense, include="*_proj.weight")


@pytest.mark.parametrize("kind", ["text", "documents"])
def test_base_of_four_bits(kind: str, tmp_path: Path) -> None:
    """The base stays packed; adapters of the rows are added to what its layers give, also in training and in files."""
    net, dense = quantised()
    before = {key: value.clone() for key, value in net.module.state_dict().items()}
    assert net.selected_shapes == dense.selected_shapes
    hnet = opened((HTextToLoRA if kind == "text" else HDocToLoRA)(net, SIZE, rank=2))
    factors = hnet.factors(cond_input=torch.randn(3, SIZE) if kind == "text" else {"features": torch.randn(3, 5, SIZE)})
    ids, outputs = texts(3), []
    for each in (net, dense):
        with each.using(factors) as module:
            outputs.append((module(ids).logits, module.generate(ids, max_new_tokens=4, do_sample=False)))
    torch.testing.assert_close(outputs[0], outputs[1])
    grads = [
        torch.autograd.grad(logits.square().sum(), [p for p in hnet.parameters() if p.requires_grad], retain_graph=True)
        for logits, _ in outputs
    ]
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-3, atol=1e-4)
    assert (outputs[0][0] - net.module(ids).logits).abs().max() > 0.1
    one = {key: (A[1], B[1]) for key, (A, B) in factors.items()}
    save_peft_adapter(tmp_path, one, net)
    torch.testing.assert_close(load_peft_adapter(tmp_path, dense), {key: LowRank(*pair) for key, pair in one.items()})
    hnet.save_pretrained(tmp_path / "hnet", base=net)
    HyperNetwork.from_pretrained(tmp_path / "hnet", base=net)
    with pytest.raises(TypeError, match=r"expected a tensor for a weight of torch\.uint8"):
        net.materialize(one)
    assert all(torch.equal(value, before[key]) for key, value in net.module.state_dict().items())
