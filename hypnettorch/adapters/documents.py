"""Adapters from documents: Doc-to-LoRA."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypnettorch.adapters.factor_heads import Adapter, FactorHeads
from hypnettorch.adapters.text import ResidualBlock
from hypnettorch.core import checks
from hypnettorch.core.low_rank import Key, LowRank, sum_of_stacked
from hypnettorch.hnets.low_rank_hnet import UpdatesOfModule, targets_by_key


class HDocToLoRA(UpdatesOfModule):
    """A perceiver that reads documents: learned queries, one for each rank of each place, attend to all tokens.

    The condition is a dictionary with ``features [N, T, in_size]``, as the hidden states of a frozen language model or
    of any encoder, and, where documents differ in length, ``mask [N, T]``, which is 0 (or ``False``) where there is no
    token. What stands there has no effect. A place is a weight of the main network; the head from a query to a row of
    ``A`` and a column of ``B`` is shared by all places of a kind
    (:func:`~hypnettorch.adapters.repeated_weights.repeated_weights`). Before training all documents have the adapter
    ``start``.

    Args:
        target: What the adapters are for, as for :class:`~hypnettorch.hnets.low_rank_hnet.HLowRank`.
        in_size: Size of the features of a token.
        rank: ``r``.
        size: Size of queries and hidden layers.
        heads: Number of attention heads.
        depth: How often the queries attend.
        start: The adapter at which all documents start, as
            :func:`~hypnettorch.utils.peft_adapters.load_peft_adapter` reads one. Default: as LoRA starts, ``B = 0``.
        scalers: Whether what the heads make is multiplied by a learned number for each rank of each place, see
            :class:`~hypnettorch.adapters.factor_heads.FactorHeads`.

    Attributes:
        rank: ``r``.

    Raises:
        ValueError: If an argument is out of range or ``start`` does not fit.
        TypeError: If an argument has the wrong type.

    References:
        Charakorn et al., "Doc-to-LoRA", 2026, https://arxiv.org/abs/2602.15902; Jaegle et al., "Perceiver", ICML 2021,
        https://arxiv.org/abs/2103.03206.

    Example:
        >>> from hypnettorch.mnets import ModuleNet
        >>> net = ModuleNet(nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6)), include='*.weight')
        >>> hnet = HDocToLoRA(net, in_size=16, rank=2)
        >>> documents = {'features': torch.randn(3, 50, 16), 'mask': torch.ones(3, 50)}
        >>> hnet.factors(cond_input=documents)['0.weight'].A.shape
        torch.Size([3, 2, 6])
    """

    def __init__(
        self,
        target: Any,
        in_size: int,
        rank: int = 8,
        size: int = 128,
        heads: int = 4,
        depth: int = 2,
        start: Adapter | None = None,
        scalers: bool = False,
    ) -> None:
        if checks.integer("size", size, 1) % checks.integer("heads", heads, 1):
            checks.fail("size", f"a multiple of heads={heads}", size)
        shapes, rank = targets_by_key(target), checks.integer("rank", rank, 1)
        last = FactorHeads(shapes, rank, size, by_factor=False, by_rank=True, start=start, scalers=scalers)
        in_size, depth = checks.integer("in_size", in_size, 1), checks.integer("depth", depth, 1)
        super().__init__(_Perceiver(last, in_size, size, heads, depth), target)
        self.rank = rank


class _Perceiver(nn.Module):
    """Hidden states of all ranks of all places for each document, and what the heads make of them."""

    def __init__(self, last: FactorHeads, in_size: int, size: int, heads: int, depth: int) -> None:
        super().__init__()
        self._in_size = in_size
        places = sum(len(weight.keys) for weight in last.weights)
        self.encoder = nn.Sequential(nn.LayerNorm(in_size), nn.Linear(in_size, size))
        self.queries = nn.Parameter(0.02 * torch.randn(places * last.states[1], size))
        self.attention = nn.ModuleList(_Attention(size, heads) for _ in range(depth))
        self.blocks = nn.ModuleList(ResidualBlock(size) for _ in range(depth))
        self.norm = nn.LayerNorm(size)
        self.last = last

    def forward(self, features: Tensor, mask: Tensor | None = None) -> dict[Key, LowRank]:
        """The pairs for features ``[N, T, in_size]`` and ``mask [N, T]``."""
        _check_documents(features, mask, self._in_size)
        tokens = self.encoder(features)
        x = self.queries.expand(len(features), -1, -1)
        for attention, block in zip(self.attention, self.blocks, strict=True):
            x = block(x + attention(x, tokens, mask))
        pairs: dict[Key, LowRank] = self.last(self.norm(x).unflatten(1, (-1, *self.last.states)))
        return pairs


class _Attention(nn.Module):
    """Queries attend to tokens, and to one more that is learned; so an empty document has something, too."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.norm = nn.LayerNorm(size)
        self.nothing = nn.Parameter(torch.randn(size))
        self.query = nn.Linear(size, size, bias=False)
        self.key_value = nn.Linear(size, 2 * size, bias=False)
        self.output = nn.Linear(size, size, bias=False)

    def forward(self, x: Tensor, tokens: Tensor, mask: Tensor | None) -> Tensor:
        query = self._split(self.query(self.norm(x)))
        tokens = torch.cat([tokens, self.nothing.expand(len(tokens), 1, -1)], dim=1)
        key, value = map(self._split, self.key_value(tokens).chunk(2, dim=-1))
        if mask is not None:
            mask = F.pad(mask.bool(), (0, 1), value=True)[:, None, None]
        attended = F.scaled_dot_product_attention(query, key, value, mask)
        mixed: Tensor = self.output(attended.transpose(1, 2).flatten(2))
        return mixed

    def _split(self, x: Tensor) -> Tensor:
        """From ``[N, T, size]`` to ``[N, heads, T, size / heads]``."""
        return x.unflatten(-1, (self._heads, -1)).transpose(1, 2)


def _check_documents(features: Tensor, mask: Tensor | None, in_size: int) -> None:
    checks.tensor("cond_input['features']", features)
    if features.dim() != 3 or features.shape[-1] != in_size:
        checks.fail("cond_input['features']", f"shape (N, T, {in_size})", tuple(features.shape))
    if mask is not None:
        checks.tensor("cond_input['mask']", mask)
        checks.shape("cond_input['mask']", mask, tuple(features.shape[:2]))


def chunks_of(features: Tensor, mask: Tensor | None, chunk_size: int) -> tuple[dict[str, Tensor], list[int]]:
    """Documents cut into chunks, for :class:`HDocToLoRA`.

    Args:
        features: ``[N, T, in_size]``.
        mask: ``[N, T]``, 0 where there is no token, or ``None``.
        chunk_size: Number of tokens of a chunk, at most.

    Returns:
        The condition ``{'features': [C, chunk_size, in_size], 'mask': [C, chunk_size]}`` of all chunks, and how many
        chunks each document has, as :func:`~hypnettorch.core.low_rank.sum_of_stacked` takes them (at least one).

    Example:
        >>> condition, groups = chunks_of(torch.randn(2, 7, 3), torch.tensor([[1] * 7, [1] * 2 + [0] * 5]), 3)
        >>> condition['features'].shape, condition['mask'].sum(1).tolist(), groups
        (torch.Size([4, 3, 3]), [3, 3, 1, 2], [3, 1])
    """
    _check_documents(features, mask, features.shape[-1])
    checks.integer("chunk_size", chunk_size, 1)
    documents = features.unbind() if mask is None else [f[m.bool()] for f, m in zip(features, mask, strict=True)]
    pieces = [document.split(chunk_size) for document in documents]
    rows = [piece for chunks in pieces for piece in chunks]
    there = [torch.ones(len(row), dtype=torch.bool, device=row.device) for row in rows]
    pad = nn.utils.rnn.pad_sequence
    return {"features": pad(rows, batch_first=True), "mask": pad(there, batch_first=True)}, [*map(len, pieces)]


def adapters_of_documents(
    hnet: Any, features: Tensor, mask: Tensor | None = None, chunk_size: int = 512, budget: int | None = None
) -> dict[Key, LowRank]:
    """One adapter for each document: those of its chunks, side by side.

    Args:
        hnet: A hypernetwork that reads ``features`` and ``mask``, as :class:`HDocToLoRA`, also inside of wrappers.
        features: ``[N, T, in_size]``.
        mask: ``[N, T]``, 0 where there is no token.
        chunk_size: Number of tokens of a chunk, at most.
        budget: The largest rank that a sum may have; one that is larger is replaced by the nearest of this rank.

    Returns:
        Pairs ``A [N, R, n]``, ``B [N, out, R]``, ``R`` being the largest number of chunks times ``r``, or ``budget``.

    Example:
        >>> hnet = HDocToLoRA({'w': [5, 6]}, in_size=3, rank=2)
        >>> adapters_of_documents(hnet, torch.randn(4, 10, 3), chunk_size=4)['w'].A.shape
        torch.Size([4, 6, 6])
        >>> adapters_of_documents(hnet, torch.randn(4, 10, 3), chunk_size=4, budget=5)['w'].rank
        5
    """
    condition, groups = chunks_of(features, mask, chunk_size)
    summed = sum_of_stacked(hnet.factors(cond_input=condition), groups)
    return summed if budget is None else nearest_of_rank(summed, budget)


def nearest_of_rank(adapter: Adapter, rank: int) -> dict[Key, LowRank]:
    """The adapter whose updates have a rank, at most, and differ least (in the Frobenius norm) from those given.

    The product is never formed: with ``B = Q_B R_B`` and ``Aᵀ = Q_A R_A`` it has the singular values of the small
    matrix ``R_B R_Aᵀ`` (Eckart and Young, 1936). Pairs of a lower rank are returned as they are. Gradients are those of
    a singular value decomposition, which are not finite where values coincide.

    Args:
        adapter: Pairs ``A [..., r, n]``, ``B [..., out, r]``.
        rank: The rank.

    Example:
        >>> adapter = {'w': LowRank(torch.randn(6, 9), torch.randn(8, 6))}
        >>> nearest_of_rank(adapter, 2)['w'].rank
        2
    """
    checks.integer("rank", rank, 1)
    found: dict[Key, LowRank] = {}
    for key, (A, B) in adapter.items():
        if A.shape[-2] <= rank:
            found[key] = LowRank(A, B)
            continue
        (q_b, r_b), (q_a, r_a) = torch.linalg.qr(B), torch.linalg.qr(A.mT)
        u, s, v = torch.linalg.svd(r_b @ r_a.mT, full_matrices=False)
        roots = s[..., None, :rank].sqrt()
        found[key] = LowRank((q_a @ v.mT[..., :rank] * roots).mT, q_b @ u[..., :rank] * roots)
    return found
