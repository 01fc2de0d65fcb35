"""Data sets whose images stay on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from hypnettorch.core import checks
from hypnettorch.data.batches import Seed
from hypnettorch.data.bridges import TorchSplit
from hypnettorch.data.dataset import Dataset
from hypnettorch.data.image_transforms import Transform
from hypnettorch.data.photos import PhotoTransform, photo_pixels, read_photo, resize
from hypnettorch.data.preprocessing import Mode
from hypnettorch.data.samples import Samples, Split

TransformPair = tuple[Transform, Transform]


class LargeImgDataset(Dataset):
    """Samples whose inputs are names of image files; labels are in memory.

    Batches contain names. Images are read by :meth:`read_images`, or by a ``DataLoader`` over :attr:`torch_train` and
    its siblings.

    Args:
        imgs_path: The folder that the names belong to; empty if they are complete.
        png_format: Whether the images are PNG files.
        samples: The arrays: ``inputs`` are names ``[N, 1]``, ``in_shape`` is the shape of an image when it was read.
        use_one_hot: Whether class labels are given as one-hot vectors.
        identifier: The name of the data set.
        torch_transforms: What :attr:`torch_train`, and what :attr:`torch_test` and :attr:`torch_val`, do with an image;
            from an image of Pillow to a tensor ``[C, H, W]``.
        seed: Of the order of batches and of random transforms.

    Attributes:
        torch_transforms: As above; can be set, for instance to transforms of torchvision.
    """

    def __init__(
        self,
        imgs_path: str | Path,
        png_format: bool = False,
        *,
        samples: Samples,
        use_one_hot: bool = False,
        identifier: str = "Images",
        torch_transforms: TransformPair | None = None,
        seed: Seed = 42,
    ) -> None:
        super().__init__(samples, use_one_hot, identifier=identifier, seed=seed)
        self._imgs_path = str(imgs_path)
        self._png_format = png_format
        self.torch_transforms = torch_transforms

    def derive(self, samples: Samples | None = None, **changes: Any) -> LargeImgDataset:
        """A data set like this one with other samples; arguments of the constructor can be changed.

        Raises:
            NotImplementedError: If ``preprocessing`` is to be changed, which needs images in memory.
        """
        if changes.pop("preprocessing", None) is not None:
            self._refuse("preprocessing")
        same: dict[str, Any] = {
            "png_format": self._png_format,
            "use_one_hot": self.is_one_hot,
            "identifier": self.get_identifier(),
            "torch_transforms": self.torch_transforms,
        }
        return LargeImgDataset(self._imgs_path, samples=samples or self.samples, **{**same, **changes})

    @property
    def imgs_path(self) -> str:
        """The folder that the names belong to; empty if they are complete."""
        return self._imgs_path

    @property
    def png_format_used(self) -> bool:
        """Whether the images are PNG files."""
        return self._png_format

    @property
    def torch_train(self) -> PhotoSplit:
        """The training images for a ``DataLoader``: tensors ``[3, H, W]`` and labels."""
        return self.to_torch("train")

    @property
    def torch_test(self) -> PhotoSplit:
        """The test images for a ``DataLoader``."""
        return self.to_torch("test")

    @property
    def torch_val(self) -> PhotoSplit | None:
        """The validation images for a ``DataLoader``; ``None`` without a validation set."""
        return self.to_torch("val") if self.num_val_samples else None

    def to_torch(self, split: Split, mode: Mode | None = None) -> PhotoSplit:
        """A split as a data set of PyTorch, for a ``DataLoader``.

        Args:
            split: ``'train'``, ``'test'`` or ``'val'``.
            mode: Which transform is used; by default ``'train'`` for the training split, else ``'inference'``.

        Raises:
            NotImplementedError: If there are no transforms.
        """
        return PhotoSplit(self, split, mode)

    def read_images(self, names: ArrayLike) -> NDArray[np.float32]:
        """Read images, resized to ``in_shape``; the aspect ratio is not kept.

        Args:
            names: ``[n, 1]`` or ``[n]``, as batches contain them.

        Returns:
            ``[n, prod(in_shape)]`` in the order row, column, channel, with values in [0, 1].

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If a file is damaged.
        """
        height, width = self.in_shape[:2]
        photos = (resize(self.open_image(name), height, width) for name in np.asarray(names).reshape(-1))
        return np.stack([photo_pixels(photo).reshape(-1) for photo in photos])

    def open_image(self, name: str) -> Any:
        """An image of Pillow by its name."""
        return read_photo(Path(self._imgs_path, name))

    def image_tensor(self, name: str, mode: Mode) -> Tensor:
        """An image by its name, transformed."""
        train, inference = self.require_transforms()
        transform = train if mode == "train" else inference
        photo = self.open_image(name)
        return (
            transform(photo, self._random.augmentation) if isinstance(transform, PhotoTransform) else transform(photo)
        )

    def require_transforms(self) -> TransformPair:
        """The transforms.

        Raises:
            NotImplementedError: If there are none.
        """
        if self.torch_transforms is None:
            self._refuse("torch_transforms")
        return self.torch_transforms

    def input_to_torch_tensor(self, x: ArrayLike, *args: Any, **kwargs: Any) -> NoReturn:
        """Not available, since inputs are names.

        Raises:
            NotImplementedError: Always.
        """
        self._refuse("input_to_torch_tensor")

    def tf_input_map(self, mode: str = "inference") -> NoReturn:
        """Not available, since it would need TensorFlow 1.

        Raises:
            NotImplementedError: Always.
        """
        self._refuse("tf_input_map")

    def _refuse(self, what: str) -> NoReturn:
        raise checks.Unavailable(
            f"{what}: not available for {self.get_identifier()}, whose inputs are names of files; read_images gives "
            "arrays, a DataLoader over torch_train (which needs torch_transforms) tensors"
        )

    def _shows_images(self) -> bool:
        return True

    def _plot_sample(
        self, fig: Any, inner_grid: Any, num_inner_plots: int, ind: int, inputs: NDArray, *args: Any, **kwargs: Any
    ) -> None:
        """Draw sample ``ind``, given by its name or its pixels."""
        pixels = self.read_images(inputs) if np.asarray(inputs).dtype.kind == "U" else inputs
        super()._plot_sample(fig, inner_grid, num_inner_plots, ind, pixels, *args, **kwargs)


class PhotoSplit(TorchSplit):
    """A split of a :class:`LargeImgDataset` as a data set of PyTorch.

    A sample is a transformed image ``[3, H, W]`` and its label (an integer) or output ``[K]``.

    Raises:
        NotImplementedError: If the data set has no transforms.
    """

    _data: LargeImgDataset

    def __init__(self, data: LargeImgDataset, split: Split, mode: Mode | None = None) -> None:
        super().__init__(data, split, mode)
        data.require_transforms()

    def _inputs(self, x: NDArray, ids: NDArray) -> Sequence[Tensor]:
        return [self._data.image_tensor(name, self._mode) for name in x[:, 0]]
