"""Modules that users bring, driven by hypernetworks."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypnettorch.hnets import HMLP
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets.module_net import ModuleNet
from tests.mnets.module_zoo import ZOO

every = pytest.mark.parametrize("name", ZOO)


def make(name: str) -> tuple[ModuleNet, HMLP]:
    """The module in evaluation mode, and a hypernetwork that knows two conditions."""
    torch.manual_seed(1)
    net = ModuleNet(ZOO[name].build().eval())
    hnet = HMLP(
        net.hyper_shapes_learned, cond_in_size=3, layers=[4], activation_fn=nn.Tanh(), num_cond_embs=2, verbose=False
    )
    hnet.apply_hyperfan_init(mnet=net)
    with torch.no_grad():
        for param in hnet.unconditional_params:  # so that also what starts constant depends on the condition
            param.add_(0.02 * torch.randn_like(param))
    return net, hnet


def as_floats(inputs: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in inputs.items()}


def close(got: Tensor, expected: Tensor, rtol: float = 1e-4) -> None:
    torch.testing.assert_close(got, expected, rtol=rtol, atol=rtol * max(expected.abs().max().item(), 1e-3))


@every
def test_own_values_give_the_results_of_the_module(name: str) -> None:
    zoo = ZOO[name]
    torch.manual_seed(0)
    module, inputs = zoo.build().eval(), zoo.inputs()
    expected = zoo.output(copy.deepcopy(module)(**inputs))
    net = ModuleNet(module)
    own = [value.clone() for value in net.initial_weights()]
    close(zoo.output(net(**inputs, weights=own)), expected, 1e-6)
    close(zoo.output(net.module(**inputs)), expected, 1e-6)
    assert not any(parameter.requires_grad for parameter in net.parameters())


@every
def test_many_conditions_are_a_loop(name: str) -> None:
    zoo = ZOO[name]
    net, hnet = make(name)
    inputs = zoo.inputs(2)
    with torch.no_grad():
        weights = hnet(cond_id=[0, 1], ret_format="stacked")
        got = zoo.output(net.batched_forward(**inputs, weights=weights))
        assert not torch.equal(got[0], got[1])
        for k in range(2):
            one = {key: value[k] for key, value in inputs.items()}
            close(got[k], zoo.output(net(**one, weights=hnet(cond_id=k))))


@every
def test_gradients_reach_the_hypernetwork(name: str) -> None:
    zoo = ZOO[name]
    net, hnet = make(name)
    zoo.output(HyperModel(hnet, net)(**zoo.inputs(), cond_id=1)).square().sum().backward()
    for param in hnet.unconditional_params:
        assert torch.isfinite(param.grad).all()
        assert param.grad.any()
    assert hnet.get_cond_in_emb(1).grad.any()
    assert hnet.get_cond_in_emb(0).grad is None
    rows = hnet.layer_weight_tensors[-1].grad.any(1).split([w.numel() for w in net.initial_weights()])
    unused = {"k_proj.bias", "key.bias"}  # softmax takes no notice of them
    learned = [net.param_names[ref] for ref in net.hyper_shapes_learned_ref]
    for own, reached in zip(learned, rows, strict=True):
        assert reached.any() or any(own.endswith(end) for end in unused), own


@every
def test_using_and_materialize(name: str) -> None:
    zoo = ZOO[name]
    net, hnet = make(name)
    inputs = zoo.inputs()
    with torch.no_grad():
        weights = hnet(cond_id=0)
        base, expected = zoo.output(net.module(**inputs)), zoo.output(net(**inputs, weights=weights))
        with net.using(weights) as module:
            close(zoo.output(module(**inputs)), expected, 1e-6)
        close(zoo.output(net.module(**inputs)), base, 1e-6)
        plain = net.materialize(weights)
        close(zoo.output(plain(**inputs)), expected, 1e-6)
    fresh = ZOO[name].build()
    assert type(plain) is type(fresh)
    fresh.load_state_dict(plain.state_dict(), strict=True)
    close(zoo.output(fresh.eval()(**inputs)), expected, 1e-6)


@every
def test_bfloat16_model_of_a_float32_hypernetwork(name: str) -> None:
    zoo = ZOO[name]
    net, hnet = make(name)
    inputs = zoo.inputs()
    expected = zoo.output(net(**inputs, weights=hnet(cond_id=0)))
    half = net.to(torch.bfloat16)
    output = zoo.output(half(**as_floats(inputs, torch.bfloat16), weights=hnet(cond_id=0)))
    assert output.dtype == torch.bfloat16
    close(output.float(), expected, 0.1)
    output.float().square().sum().backward()
    assert all(param.grad.dtype == torch.float32 for param in hnet.unconditional_params)


def under_autocast(compute: Callable[[], Any]) -> Any:
    """The result in half precision, or what torch says of a processor that has no such operation."""
    try:
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            return compute()
    except RuntimeError as problem:
        return str(problem)


@every
def test_autocast(name: str) -> None:
    """Works where the module by itself does; there is no LSTM in half precision for every processor."""
    zoo = ZOO[name]
    net, hnet = make(name)
    model, inputs = HyperModel(hnet, net), zoo.inputs(2)
    got = under_autocast(lambda: zoo.output(model(**inputs, cond_id=[0, 1])))
    alone = under_autocast(lambda: zoo.output(zoo.build().eval()(**zoo.inputs())))
    if isinstance(alone, str):
        assert name == "LSTM"
        assert got == alone
        return
    with torch.no_grad():
        close(got.float(), zoo.output(model(**inputs, cond_id=[0, 1])), 0.1)


@every
def test_training_mode(name: str) -> None:
    """Many conditions are a loop also where running statistics are updated, whose last values agree."""
    zoo = ZOO[name]
    net, hnet = make(name)
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train()
    inputs = zoo.inputs(2)
    nets = [copy.deepcopy(net) for _ in range(2)]
    with torch.no_grad():
        got = zoo.output(nets[0].batched_forward(**inputs, weights=hnet(cond_id=[0, 1], ret_format="stacked")))
        for k in range(2):
            one = {key: value[k] for key, value in inputs.items()}
            close(got[k], zoo.output(nets[1](**one, weights=hnet(cond_id=k))))
    for own, other in zip(nets[0].buffers(), nets[1].buffers(), strict=True):
        torch.testing.assert_close(own, other)


def test_hugging_face_keyword_arguments() -> None:
    """A loss that the model computes by itself, and a mask per weight set."""
    net, hnet = make("GPT-2")
    ids = torch.randint(11, (2, 3, 6))
    mask = torch.ones(2, 3, 6, dtype=torch.long)
    mask[1, :, :2] = 0
    arguments: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "labels": ids}
    both = HyperModel(hnet, net)(**arguments, cond_id=[0, 1])
    for k in range(2):
        one = net(**{key: value[k] for key, value in arguments.items()}, weights=hnet(cond_id=k))
        close(both.loss[k], one.loss)
        close(both.logits[k], one.logits)
