"""The joint model under ``DistributedDataParallel``, and exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from hypnettorch.hnets import HMLP, HyperNetInterface
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets import MLP
from hypnettorch.mnets.module_net import ModuleNet
from hypnettorch.utils.hnet_regularizer import calc_fix_target_reg, get_current_targets
from tests.processes import of_two_processes

TASK, BETA = 2, 0.5


class Regularizer:
    """Distance from the targets of earlier tasks, evaluated inside of the model."""

    def __init__(self, hnet: HyperNetInterface) -> None:
        self._targets = get_current_targets(TASK, hnet)

    def __call__(self, hnet: HyperNetInterface) -> Tensor:
        return calc_fix_target_reg(hnet, TASK, targets=self._targets)


def build() -> tuple[HyperModel, Regularizer, Tensor, Tensor]:
    torch.manual_seed(0)
    mnet = MLP(n_in=4, n_out=2, hidden_layers=[6], no_weights=True, verbose=False)
    hnet = HMLP(mnet.hyper_shapes_learned, cond_in_size=3, layers=[5], num_cond_embs=TASK + 1, verbose=False)
    regularizer = Regularizer(hnet)
    with torch.no_grad():
        for parameter in hnet.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return HyperModel(hnet, mnet), regularizer, torch.randn(8, 4), torch.randn(8, 2)


def loss_of(model: nn.Module, regularizer: Regularizer, x: Tensor, y: Tensor) -> Tensor:
    output, penalty = model(x, cond_id=TASK, regularizer=regularizer)
    return nn.functional.mse_loss(output, y) + BETA * penalty


def work(rank: int, _: Path) -> list[Tensor | None]:
    model, regularizer, x, y = build()
    parallel = DistributedDataParallel(model, find_unused_parameters=True)
    half = slice(4 * rank, 4 * rank + 4)
    loss_of(parallel, regularizer, x[half], y[half]).backward()
    return [parameter.grad for parameter in model.parameters()]


def test_two_processes_give_the_gradients_of_one(tmp_path: Path) -> None:
    found = of_two_processes(work, tmp_path)
    model, regularizer, x, y = build()
    loss_of(model, regularizer, x, y).backward()
    for gradients in found:
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            expected = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            torch.testing.assert_close(torch.zeros_like(parameter) if gradient is None else gradient, expected)


def sharded(*_: Any) -> tuple[Tensor, dict[str, Tensor]]:
    model, _, x, y = build()
    fully_shard(model.hnet, mesh=init_device_mesh("cpu", (2,)))
    output = model(x, cond_id=[0, TASK], share_input=True)
    nn.functional.mse_loss(output[1], y).backward()
    gradients: Any = {
        name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None
    }
    return output.detach(), {name: gradient.full_tensor() for name, gradient in gradients.items()}


@pytest.mark.filterwarnings("ignore:FSDP2-wrapped module")
def test_the_hypernetwork_may_be_sharded(tmp_path: Path) -> None:
    found = of_two_processes(sharded, tmp_path)
    model, _, x, y = build()
    output = model(x, cond_id=[0, TASK], share_input=True)
    nn.functional.mse_loss(output[1], y).backward()
    expected = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    for sharded_output, gradients in found:
        torch.testing.assert_close(sharded_output, output.detach())
        torch.testing.assert_close(gradients, expected)


def test_export_of_a_hyper_model() -> None:
    model, _, x, _ = build()
    program = torch.export.export(model, (x,), {"cond_id": torch.tensor(1)})
    for condition in (0, 2):
        exported = program.module()(x, cond_id=torch.tensor(condition))
        torch.testing.assert_close(exported, model(x, cond_id=condition))
    xs = torch.stack([x, -x])
    program = torch.export.export(model, (xs,), {"cond_id": torch.tensor([1, 0])})
    for conditions in ([0, 2], [2, 2]):
        exported = program.module()(xs, cond_id=torch.tensor(conditions))
        torch.testing.assert_close(exported, model(xs, cond_id=conditions))


def test_export_of_a_hyper_model_around_a_module() -> None:
    net = ModuleNet(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)))
    model = HyperModel(HMLP(net.hyper_shapes_learned, num_cond_embs=3, layers=[5], verbose=False), net)
    x = torch.randn(3, 1, 4, 4)
    program = torch.export.export(model, (x,), {"cond_id": torch.tensor(1)})
    torch.testing.assert_close(program.module()(x, cond_id=torch.tensor(2)), model(x, cond_id=2))
