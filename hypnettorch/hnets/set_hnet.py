"""A hypernetwork whose condition is a set of inputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.core import checks, functional, trees
from hypnettorch.core.values import Values
from hypnettorch.hnets import inputs
from hypnettorch.hnets.hypernetwork import Request
from hypnettorch.hnets.module_part import ModulePart
from hypnettorch.hnets.wrapper import Wrapper, check_input, check_rows


def mean_of_set(encoded: Tensor, mask: Tensor | None = None) -> Tensor:
    """``[..., S, size]`` to the mean over the elements, or over those of a mask ``[..., S]``: ``[..., size]``."""
    if mask is None:
        return encoded.mean(dim=-2)
    return torch.where(mask.unsqueeze(-1), encoded, 0).sum(-2) / mask.sum(-1, keepdim=True)


def max_of_set(encoded: Tensor, mask: Tensor | None = None) -> Tensor:
    """``[..., S, size]`` to the largest value of each entry over the elements (of a mask ``[..., S]``)."""
    return (encoded if mask is None else torch.where(mask.unsqueeze(-1), encoded, -torch.inf)).amax(dim=-2)


NOT_EMPTY = "at least one in each set (the mean or maximum of none is not defined; let a marked one stand for nothing)"
POOLS: dict[str, Callable[..., Tensor]] = {"mean": mean_of_set, "max": max_of_set}


class HSetInput(Wrapper):
    """``h(pool_s f(x_s))`` with a hypernetwork ``h``, an encoder ``f`` and a set ``x_1, …, x_S``.

    All elements are encoded in one call, and what is made of each set is the conditional input of ``h``. With the mean
    or the maximum the order of the elements has no effect. The conditional input of ``forward`` is

    - a set ``[S, ...]``, for one weight set, or ``N`` sets ``[N, S, ...]`` of one size;
    - a tuple, if an element has several parts: ``(x, y)`` with ``x [N, S, ...]`` and ``y [N, S, ...]`` is encoded by
      ``f(x, y)``;
    - a list of sets (tensors or tuples) of different size;
    - ``{'elements': ..., 'mask': mask}`` with a tensor or tuple, and a Boolean tensor ``[N, S]`` that says which
      elements count. The others are zeros for the encoder.

    A set has at least one element, since the mean of none is not defined. Where there may be nothing, let a marked
    element stand for it: one more entry of each element, 1 there and 0 elsewhere.

    Conditions that ``h`` knows by id still can be chosen by ``cond_id``, instead of a set; then encoder and pooling
    have no part in the result, and get no gradient. Their parameters are unconditional ones, published after those of
    ``h``.

    Args:
        hnet: The hypernetwork ``h``, with a conditional input: any of this package (containers and wrappers as well),
            or of a user's own class.
        encoder: ``f``: maps ``M`` elements ``[M, ...]`` to ``[M, size]``. With the mean or the maximum, ``size`` is
            that of the conditional input of ``h``.
        pool: ``'mean'``, ``'max'``, or a function or module that maps ``[N, S, size]`` to conditions
            ``[N, cond_in_size]``. Where sets have a mask, or differ in size, it is called with a mask ``[N, S]`` as
            second argument.
        element_dims: Number of dimensions of an element: 1 for vectors, 3 for images ``[C, H, W]``; for a tuple one
            number for all parts, or one for each, as ``(1, 0)`` for vectors with labels.
        verbose: Whether to print a line about the network.

    Raises:
        ValueError: If an argument is out of range, or ``h`` has no conditional input.
        TypeError: If an argument has the wrong type.

    Note:
        The variance ``cond_var`` of ``apply_hyperfan_init`` is that of the pooled encodings; samples are sets. The
        encoder is left as it is. ``condition_inputs`` gives back ids, which ``h`` looks up.

    References:
        Zaheer et al., "Deep Sets", NeurIPS 2017, https://arxiv.org/abs/1703.06114, theorem 2.

    Example:
        >>> from hypnettorch.hnets import HMLP
        >>> encoder = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
        >>> hnet = HSetInput(HMLP([[3, 2], [3]], cond_in_size=4, verbose=False), encoder, verbose=False)
        >>> [tuple(w.shape) for w in hnet(cond_input=torch.randn(50, 2))]
        [(3, 2), (3,)]
        >>> hnet(cond_input=[torch.randn(50, 2), torch.randn(7, 2)], ret_format='flattened').shape
        torch.Size([2, 9])
    """

    keeps_both = False

    def __init__(
        self,
        hnet: Any,
        encoder: nn.Module,
        pool: str | Callable[..., Tensor] = "mean",
        element_dims: int | Sequence[int] = 1,
        verbose: bool = True,
    ) -> None:
        super().__init__(hnet)
        checks.instance("encoder", encoder, nn.Module)
        if isinstance(pool, str):
            checks.one_of("pool", pool, POOLS)
        else:
            checks.instance("pool", pool, Callable, "a name or a function")  # type: ignore[arg-type]
        if isinstance(element_dims, Sequence):
            self._element_dims: Any = tuple(checks.integers("element_dims", element_dims, 0))
        else:
            self._element_dims = checks.integer("element_dims", element_dims, 1)
        self._pooled_size = check_input(hnet, "cond")
        self._cond_in_size = 0
        self.wrap(hnet)
        function = POOLS[pool] if isinstance(pool, str) else pool
        self._pool_takes_mask = _takes_mask(function)
        self._encoder_part = ModulePart(self, "encoder", encoder, block=1)
        self._pool_part = ModulePart(self, "pool", function, block=2)
        if verbose:
            print(self)

    @property
    def condition_dims(self) -> Any:
        """Number of dimensions of one set, or of each part of it."""
        dims = self._element_dims
        return 1 + dims if isinstance(dims, int) else tuple(1 + each for each in dims)

    def condition_inputs(self, cond_id: Any) -> dict[str, Any]:
        """The ids themselves, checked: a set is encoded, what the hypernetwork inside looks up is not."""
        return {"cond_id": inputs.parse_cond_id(cond_id, self.num_known_conds)}

    def before(self, request: Request, values: Values) -> Request:
        """What is made of the sets is the conditional input."""
        inputs.check_combination(None, request.cond, request.ids, required=False)
        if request.cond is None:
            return request
        return replace(request, cond=self._conditions_of_sets(request.cond, values))

    def _conditions_of_sets(self, sets: Any, values: Values) -> Tensor:
        """Sets to ``[N, cond_in_size]``; with many parameter sets to ``[B, N, cond_in_size]``."""
        first = 0 if values.sets is None else 1
        encoded, mask = (self._encode_list if isinstance(sets, list) else self._encode)(sets, first, values)
        if mask is not None and not self._pool_takes_mask:
            checks.fail("pool", "a function of encodings and mask, since sets have a mask or differ in size", "another")
        pooled = self._pool_part(encoded if mask is None else (encoded, mask), values)
        check_rows("pool(...)", pooled, encoded.shape[: first + 1], self._pooled_size)
        return pooled

    def _encode(self, sets: Any, first: int, values: Values) -> tuple[Tensor, Tensor | None]:
        """Encodings ``[N, S, size]`` of sets of one size, and their mask; ``N`` is dimension ``first``."""
        mask: Any = None
        if isinstance(sets, Mapping):
            if sets.keys() != {"elements", "mask"}:
                checks.fail("cond_input", "a dictionary with the keys 'elements' and 'mask'", list(sets))
            sets, mask = sets["elements"], sets["mask"]
        lead, single = self._lead("cond_input", sets, first)
        if mask is not None:
            _check_mask(mask, lead)
            sets = trees.map_tensors(lambda part: _blank(part, mask), sets)
        if single:
            sets, mask = trees.map_tensors(lambda part: part.unsqueeze(first), (sets, mask))
            lead = torch.Size([*lead[:first], 1, lead[-1]])
        rows = trees.map_tensors(lambda part: part.flatten(first, first + 1), sets)
        return self._encode_rows(rows, (*lead[:first], lead[-2] * lead[-1]), values).unflatten(first, lead[-2:]), mask

    def _encode_list(self, sets: list[Any], first: int, values: Values) -> tuple[Tensor, Tensor | None]:
        """Encodings ``[N, S, size]`` of sets of different size, filled up, and a mask unless all have one size."""
        leads = [self._lead(("cond_input", i), one, first) for i, one in enumerate(sets)]
        for i, (lead, single) in enumerate(leads):
            if not single:
                checks.fail(("cond_input", i), "one set [S, ...]", f"several, [N, S, ...] = {tuple(lead)} elements")
        if len({len(one) if isinstance(one, tuple) else None for one in sets}) != 1:
            checks.fail("cond_input", "at least one set, all of them tensors or all tuples", "others")
        rows = trees.map_leaves(lambda *parts: torch.cat(parts, dim=first), *sets)
        sizes = [lead[-1] for lead, _ in leads]
        encoded = self._encode_rows(rows, (*leads[0][0][:first], sum(sizes)), values)
        counts = torch.tensor(sizes, device=encoded.device).unsqueeze(1)
        place = torch.arange(max(sizes), device=encoded.device).expand(len(sizes), -1)
        row = counts.cumsum(0) - counts + place.minimum(counts - 1)  # behind the end of a set stands its last element
        filled = encoded.index_select(first, row.flatten()).unflatten(first, row.shape)
        return filled, None if min(sizes) == max(sizes) else (place < counts).expand(filled.shape[:-1])

    def _encode_rows(self, rows: Any, lead: Sequence[int], values: Values) -> Tensor:
        encoded = self._encoder_part(rows, values)
        check_rows("encoder(...)", encoded, lead)
        return encoded

    def _lead(self, name: checks.Name, sets: Any, first: int) -> tuple[torch.Size, bool]:
        """The dimensions before those of an element, and whether it is one set: ``[S]``, not ``[N, S]``."""
        parts = sets if isinstance(sets, tuple) else (sets,)
        dims = self._element_dims
        if isinstance(dims, int):
            dims = (dims,) * len(parts)
        if len(parts) != len(dims):
            checks.fail(name, f"a tuple of {len(dims)} tensors per set (a list is one of sets)", len(parts))
        leads = set()
        for part, own in zip(parts, dims, strict=True):
            checks.tensor(name, part)
            leads.add(part.shape[: part.dim() - own] if part.dim() >= own else part.shape[:0])
        lead = next(iter(leads), torch.Size())
        if len(leads) != 1 or len(lead) - first not in (1, 2) or any(0 in part.shape for part in parts):
            wanted = f"a set [S, ...] or [N, S, ...] of elements with {self._element_dims} dimensions, {NOT_EMPTY}"
            checks.fail(name, wanted, f"shape {', '.join(str(tuple(part.shape[first:])) for part in parts)}")
        return lead, len(lead) - first == 1


def _takes_mask(pool: Callable[..., Tensor]) -> bool:
    """Whether a pool says that it can be called with encodings and a mask."""
    try:
        inspect.signature(pool.forward if isinstance(pool, nn.Module) else pool).bind(None, None)
    except (TypeError, ValueError):  # other arguments, or a function in C that does not tell them
        return False
    return True


def _check_mask(mask: Tensor, lead: torch.Size) -> None:
    """Raise unless a mask says for each element whether it counts, and one of each set does."""
    name = "cond_input['mask']"
    checks.shape(name, mask, lead)
    if mask.dtype != torch.bool:
        raise TypeError(f"{name}: expected dtype torch.bool, got {mask.dtype}")
    if functional.any_value(~mask.any(-1)):
        checks.fail(name, f"elements that count, {NOT_EMPTY}", "a set without")


def _blank(part: Tensor, mask: Tensor) -> Tensor:
    """Elements with zeros in place of those that do not count."""
    return torch.where(mask.view(*mask.shape, *[1] * (part.dim() - mask.dim())), part, 0)
