"""Part-of-speech tagging of the Universal Dependencies, one language per task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from hypnettorch.core import checks
from hypnettorch.data.batches import Seed
from hypnettorch.data.classes import task_seed
from hypnettorch.data.files import content_of, damaged, find
from hypnettorch.data.preprocessing import Mode
from hypnettorch.data.safe_pickle import read_pickled_list
from hypnettorch.data.samples import consecutive_ids
from hypnettorch.data.sequential_dataset import SequenceSamples, SequentialDataset
from hypnettorch.data.sources import source

FOLDER = "sequential/mud"
PICKLE_NAME = "mud_data_2_6.pickle"
NUM_TAGS = 17
LANGUAGES = (
    *("en", "ar", "cs", "da", "de", "es", "fi", "fr", "he", "hi"),
    *("hr", "id", "it", "lt", "nl", "no", "pl", "pt", "sl", "sv"),
)
"""The languages of the tasks, in order."""

Text = list[list[str]]


def get_mud_handlers(data_path: str | Path, num_tasks: int = 5, *, seed: Seed = 42) -> list[MUDData]:
    """One handler per language, in the order of :data:`LANGUAGES`.

    The file is ``<data_path>/sequential/mud/mud_data_2_6.pickle``; code in it is not executed.

    Args:
        data_path: Folder of all data sets.
        num_tasks: Number of languages.
        seed: Task ``i`` orders its batches by the seed ``(seed, i)``.

    Raises:
        FileNotFoundError: If the file is missing; the message says what to put where.
        ValueError: If it is damaged, or has fewer languages (also a ``RuntimeError``).
    """
    path = find([Path(data_path, FOLDER)], [PICKLE_NAME], "MUD", source("mud").advice(data_path))
    languages, vocabularies, tagset = read_pickled_list(path, 3)
    if not all(isinstance(x, (list, tuple)) for x in (languages, vocabularies)) or len(languages) != len(vocabularies):
        raise damaged(path, "lists of languages and of as many vocabularies", "others")
    if checks.integer("num_tasks", num_tasks, 1) > len(languages):
        raise checks.StateError(f"num_tasks: expected at most {len(languages)}, one per language, got {num_tasks}")
    seeds = [task_seed(seed, task) for task in range(num_tasks)]
    with content_of(path, "three parts of each language, a vocabulary and tags"):
        return [MUDData(languages[task], vocabularies[task], tagset, seed=own) for task, own in enumerate(seeds)]


class MUDData(SequentialDataset):
    """Sentences of one language: a word at each step, and its part of speech as one-hot vector.

    Args:
        task_data: The parts for training, testing and validation, each of them a triple: numbers of words ``[n, T]``,
            numbers of tags ``[n, T]``, lengths of sentences ``[n]``. Sentences are padded with 0.
        vocabulary: The words.
        tagset: The tags.
        seed: Of the order of batches.

    Raises:
        ValueError: If the arrays do not fit each other.

    Example:
        >>> part = (np.array([[2, 1, 0]]), np.array([[1, 0, 0]]), np.array([2]))
        >>> data = MUDData((part, part, part), ["?", "barks", "dog"], ["VERB", "NOUN"])
        >>> x, y, ids = data.next_train_batch(1, return_ids=True)
        >>> data.decode_batch(x, y, ids)
        ([['dog', 'barks']], [['NOUN', 'VERB']])
    """

    def __init__(
        self,
        task_data: Sequence[Sequence[ArrayLike]],
        vocabulary: Sequence[str] | None = None,
        tagset: Sequence[str] | None = None,
        *,
        seed: Seed = 42,
    ) -> None:
        checks.length("task_data", task_data, 3)
        parts = [_checked(("task_data", i), part) for i, part in enumerate(task_data)]
        if len({part[0].shape[1] for part in parts}) > 1:
            checks.fail("task_data", "sentences padded to one length", [part[0].shape for part in parts])
        words, tags, lengths = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        self._vocabulary = None if vocabulary is None else list(vocabulary)
        self._tagset = None if tagset is None else list(tagset)
        samples = SequenceSamples(
            inputs=words,
            outputs=tags,
            in_shape=(1,),
            num_classes=max(NUM_TAGS, len(self._tagset or [])),
            class_names=None if self._tagset is None else tuple(self._tagset),
            in_lengths=lengths,
            out_lengths=lengths,
            **consecutive_ids(train=len(parts[0][0]), test=len(parts[1][0]), val=len(parts[2][0])),
        )
        identifier = "Multilingual Universal Dependencies dataset."
        super().__init__(samples, use_one_hot=True, identifier=identifier, seed=seed)

    @property
    def vocabulary(self) -> list[str] | None:
        """The words; entry 0 stands for unknown ones and for padding."""
        return self._vocabulary

    @property
    def tagset(self) -> list[str] | None:
        """The tags."""
        return self._tagset

    def input_to_torch_tensor(
        self,
        x: ArrayLike,
        device: torch.device | str = "cpu",
        mode: Mode = "inference",
        force_no_preprocessing: bool = False,
        sample_ids: ArrayLike | None = None,
    ) -> Tensor:
        """Numbers of words ``[T, B, 1]``, integers.

        Args:
            x: ``[B, T]`` as a batch contains them.
            device: Where the tensor goes.
            mode: Changes nothing.
            force_no_preprocessing: Changes nothing.
            sample_ids: Ids of the samples; if they are given, ``T`` is the length of the longest of these sentences.
        """
        words = torch.tensor(np.asarray(x), dtype=torch.long, device=device)
        return self._cut(words.T.unsqueeze(2), sample_ids)

    def _prepare_outputs(self, steps: Tensor, sample_ids: ArrayLike | None) -> Tensor:
        return self._cut(steps, sample_ids)

    def _cut(self, steps: Tensor, sample_ids: ArrayLike | None) -> Tensor:
        return steps if sample_ids is None else steps[: int(self.get_in_seq_lengths(sample_ids).max(initial=0))]

    def decode_batch(self, inputs: Any, outputs: Any, sample_ids: ArrayLike | None = None) -> tuple[Text, Text]:
        """Sentences and tags as text.

        Args:
            inputs: Words: the tensor ``[T, B, 1]`` or the rows ``[B, T]`` of a batch.
            outputs: Tags: the tensor ``[T, B, 17]``, or the rows of a batch (one-hot vectors or labels).
            sample_ids: Ids of the samples; if they are given, padding is left out.

        Returns:
            For each sample, the words and the tags.

        Raises:
            ValueError: If there is no vocabulary or tag set (also a ``RuntimeError``).
        """
        if self._vocabulary is None or self._tagset is None:
            raise checks.StateError("decode_batch: there is no vocabulary or no tag set")
        words, tags = self._numbers(inputs, 1), self._numbers(outputs, self._class_count())
        lengths = [words.shape[1]] * len(words) if sample_ids is None else self.get_in_seq_lengths(sample_ids)
        return (
            [[self._vocabulary[word] for word in row[:end]] for row, end in zip(words, lengths, strict=True)],
            [[self._tagset[tag] for tag in row[:end]] for row, end in zip(tags, lengths, strict=True)],
        )

    def _plot_config(
        self, inputs: NDArray, outputs: NDArray | None = None, predictions: NDArray | None = None
    ) -> dict[str, Any]:
        return {**super()._plot_config(inputs, outputs, predictions), "num_inner_rows": 1, "num_inner_plots": 1}

    def _plot_sample(
        self,
        fig: Any,
        inner_grid: Any,
        num_inner_plots: int,
        ind: int,
        inputs: NDArray,
        outputs: NDArray | None = None,
        predictions: NDArray | None = None,
        **kwargs: Any,
    ) -> None:
        """Write the words of a sentence below each other, each with its tags."""
        words = self._numbers(inputs, 1)[0]
        end = 1 + max(np.flatnonzero(words), default=-1)
        columns = [_names(words[:end], self._vocabulary)]
        for answer in (outputs, predictions):
            if answer is not None:
                columns.append(_names(self._numbers(answer, self._class_count())[0, :end], self._tagset))
        axes = fig.add_subplot(inner_grid[0])
        axes.set_axis_off()
        for position, column in enumerate(columns):
            axes.text(position / len(columns), 1, "\n".join(column), ha="left", va="top", fontsize=8)

    def _numbers(self, steps: Any, width: int) -> NDArray[np.int64]:
        """Rows ``[B, T]`` of numbers, of rows or of tensors with ``width`` values per step."""
        array = steps.detach().cpu().numpy() if isinstance(steps, Tensor) else np.asarray(steps)
        rows = self._flatten_array(array, ts_dim_first=True) if array.ndim == 3 else array
        if width > 1 and (array.ndim == 3 or rows.shape[1] == width * self.max_num_ts_out):
            return rows.reshape(len(rows), -1, width).argmax(axis=2)
        return rows.astype(np.int64)


def _names(numbers: NDArray[np.int64], names: Sequence[str] | None) -> list[str]:
    """What numbers stand for, or the numbers themselves."""
    return [str(number) if names is None else names[number] for number in numbers]


def _checked(name: tuple[str, int], part: Sequence[ArrayLike]) -> tuple[NDArray, NDArray, NDArray]:
    checks.length(name, part, 3)
    words, tags, lengths = (np.asarray(array).astype(np.int64) for array in part)
    if words.ndim != 2 or words.shape != tags.shape or lengths.shape != (len(words),):
        shapes = f"{words.shape}, {tags.shape}, {lengths.shape}"
        checks.fail(name, "words [n, T], tags [n, T] and lengths [n]", shapes)
    return words, tags, lengths
