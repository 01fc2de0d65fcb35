"""Programs that encode the outputs of split data sets with the package's own function."""

from __future__ import annotations

import numpy as np

from hypnettorch.data.special.split_cifar import SplitCIFAR10Data
from tests.data.writers import write_cifar10_python


class LabelledSplit(SplitCIFAR10Data):
    """Keeps all ten outputs, and re-encodes a batch when it is asked for."""

    def of_task(self, outputs):
        from hypnettorch.data.special.split_cifar import _transform_split_outputs

        return _transform_split_outputs(self, outputs)


def test_outputs_are_those_of_the_task(tmp_path):
    write_cifar10_python(tmp_path, [[3, 5, 3, 1, 5]] * 5 + [[3, 5, 1]])
    data = LabelledSplit(tmp_path, use_one_hot=True, validation_size=0, labels=[3, 5], full_out_dim=True)
    outputs = data.get_train_outputs()
    assert outputs.shape[1] == 10
    transformed = data.of_task(outputs)
    assert transformed.shape == (len(outputs), 2)
    np.testing.assert_array_equal(transformed, outputs[:, [3, 5]])
    np.testing.assert_array_equal(transformed, data.transform_outputs(outputs))
