"""Tensors that are concatenations of chunks, described by data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

AnyGluing = TypeVar("AnyGluing", bound="Gluing")


@dataclass(frozen=True)
class Piece:
    """How one tensor is made.

    Attributes:
        chunks: Positions of the chunks.
        tensor: Which tensor of each of these chunks.
        dim: The dimension along which they are concatenated.
    """

    chunks: tuple[int, ...]
    tensor: int
    dim: int = 0


@dataclass(frozen=True)
class Gluing:
    """How some tensors are made.

    Attributes:
        pieces: One entry per tensor.
    """

    pieces: tuple[Piece, ...]

    @classmethod
    def of(cls: type[AnyGluing], numbers: Iterable[tuple[Sequence[int], int, int]]) -> AnyGluing:
        """The one of which these are the :attr:`numbers`."""
        return cls(tuple(Piece(tuple(chunks), tensor, dim) for chunks, tensor, dim in numbers))

    @property
    def numbers(self) -> list[tuple[list[int], int, int]]:
        """Chunks, tensor and dimension of each piece."""
        return [(list(piece.chunks), piece.tensor, piece.dim) for piece in self.pieces]

    def arrange(self, chunks: Sequence[Sequence[Any]], concatenate: Callable[[list[Any], int], Any]) -> list[Any]:
        """The tensors, from the tensors of each chunk and a function that concatenates along a dimension."""
        parts = [[chunks[chunk][piece.tensor] for chunk in piece.chunks] for piece in self.pieces]
        return [
            part[0] if len(part) == 1 else concatenate(part, piece.dim)
            for part, piece in zip(parts, self.pieces, strict=True)
        ]
