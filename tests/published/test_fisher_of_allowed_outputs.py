"""Multi-head EWC with a loss of the program's own: it gets the outputs of its head."""

from __future__ import annotations

import torch

from hypnettorch.data import from_arrays
from hypnettorch.mnets import MLP
from hypnettorch.utils.ewc_regularizer import compute_fisher


def nll(outputs, targets, data, allowed_outputs, empirical_fisher, *ids):
    seen.append(tuple(outputs.shape))
    return -(torch.log_softmax(outputs, dim=1) * targets).sum()


seen = []


def test_own_loss_sees_its_head():
    x, labels = torch.randn(6, 3).numpy(), [0, 1, 0, 1, 1, 0]
    data = from_arrays(x, labels, use_one_hot=True)
    net = MLP(3, 6, [5], verbose=False)
    params = list(net.internal_params)
    for options in ({"pass_ids": True}, {}):
        compute_fisher(0, data, params, torch.device("cpu"), net, allowed_outputs=[2, 3], custom_nll=nll, **options)
        assert set(seen) == {(1, 2)}
        expected = [torch.zeros_like(p) for p in params]
        for row, label in zip(x, labels, strict=True):
            logits = net(torch.tensor(row).unsqueeze(0))[:, 2:4]
            grads = torch.autograd.grad(-torch.log_softmax(logits, dim=1)[0, label], params)
            for total, grad in zip(expected, grads, strict=True):
                total += grad**2 / len(x)
        for i, total in enumerate(expected):
            torch.testing.assert_close(getattr(net, f"ewc_fisher_estimate_task_0_weights_{i}"), total)
