"""Reconstruction of adapters, and distillation of contexts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypnettorch.adapters import HTextToLoRA
from hypnettorch.adapters.factor_heads import draw_lora
from hypnettorch.adapters.training import Reconstruction, context_distillation, distillation_loss
from hypnettorch.core.low_rank import LowRank
from hypnettorch.hnets import HLowRank
from hypnettorch.hnets.low_rank_hnet import UpdatesOfModule
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets import ModuleNet
from hypnettorch.utils.peft_adapters import save_peft_adapter
from tests.adapters.models import VOCABULARY, layered, llama

RANK = 2


def lora(net: Any, spread: float = 1.0) -> dict[Any, LowRank]:
    """Any adapter."""
    drawn = draw_lora(net.selected_shapes, RANK)
    return {key: LowRank(A, spread * torch.randn_like(B)) for key, (A, B) in drawn.items()}


def test_loss_of_reconstruction() -> None:
    targets = [{"w": (torch.randn(2, 4), torch.randn(3, 2))} for _ in range(5)]
    made = {"w": (torch.randn(2, 2, 4), torch.randn(2, 3, 2))}
    scores = []
    for i in range(2):
        own, all_of_them = made["w"][i], torch.stack([target["w"][i] for target in targets])
        mean, std = all_of_them.mean(0), all_of_them.std(0, correction=0)
        for row, condition in zip(own, (3, 1), strict=True):
            scores.append(((row - mean) / std - (all_of_them[condition] - mean) / std).abs().flatten())
    torch.testing.assert_close(Reconstruction(targets).loss(made, [3, 1]), torch.cat(scores).mean())


def test_a_folder_of_adapters_is_learned(tmp_path: Any) -> None:
    net = layered(2)
    adapters = [lora(net) for _ in range(4)]
    folders = [tmp_path / str(i) for i in range(4)]
    for folder, adapter in zip(folders, adapters, strict=True):
        save_peft_adapter(folder, adapter, net)
    target = Reconstruction.from_folders(folders, net)
    hnet, descriptions = HTextToLoRA(net, cond_in_size=4, rank=RANK, size=64), torch.eye(4)
    optimizer = torch.optim.Adam(hnet.parameters(), lr=3e-3)
    first = target.loss(hnet.factors(cond_input=descriptions), range(4)).item()
    for _ in range(150):
        optimizer.zero_grad()
        loss = target.loss(hnet.factors(cond_input=descriptions), range(4))
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2 * first
    x = torch.randn(5, 6)
    with torch.no_grad():
        errors = torch.tensor(
            [
                [(net(x, weights=made) - net(x, weights=adapter)).norm() for adapter in adapters]
                for made in (hnet.factors(cond_input=e[None]) for e in descriptions)
            ]
        )
    assert errors.argmin(1).tolist() == [0, 1, 2, 3]


class Codes(nn.Module):
    """A generator that reads the nearest entry of a codebook, and keeps how far it was."""

    def __init__(self, net: ModuleNet) -> None:
        super().__init__()
        self.codebook = nn.Parameter(torch.randn(4, 5))
        self.generator = HTextToLoRA(net, cond_in_size=5, rank=RANK, size=16).module
        for B in (p for key, p in self.generator.named_parameters() if key.endswith(".B")):
            nn.init.normal_(B)

    def forward(self, e: Tensor) -> dict[Any, LowRank]:
        code = self.codebook[torch.cdist(e, self.codebook).argmin(1)]
        self.distance = (code - e.detach()).square().mean()
        pairs: dict[Any, LowRank] = self.generator(e + (code - e).detach())
        return pairs


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_loss_that_a_generator_keeps(wrapped: bool) -> None:
    """It has the graph of the call: a codebook that the output does not reach learns from it alone."""
    net, e, x = layered(2), torch.randn(3, 5), torch.randn(3, 7, 6)
    codes = Codes(net)
    hnet = HLowRank(codes, net, rank=RANK, gate=1, verbose=False) if wrapped else UpdatesOfModule(codes, net)
    output, factors = HyperModel(hnet, net, return_factors=True)(x, cond_input=e)
    for key, pair in hnet.factors(cond_input=e).items():
        torch.testing.assert_close(factors[key], pair)
    (output.square().mean() + 0.25 * codes.distance).backward()
    nearest = torch.cdist(e, codes.codebook).argmin(1)
    expected = torch.zeros_like(codes.codebook)
    expected.index_add_(0, nearest, 0.25 * 2 / e.numel() * (codes.codebook[nearest] - e).detach())
    torch.testing.assert_close(codes.codebook.grad, expected)
    assert all(p.grad is not None for p in codes.generator.parameters())


def test_distance_of_distributions() -> None:
    student, teacher = torch.randn(2, 3, 5, requires_grad=True), torch.randn(2, 3, 5)
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    p, q = teacher.softmax(-1), student.softmax(-1)
    each = (p * (p.log() - q.log())).sum(-1)
    torch.testing.assert_close(
        distillation_loss(student, teacher, mask), ((each[0, 0] + each[0, 1]) / 2 + each[1, 0]) / 2
    )
    torch.testing.assert_close(distillation_loss(student, teacher), each.mean())
    assert distillation_loss(teacher, teacher).item() == pytest.approx(0, abs=1e-6)


def draw(*shape: int) -> Tensor:
    return torch.randint(3, VOCABULARY, shape)


def test_context_distillation() -> None:
    """The tokens of the answers count, where there are some; a student that sees the document is a perfect one."""
    net = llama()
    document, question, answer = draw(2, 6), draw(2, 3), draw(2, 2)
    there = torch.ones(2, 5, dtype=torch.long)
    there[1, -1] = 0  # the second answer is shorter
    short = {"input_ids": torch.cat([question, answer], 1), "attention_mask": there}
    full = {
        "input_ids": torch.cat([document, question, answer], 1),
        "attention_mask": torch.cat([torch.ones(2, 6, dtype=torch.long), there], 1),
    }
    adapter = {key: LowRank(*(t.requires_grad_() for t in pair)) for key, pair in lora(net).items()}
    stacked = {key: LowRank(A.expand(2, -1, -1), B.expand(2, -1, -1)) for key, (A, B) in adapter.items()}
    loss = context_distillation(net, stacked, short, full, length=2)
    teacher = net.module(**full).logits[:, -3:-1]
    with net.using(adapter) as module:
        student = module(**short).logits[:, -3:-1]
    torch.testing.assert_close(loss, distillation_loss(student, teacher, torch.tensor([[1, 1], [1, 0]])))
    gradients = torch.autograd.grad(loss, [tensor for pair in adapter.values() for tensor in pair])
    assert all(gradient.abs().sum() > 0 for gradient in gradients)
    nothing = {key: LowRank(A, torch.zeros_like(B)) for key, (A, B) in adapter.items()}
    assert context_distillation(net, nothing, full, full, length=2).item() == pytest.approx(0, abs=1e-6)
    rows = {key: LowRank(*(t[None] for t in pair)) for key, pair in adapter.items()}
    torch.testing.assert_close(context_distillation(net, rows, short, full, 2, sample_to_adapter=[0, 0]), loss)


PAIR = (torch.zeros(2, 4), torch.zeros(3, 2))
WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "no adapter": (lambda: Reconstruction([]), "adapters: expected at least one"),
    "other weights": (lambda: Reconstruction([{"w": PAIR}, {"v": PAIR}]), r"adapters\[1\]: .*'w'.*'v'"),
    "other rank": (
        lambda: Reconstruction([{"w": PAIR}, {"w": (torch.zeros(1, 4), torch.zeros(3, 1))}]),
        r"adapters\[1\]\['w'\]: expected shape \(2, 4\), got \(1, 4\)",
    ),
    "factors": (lambda: Reconstruction([{"w": PAIR}]).loss({}, [0]), "factors: expected a pair"),
    "number of factors": (
        lambda: Reconstruction([{"w": PAIR}]).loss({"w": (torch.zeros(2, 2, 4), torch.zeros(2, 3, 2))}, [0]),
        r"factors\['w'\]: expected shape \(1, 2, 4\), got \(2, 2, 4\)",
    ),
    "logits": (lambda: distillation_loss(torch.zeros(1, 2, 3), torch.zeros(1, 1, 3)), "teacher: expected shape"),
}


@pytest.mark.parametrize(("wrong", "message"), WRONG.values(), ids=WRONG)
def test_wrong_use(wrong: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrong()
