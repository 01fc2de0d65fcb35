"""Programs that hand all their options to the writer of ``setup_environment``, lists among them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hypnettorch.utils.sim_utils import setup_environment


def test_hyperparameters(tmp_path):
    config = SimpleNamespace(
        out_dir=str(tmp_path / "run"), loglevel_info=True, random_seed=1, deterministic_run=False, use_cuda=False,
        grid=[-9, 9], layers=(10, 10), nothing=None, lr=np.float64(0.1), steps=np.int64(3),
    )  # fmt: skip
    _, writer, _ = setup_environment(config, logger_name="lists")
    writer.add_hparams(hparam_dict=vars(config), metric_dict={"accuracy": 0.5})
    writer.add_hparams({"grid": [-9, 9]}, {})
    writer.close()
    runs = [path for path in (tmp_path / "run" / "summary").iterdir() if path.is_dir()]
    events = [EventAccumulator(str(run)).Reload() for run in runs]
    values = [e.Scalars("accuracy")[0].value for e in events if "accuracy" in e.Tags()["scalars"]]
    assert values == [pytest.approx(0.5)]
