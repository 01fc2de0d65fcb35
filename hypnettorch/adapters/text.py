"""Adapters from descriptions of tasks: Text-to-LoRA."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.adapters.factor_heads import Adapter, FactorHeads
from hypnettorch.core import checks
from hypnettorch.core.low_rank import Key, LowRank
from hypnettorch.hnets.low_rank_hnet import UpdatesOfModule, targets_by_key

VARIANTS = {"L": (False, False), "M": (True, False), "S": (True, True)}
"""Whether the factors of a pair, and the ranks of a factor, are asked for one by one."""


class HTextToLoRA(UpdatesOfModule):
    """One network for all places: ``(A_p, B_p) = h([f(e), E[layer of p], E[kind of p]])``.

    A place is a weight of the main network; its kind and its layer are known by its name
    (:func:`~hypnettorch.adapters.repeated_weights.repeated_weights`). The pairs of all places are made in one pass, the
    heads are shared by all places of a kind. Before training all conditions have the adapter ``start``.

    =======  ======================================  ==========================
    variant  one evaluation of ``h`` gives           size of a head
    =======  ======================================  ==========================
    ``'L'``  the pair of a place                     ``size · r (n + out)``
    ``'M'``  ``A`` or ``B`` (one more embedding)     ``size · r max(n, out)``
    ``'S'``  one rank of these (two more)            ``size · max(n, out)``
    =======  ======================================  ==========================

    Args:
        target: What the adapters are for, as for :class:`~hypnettorch.hnets.low_rank_hnet.HLowRank`.
        cond_in_size: Size of a condition ``e``, as the embedding of a description.
        rank: ``r``.
        variant: What one evaluation of ``h`` gives.
        size: Size of the hidden layers of ``h``.
        emb_size: Size of the embeddings of layers, kinds, factors and ranks.
        depth: Number of residual blocks of ``h``.
        dropout: With which probability a hidden unit of a block is 0 in training mode.
        start: The adapter at which all conditions start, as
            :func:`~hypnettorch.utils.peft_adapters.load_peft_adapter` reads one. Default: as LoRA starts, ``B = 0``.
        scalers: Whether what the heads make is multiplied by a learned number for each rank of each place, see
            :class:`~hypnettorch.adapters.factor_heads.FactorHeads`.

    Attributes:
        rank: ``r``.

    Raises:
        ValueError: If an argument is out of range or ``start`` does not fit.
        TypeError: If an argument has the wrong type.

    References:
        Charakorn et al., "Text-to-LoRA", ICML 2025, https://arxiv.org/abs/2506.06105, section 3 (the architectures L, M
        and S).

    Example:
        >>> from hypnettorch.mnets import ModuleNet
        >>> net = ModuleNet(nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6)), include='*.weight')
        >>> hnet = HTextToLoRA(net, cond_in_size=16, rank=2)
        >>> factors = hnet.factors(cond_input=torch.randn(3, 16))
        >>> {key: (tuple(A.shape), tuple(B.shape)) for key, (A, B) in factors.items()}
        {'0.weight': ((3, 2, 6), (3, 6, 2)), '2.weight': ((3, 2, 6), (3, 6, 2))}
    """

    def __init__(
        self,
        target: Any,
        cond_in_size: int,
        rank: int = 8,
        variant: str = "L",
        size: int = 128,
        emb_size: int = 32,
        depth: int = 2,
        dropout: float = 0.0,
        start: Adapter | None = None,
        scalers: bool = False,
    ) -> None:
        checks.one_of("variant", variant, VARIANTS)
        heads = FactorHeads(
            targets_by_key(target),
            checks.integer("rank", rank, 1),
            checks.integer("size", size, 1),
            *VARIANTS[variant],
            start=start,
            scalers=scalers,
        )
        trunk = _Trunk(
            heads,
            checks.integer("cond_in_size", cond_in_size, 1),
            size,
            checks.integer("emb_size", emb_size, 1),
            checks.integer("depth", depth, 0),
            checks.dropout_rate("dropout", dropout),
        )
        super().__init__(trunk, target)
        self.rank = rank


class _Trunk(nn.Module):
    """``h``: hidden states of all places for each condition, and what the heads make of them."""

    def __init__(
        self, heads: FactorHeads, cond_in_size: int, size: int, emb_size: int, depth: int, dropout: float
    ) -> None:
        super().__init__()
        kinds = [kind for kind, weight in enumerate(heads.weights) for _ in weight.keys]
        layers = [layer for weight in heads.weights for layer in weight.layers]
        self.register_buffer("layer_of", torch.tensor(layers))
        self.register_buffer("kind_of", torch.tensor(kinds))
        factors, ranks = heads.states
        self._cond_in_size = cond_in_size
        self.encoder = nn.Sequential(nn.Linear(cond_in_size, size), nn.LayerNorm(size))
        self.layer = nn.Embedding(max(layers) + 1, emb_size)
        self.kind = nn.Embedding(len(heads.weights), emb_size)
        self.factor = nn.Parameter(torch.randn(factors, 1, emb_size)) if factors > 1 else None
        self.rank = nn.Parameter(torch.randn(ranks, emb_size)) if ranks > 1 else None
        embeddings = 2 + (factors > 1) + (ranks > 1)
        self.mix = nn.Linear(size + embeddings * emb_size, size)
        self.blocks = nn.ModuleList(ResidualBlock(size, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(size)
        self.heads = heads

    def forward(self, cond_input: Tensor) -> dict[Key, LowRank]:
        """The pairs for conditions ``[N, cond_in_size]``."""
        checks.width("cond_input", cond_input, self._cond_in_size)
        places = torch.cat([self.layer(self.layer_of), self.kind(self.kind_of)], dim=-1)[:, None, None]
        parts = [self.encoder(cond_input)[:, None, None, None], places, self.factor, self.rank]
        lead = (len(cond_input), len(places), *self.heads.states)
        x = self.mix(torch.cat([part.expand(*lead, -1) for part in parts if part is not None], dim=-1))
        for block in self.blocks:
            x = block(x)
        pairs: dict[Key, LowRank] = self.heads(self.norm(x))
        return pairs


class ResidualBlock(nn.Module):
    """``x + W_2 dropout(SiLU(W_1 LayerNorm(x)))``, with four times as many hidden units.

    Args:
        size: Size of ``x``.
        dropout: With which probability a hidden unit is 0.
    """

    def __init__(self, size: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(size), nn.Linear(size, 4 * size), nn.SiLU(), nn.Dropout(dropout), nn.Linear(4 * size, size)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Rows ``[..., size]``."""
        added: Tensor = self.layers(x)
        return x + added
