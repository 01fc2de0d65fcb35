"""What holds for hypernetworks whose embeddings are one table."""

from __future__ import annotations

from typing import Any

import torch


def looked_up_in_a_table(hnet: Any) -> None:
    """Ids choose rows, of one table or of many, and only these rows have a gradient."""
    (embeddings,) = hnet.conditional_params
    hnet.eval()
    torch.testing.assert_close(hnet(**hnet.condition_inputs([2, 0])), hnet(cond_id=[2, 0]))
    hnet(cond_id=[2, 0], ret_format="flattened").square().sum().backward()
    assert embeddings.grad.flatten(1).any(1).tolist() == [True, False, True, False, False]
    sets = torch.stack([embeddings.detach(), 0.5 * embeddings.detach()])
    got = hnet.batched_forward(cond_id=[4, 1], weights={"cond_weights": [sets]}, ret_format="flattened")
    one = hnet(cond_id=[4, 1], weights={"embeddings.weight": sets[1]}, ret_format="flattened")
    torch.testing.assert_close(got, torch.stack([hnet(cond_id=[4, 1], ret_format="flattened"), one]))
