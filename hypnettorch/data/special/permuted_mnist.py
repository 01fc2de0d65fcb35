"""MNIST with permuted pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hypnettorch.data.batches import Seed
from hypnettorch.data.classes import task_seed
from hypnettorch.data.handler_list import HandlerList
from hypnettorch.data.idx_images import IN_SHAPE
from hypnettorch.data.mnist_data import MNISTData, read_mnist
from hypnettorch.data.pixels import Permutation, pixel_permutation
from hypnettorch.data.preprocessing import ImagePreprocessing, Quantise
from hypnettorch.data.samples import Samples


class PermutedMNIST(MNISTData):
    """MNIST whose tensors are padded and have their pixels permuted; the arrays stay as they are.

    Args:
        data_path: Folder of the files, see :func:`~hypnettorch.data.mnist_data.read_mnist`.
        use_one_hot: Whether to give one-hot vectors.
        validation_size: That many training samples, the first ones, become the validation set.
        permutation: Pixel ``i`` of a tensor is pixel ``permutation[i]`` of the padded image; ``None`` leaves them.
        padding: Number of zero rows and columns added on each side.
        trgt_padding: That many further classes, to which no sample belongs.
        seed: Of the order of batches.
        samples: What :func:`~hypnettorch.data.mnist_data.read_mnist` returned, to avoid reading the files again.

    Raises:
        FileNotFoundError: If a file is missing; the message says what to put where.
        ValueError: If ``permutation`` is none of all pixels, or the validation set is too large.
    """

    def __init__(
        self,
        data_path: str | Path,
        use_one_hot: bool = True,
        validation_size: int = 0,
        permutation: Permutation | None = None,
        padding: int = 0,
        trgt_padding: int | None = None,
        *,
        seed: Seed = 42,
        samples: Samples | None = None,
    ) -> None:
        padded = (samples or read_mnist(data_path)).padded(trgt_padding)
        super().__init__(data_path, use_one_hot, validation_size, seed=seed, samples=padded)
        self._identifier = "PermutedMNIST"
        self._padding = padding
        self.permutation = permutation

    @property
    def permutation(self) -> Permutation | None:
        """The permutation of pixels; it can be set."""
        return self._permutation

    @permutation.setter
    def permutation(self, value: Permutation | None) -> None:
        self.preprocessing = self.torch_input_transforms(value, self._padding)
        self._permutation = value

    @staticmethod
    def torch_input_transforms(  # type: ignore[override]  # documented like this, unlike that of MNISTData
        permutation: Permutation | None = None, padding: int = 0
    ) -> ImagePreprocessing:
        """What happens to inputs: rounding to bytes, padding, permutation.

        Args:
            permutation: Index array over the ``(28 + 2 * padding)**2`` pixels.
            padding: Number of zero rows and columns added on each side.

        Raises:
            ValueError: If ``permutation`` is none of all pixels.
        """
        return pixel_permutation(IN_SHAPE, permutation, padding, first=[Quantise()])


class PermutedMNISTList(HandlerList[PermutedMNIST]):
    """One :class:`PermutedMNIST` per permutation, all of them over the same arrays.

    Each handler keeps its own permutation and its own position in its batches. A slice holds the same handlers.

    Args:
        permutations: One permutation (or ``None``) per task.
        data_path: Folder of the files, see :func:`~hypnettorch.data.mnist_data.read_mnist`; read once.
        use_one_hot: See :class:`PermutedMNIST`.
        validation_size: See :class:`PermutedMNIST`.
        padding: See :class:`PermutedMNIST`.
        trgt_padding: See :class:`PermutedMNIST`.
        show_perm_change_msg: Whether to log (level ``INFO``) when another handler is taken than the time before.
        seed: Task ``i`` gets the seed ``(seed, i)``.
        samples: What :func:`~hypnettorch.data.mnist_data.read_mnist` returned, to avoid reading the files again.

    Raises:
        FileNotFoundError: If a file is missing; the message says what to put where.
        ValueError: If a permutation is none of all pixels, or the validation set is too large.
    """

    def __init__(
        self,
        permutations: Sequence[Permutation | None],
        data_path: str | Path,
        use_one_hot: bool = True,
        validation_size: int = 0,
        padding: int = 0,
        trgt_padding: int | None = None,
        show_perm_change_msg: bool = True,
        *,
        seed: Seed = 42,
        samples: Samples | None = None,
    ) -> None:
        shared = samples or read_mnist(data_path)
        chosen = (data_path, use_one_hot, validation_size)
        handlers = [
            PermutedMNIST(*chosen, permutation, padding, trgt_padding, seed=task_seed(seed, task), samples=shared)
            for task, permutation in enumerate(permutations)
        ]
        super().__init__(handlers, show_perm_change_msg)
