"""Data handlers that derive from those of the package, and programs that read arrays as they did with old NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hypnettorch.data.dataset import Dataset
from hypnettorch.data.digits_data import DigitsData
from hypnettorch.data.special.gaussian_mixture_data import GaussianData, get_gmm_tasks
from hypnettorch.data.special.gmm_data import GMMData
from hypnettorch.data.special.permuted_mnist import PermutedMNISTList
from hypnettorch.data.special.regression1d_data import ToyRegression
from hypnettorch.data.special.split_mnist import SplitMNIST, get_split_mnist_handlers
from hypnettorch.data.timeseries.copy_data import CopyTask
from hypnettorch.hnets import HMLP
from hypnettorch.mnets import MLP
from tests.data.writers import write_mnist


class HeteroscedasticRegression(ToyRegression):
    """Noise that grows with the input; keeps the function for its plots."""

    def __init__(self, slope=0.1, **kwargs):
        self._slope = slope
        super().__init__(std=lambda x: slope * np.abs(x), **kwargs)

    def get_identifier(self):
        return "Heteroscedastic" + super().get_identifier()

    def noise_level(self, x):
        return self._slope * np.abs(x)


class NoisyDigits(DigitsData):
    """Digits with noise in training mode, and inputs as vectors with mean zero."""

    def __init__(self, noise=0.1, **kwargs):
        super().__init__(**kwargs)
        self._noise = noise
        self._mean = self.get_train_inputs().mean()

    def input_to_torch_tensor(self, x, device, mode="inference", force_no_preprocessing=False, sample_ids=None):
        x = super().input_to_torch_tensor(x, device, mode, force_no_preprocessing, sample_ids)
        if force_no_preprocessing:
            return x
        x = x - float(self._mean)
        return x + self._noise * torch.randn_like(x) if mode == "train" else x


class OddEven(SplitMNIST):
    """Two digits of MNIST whose targets are smoothed."""

    def output_to_torch_tensor(self, *args, **kwargs):
        targets = super().output_to_torch_tensor(*args, **kwargs)
        return 0.9 * targets + 0.05

    def get_identifier(self):
        return "OddEvenMNIST"


class ReversedCopy(CopyTask):
    """The copy task with a weighting of its own for the loss."""

    def loss_weights(self, ids):
        weights = np.zeros((self.max_num_ts_out, len(ids)))
        starts, lengths = self.get_out_pattern_bounds(ids)
        for b in range(len(ids)):
            weights[starts[b] : starts[b] + lengths[b], b] = 1.0 / lengths[b]
        return weights


class ShiftedGaussian(GaussianData):
    def __init__(self, shift, **kwargs):
        super().__init__(**kwargs)
        self.shift = np.asarray(shift)

    def input_to_torch_tensor(self, x, device, *args, **kwargs):
        return super().input_to_torch_tensor(x + self.shift, device, *args, **kwargs)


def test_regression_with_noise_of_its_own():
    make = {"train_inter": [-4, 4], "num_train": 4000, "test_inter": [-5, 5], "num_test": 11, "rseed": 3}
    data = HeteroscedasticRegression(0.2, map_function=lambda x: x**2, val_inter=[-4, 4], num_val=5, **make)
    assert isinstance(data, Dataset)
    assert data.get_identifier() == "Heteroscedastic1DRegression"
    assert (data.num_train_samples, data.num_test_samples, data.num_val_samples) == (4000, 11, 5)
    x, y = data.get_train_inputs(), data.get_train_outputs()
    residual = (y - x**2) / data.noise_level(x)
    assert residual.std() == pytest.approx(1.0, abs=0.05)
    np.testing.assert_allclose(data.get_test_outputs(), np.linspace(-5, 5, 11)[:, None] ** 2)
    plain = ToyRegression(map_function=lambda x: x**2, std=lambda x: 0.2 * np.abs(x), val_inter=[-4, 4], num_val=5,
                          **make)  # fmt: skip
    np.testing.assert_array_equal(plain.get_train_outputs(), y)


def test_digits_with_preprocessing_of_its_own():
    data = NoisyDigits(noise=0.2, use_one_hot=True, validation_size=100)
    x, y = data.next_train_batch(50)
    raw = data.input_to_torch_tensor(x, "cpu", force_no_preprocessing=True)
    clean = data.input_to_torch_tensor(x, "cpu", mode="inference")
    noisy = data.input_to_torch_tensor(x, "cpu", mode="train")
    np.testing.assert_allclose(raw, x)
    torch.testing.assert_close(clean, raw - float(data.get_train_inputs().mean()))
    assert (noisy - clean).std() == pytest.approx(0.2, rel=0.1)
    assert data.output_to_torch_tensor(y, "cpu").shape == (50, 10)
    assert sum(size for size, *_ in data.val_iterator(30)) == 100


def test_split_and_permuted_mnist(tmp_path):
    digits = [3, 8, 3, 8, 5, 8, 3, 1] * 3
    write_mnist(tmp_path, digits, digits)
    data = OddEven(tmp_path, use_one_hot=True, validation_size=2, labels=[3, 8])
    assert data.get_identifier() == "OddEvenMNIST"
    assert (data.num_train_samples, data.num_val_samples, data.num_classes) == (16, 2, 2)
    _, y = data.next_train_batch(16)
    targets = data.output_to_torch_tensor(y, "cpu")
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(16))
    assert targets.unique().tolist() == pytest.approx([0.05, 0.95])
    assert len(get_split_mnist_handlers(tmp_path, num_tasks=5)) == 5

    permutations = [None, np.random.RandomState(1).permutation(32**2)]
    tasks = PermutedMNISTList(permutations, tmp_path, padding=2, show_perm_change_msg=False)
    images = tasks[0].get_test_inputs()[:4]
    plain = tasks[0].input_to_torch_tensor(images, "cpu")
    permuted = tasks[1].input_to_torch_tensor(images, "cpu")
    torch.testing.assert_close(permuted, plain[:, torch.tensor(permutations[1])])
    padded = np.pad(images.reshape(-1, 28, 28), ((0, 0), (2, 2), (2, 2))).reshape(4, -1)
    np.testing.assert_allclose(plain, padded, atol=1e-3)


def test_sequences_with_weights_of_the_loss():
    data = ReversedCopy(2, 5, seq_width=3, num_train=20, num_test=5, rseed=1)
    x, y, ids = data.next_train_batch(6, return_ids=True)
    weights = data.loss_weights(ids)
    np.testing.assert_allclose(weights.sum(axis=0), 1)
    X, T = data.input_to_torch_tensor(x, "cpu"), data.output_to_torch_tensor(y, "cpu")
    stop = X[:, :, -1].argmax(dim=0)
    for b, length in enumerate(stop):
        shown = X[:length, b, :-1]
        steps = torch.tensor(weights[:, b] > 0)
        torch.testing.assert_close(T[steps, b], shown)


def test_gaussian_tasks_and_their_mixture():
    tasks = get_gmm_tasks(num_train=30, num_test=10, rseed=5)
    mixture = GMMData(tasks[:4], classification=True, use_one_hot=True)
    assert (mixture.num_train_samples, mixture.num_classes) == (120, 4)
    coverage, _ = mixture.estimate_mode_coverage(mixture.means)
    assert coverage == 4
    data = ShiftedGaussian([10.0, 0.0], mean=(1, 2), num_train=50, num_test=5, rseed=2)
    x = data.input_to_torch_tensor(data.get_train_inputs(), "cpu")
    np.testing.assert_allclose(x - torch.tensor([10.0, 0.0]), data.get_train_inputs(), atol=1e-5)


def test_numbers_of_numpy_are_numbers():
    """Sizes, ids and options come out of arrays, as in programs that were written for NumPy 1."""
    data = DigitsData(use_one_hot=True)
    n_in, n_out = np.prod(data.in_shape), np.int64(data.num_classes)
    arch = np.array([12, 10])
    mnet = MLP(n_in=n_in, n_out=n_out, hidden_layers=arch, no_weights=True, dropout_rate=np.float64(-1), verbose=False)
    hnet = HMLP(
        mnet.param_shapes, cond_in_size=np.int64(3), num_cond_embs=np.int32(2), layers=list(arch), verbose=False
    )
    rng = np.random.RandomState(0)
    for task in rng.permutation(2):
        x, y = data.next_train_batch(np.int64(8))
        weights = hnet.forward(cond_id=task)
        logits = mnet.forward(data.input_to_torch_tensor(x, "cpu"), weights=weights)
        labels = torch.from_numpy(np.argmax(y, axis=1).astype(np.int_))
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        accuracy = (np.argmax(logits.detach().cpu().numpy(), axis=1) == np.argmax(y, 1)).astype(float).mean()
        assert 0 <= accuracy.item() <= 1
        assert np.isclose(loss.item(), -np.log(F.softmax(logits, 1).detach().numpy()[np.arange(8), labels]).mean())
    ids = rng.choice(data.get_train_ids(), 5, replace=False)
    indices = data.train_ids_to_indices(ids)
    np.testing.assert_array_equal(data.get_train_ids()[indices], ids)
