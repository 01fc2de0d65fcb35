"""A hypernetwork whose condition is a set of inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from hypnettorch.core import checks
from hypnettorch.core.values import Values
from hypnettorch.hnets import inputs
from hypnettorch.hnets.hypernetwork import Request
from hypnettorch.hnets.module_part import ModulePart
from hypnettorch.hnets.wrapper import Wrapper, check_input, check_rows


def mean_of_set(encoded: Tensor) -> Tensor:
    """``[..., S, size]`` to the mean over the elements, ``[..., size]``."""
    return encoded.mean(dim=-2)


def max_of_set(encoded: Tensor) -> Tensor:
    """``[..., S, size]`` to the largest value of each entry over the elements, ``[..., size]``."""
    return encoded.amax(dim=-2)


POOLS: dict[str, Callable[[Tensor], Tensor]] = {"mean": mean_of_set, "max": max_of_set}


class HSetInput(Wrapper):
    """``h(pool_s f(x_s))`` with a hypernetwork ``h``, an encoder ``f`` and a set ``x_1, …, x_S``.

    The conditional input of ``forward`` is a set ``[S, ...]``, for one weight set, or ``N`` sets ``[N, S, ...]`` of one
    size. All elements are encoded in one call, and what is made of each set is the conditional input of ``h``. With the
    mean or the maximum the order of the elements has no effect.

    Conditions that ``h`` knows by id still can be chosen by ``cond_id``, instead of a set; then encoder and pooling
    have no part in the result, and get no gradient. Their parameters are unconditional ones, published after those of
    ``h``.

    Args:
        hnet: The hypernetwork ``h``, with a conditional input: any of this package (containers and wrappers as well),
            or of a user's own class.
        encoder: ``f``: maps ``M`` elements ``[M, ...]`` to ``[M, size]``. With the mean or the maximum, ``size`` is
            that of the conditional input of ``h``.
        pool: ``'mean'``, ``'max'``, or a function or module that maps ``[N, S, size]`` to conditions
            ``[N, cond_in_size]``.
        element_dims: Number of dimensions of an element: 1 for vectors, 3 for images ``[C, H, W]``.
        verbose: Whether to print a line about the network.

    Raises:
        ValueError: If an argument is out of range, or ``h`` has no conditional input.
        TypeError: If an argument has the wrong type.

    Note:
        The variance ``cond_var`` of ``apply_hyperfan_init`` is that of the pooled encodings; samples are sets. The
        encoder is left as it is. ``condition_inputs`` gives back ids, which ``h`` looks up.

    Example:
        >>> from hypnettorch.hnets import HMLP
        >>> encoder = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
        >>> hnet = HSetInput(HMLP([[3, 2], [3]], cond_in_size=4, verbose=False), encoder, verbose=False)
        >>> [tuple(w.shape) for w in hnet(cond_input=torch.randn(50, 2))]
        [(3, 2), (3,)]
        >>> hnet(cond_input=torch.randn(7, 50, 2), ret_format='flattened').shape
        torch.Size([7, 9])
    """

    keeps_both = False

    def __init__(
        self,
        hnet: Any,
        encoder: nn.Module,
        pool: str | Callable[[Tensor], Tensor] = "mean",
        element_dims: int = 1,
        verbose: bool = True,
    ) -> None:
        super().__init__(hnet)
        checks.instance("encoder", encoder, nn.Module)
        if isinstance(pool, str):
            checks.one_of("pool", pool, POOLS)
        else:
            checks.instance("pool", pool, Callable, "a name or a function")  # type: ignore[arg-type]
        self._element_dims = checks.integer("element_dims", element_dims, 1)
        self._pooled_size = check_input(hnet, "cond")
        self._cond_in_size = 0
        self.wrap(hnet)
        self._encoder_part = ModulePart(self, "encoder", encoder, block=1)
        self._pool_part = ModulePart(self, "pool", POOLS[pool] if isinstance(pool, str) else pool, block=2)
        if verbose:
            print(self)

    @property
    def condition_dims(self) -> int:  # type: ignore[override]
        """Number of dimensions of one set."""
        return 1 + self._element_dims

    def condition_inputs(self, cond_id: Any) -> dict[str, Any]:
        """The ids themselves, checked: a set is encoded, what the hypernetwork inside looks up is not."""
        return {"cond_id": inputs.parse_cond_id(cond_id, self.num_known_conds)}

    def before(self, request: Request, values: Values) -> Request:
        """What is made of the sets is the conditional input."""
        inputs.check_combination(None, request.cond, request.ids, required=False)
        if request.cond is None:
            return request
        return replace(request, cond=self._conditions_of_sets(request.cond, values))

    def _conditions_of_sets(self, sets: Tensor, values: Values) -> Tensor:
        """``[N, S, ...]`` to ``[N, cond_in_size]``; with many parameter sets ``[B, N, ...]`` to ``[B, N, ...]``."""
        checks.tensor("cond_input", sets)
        first = 0 if values.sets is None else 1
        dims = sets.dim() - first - self._element_dims
        if dims not in (1, 2) or 0 in sets.shape:
            wanted = f"a set [S, ...] or [N, S, ...] of elements with {self._element_dims} dimensions"
            checks.fail("cond_input", wanted, f"shape {tuple(sets.shape[first:])}")
        if dims == 1:
            sets = sets.unsqueeze(first)
        batch, size = sets.shape[first : first + 2]
        encoded = self._encoder_part(sets.flatten(first, first + 1), values)
        check_rows("encoder(...)", encoded, (*sets.shape[:first], batch * size))
        pooled = self._pool_part(encoded.unflatten(first, (batch, size)), values)
        check_rows("pool(...)", pooled, sets.shape[: first + 1], self._pooled_size)
        return pooled
