"""Data handlers that derive from ``Dataset`` and fill its dictionary by hand, as those of 0.0.4 do."""

from __future__ import annotations

import numpy as np
import torch

from hypnettorch.data.dataset import Dataset


class Spirals(Dataset):
    """Two spirals in the plane."""

    def __init__(self, num_train=40, num_test=20, use_one_hot=False, rseed=0):
        super().__init__()
        rng = np.random.RandomState(rseed)
        labels = np.arange(num_train + num_test) % 2
        radius = rng.uniform(0.2, 1.0, len(labels))
        angle = 3 * np.pi * radius + np.pi * labels
        inputs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)

        self._data["classification"] = True
        self._data["sequence"] = False
        self._data["num_classes"] = 2
        self._data["is_one_hot"] = use_one_hot
        self._data["in_shape"] = [2]
        self._data["out_shape"] = [2 if use_one_hot else 1]
        self._data["in_data"] = inputs
        outputs = labels.reshape(-1, 1)
        self._data["out_data"] = self._to_one_hot(outputs) if use_one_hot else outputs
        self._data["train_inds"] = np.arange(num_train)
        self._data["test_inds"] = np.arange(num_train, num_train + num_test)

    def get_identifier(self):
        return "Spirals"

    def _plot_sample(self, fig, inner_grid, num_inner_plots, ind, inputs, outputs=None, predictions=None):
        pass


def test_handler():
    data = Spirals(use_one_hot=True)
    assert (data.num_train_samples, data.num_test_samples, data.num_val_samples) == (40, 20, 0)
    assert (data.classification, data.num_classes, data.is_one_hot, data.out_shape) == (True, 2, True, [2])
    x, y = data.next_train_batch(8)
    assert x.shape == y.shape == (8, 2)
    np.testing.assert_allclose(y.sum(axis=1), 1)
    np.testing.assert_array_equal(data.get_test_outputs(use_one_hot=False).ravel(), np.arange(20) % 2)
    assert data.input_to_torch_tensor(x, torch.device("cpu")).dtype == torch.float32
    np.testing.assert_array_equal(Spirals().get_test_outputs().ravel(), np.arange(20) % 2)
