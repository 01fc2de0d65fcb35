"""A parameter of a module whose value comes from outside."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from hypnettorch.compat.hyperlight import external
from hypnettorch.core import checks


class ExternalParameter:
    """A shape that waits for a value.

    Args:
        shape: Shape of the value.
        data: The value, if there is one already; several of them at once are ``[B, *shape]``.
        dtype: A floating dtype, to which values of another one are cast differentiably. By default that of ``data``;
            without both, values stay as they come.

    Raises:
        ValueError: If ``data`` has another shape.
        TypeError: If an argument has the wrong type.

    Example:
        >>> weight = ExternalParameter((3, 2))
        >>> weight.data = torch.ones(3, 2)
        >>> weight.data.sum()
        tensor(6.)
        >>> weight.reset()
        >>> weight.data
        Traceback (most recent call last):
            ...
        AttributeError: data: expected a value from outside for this parameter of shape (3, 2), got none...
    """

    def __init__(self, shape: Sequence[int], data: Tensor | None = None, dtype: torch.dtype | None = None) -> None:
        self._shape = torch.Size(checks.integers("shape", shape, 0))
        if dtype is not None:
            checks.instance("dtype", dtype, torch.dtype)
        self._dtype = data.dtype if dtype is None and isinstance(data, Tensor) else dtype
        self._data = None if data is None else self.fit("data", data)

    @property
    def shape(self) -> torch.Size:
        """Shape of the value."""
        return self._shape

    @property
    def dtype(self) -> torch.dtype | None:
        """Dtype of the value; ``None`` if any will do."""
        return self._dtype

    @property
    def data(self) -> Tensor:
        """The value: of the innermost block in which there is one, else the one that was set.

        Raises:
            AttributeError: If there is no value.
        """
        value = external.replacement(self, "data")
        value = self._data if value is None else value
        if value is None:
            raise AttributeError(
                f"data: expected a value from outside for this parameter of shape {tuple(self._shape)}, got none"
            )
        return value

    @data.setter
    def data(self, value: Tensor) -> None:
        self._data = self.fit("data", value)

    def reset(self) -> None:
        """Forget the value that was set."""
        self._data = None

    def convert(self, function: Callable[[Tensor], Tensor]) -> None:
        """Follow a module to another dtype or device, as ``function`` takes its tensors there."""
        if self._dtype is not None:
            self._dtype = function(torch.empty(0, dtype=self._dtype)).dtype
        if self._data is not None:
            self._data = function(self._data)

    @property
    def place(self) -> external.Place:
        """Where :func:`hypnettorch.compat.hyperlight.external.replaced` puts a value."""
        return self, "data"

    @property
    def num_sets(self) -> int | None:
        """Number ``B`` of values that there are at once; ``None`` if there is one, or none."""
        value = external.replacement(self, "data")
        value = self._data if value is None else value
        return None if value is None or value.dim() == len(self._shape) else value.shape[0]

    def fit(self, name: str, value: Tensor) -> Tensor:
        """A value as the parameter takes it: of its shape, or with a leading ``B``, and of its dtype.

        Raises:
            ValueError: If the shape does not fit.
            TypeError: If ``value`` is no tensor, or floating where the parameter is not, or the other way round.
        """
        checks.tensor(name, value)
        if value.shape != self._shape and value.shape[1:] != self._shape:
            wanted = tuple(self._shape)
            checks.fail(name, f"shape {wanted}, or {('B', *wanted)} for B weight sets", tuple(value.shape))
        if self._dtype is None:
            return value
        if value.is_floating_point() != self._dtype.is_floating_point:
            raise TypeError(f"{name}: expected dtype {self._dtype}, got {value.dtype}")
        return value.to(self._dtype)

    def __repr__(self) -> str:
        return f"ExternalParameter(shape={tuple(self._shape)}, dtype={self._dtype})"
