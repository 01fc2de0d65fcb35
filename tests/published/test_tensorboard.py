"""Programs that write curves, histograms and hyperparameters with the writer of ``setup_environment``."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hypnettorch.hnets import HMLP
from hypnettorch.mnets import MLP
from hypnettorch.utils import hmc
from hypnettorch.utils.sim_utils import setup_environment


def options(tmp_path, **changed):
    return SimpleNamespace(
        **{
            "out_dir": str(tmp_path / "run"), "loglevel_info": True, "random_seed": 7, "deterministic_run": False,
            "use_cuda": False, "lr": 0.01, "hidden": "10,10", "use_bias": True, **changed,
        }
    )  # fmt: skip


def events_of(folder):
    events = EventAccumulator(str(folder), size_guidance={"histograms": 0})
    events.Reload()
    return events


def test_curves_of_a_training(tmp_path):
    config = options(tmp_path)
    device, writer, logger = setup_environment(config, logger_name="curves")
    first = torch.rand(1).item()
    torch.manual_seed(7)
    assert torch.rand(1).item() == first

    mnet = MLP(2, 1, [4], no_weights=True, verbose=False).to(device)
    hnet = HMLP(mnet.param_shapes, cond_in_size=3, verbose=False).to(device)
    optimizer = torch.optim.Adam(hnet.parameters(), lr=config.lr)
    losses = []
    for i in range(4):
        optimizer.zero_grad()
        weights = hnet.forward(cond_id=0)
        loss = mnet.forward(torch.ones(3, 2), weights=weights).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        writer.add_scalar("train/task_0/loss", loss, i)
        writer.add_scalars("train/both", {"loss": loss, "lr": config.lr}, i)
        writer.add_histogram("train/task_0/predicted_weights", torch.cat([w.detach().flatten() for w in weights]), i)
        writer.add_text("note", "a **note**", i)
    writer.close()
    logger.info("done")

    events = events_of(tmp_path / "run" / "summary")
    assert [event.value for event in events.Scalars("train/task_0/loss")] == pytest.approx(losses)
    assert [event.step for event in events.Scalars("train/task_0/loss")] == [0, 1, 2, 3]
    assert len(events.Histograms("train/task_0/predicted_weights")) == 4
    assert "done" in (tmp_path / "run" / "logfile.txt").read_text()
    with open(tmp_path / "run" / "config.pickle", "rb") as file:
        assert vars(pickle.load(file)) == vars(config)


def test_hyperparameters(tmp_path):
    config = options(tmp_path)
    _, writer, _ = setup_environment(config, logger_name="hparams")
    writer.add_hparams(hparam_dict=vars(config), metric_dict={"final/accuracy": 99.79, "final/loss": 0.5})
    writer.close()
    (run,) = [path for path in (tmp_path / "run" / "summary").iterdir() if path.is_dir()]
    assert events_of(run).Scalars("final/accuracy")[0].value == pytest.approx(99.79)
    assert any("hparams" in key for key in events_of(run).summary_metadata)


def test_curves_of_a_chain(tmp_path):
    _, writer, _ = setup_environment(options(tmp_path), logger_name="chain")
    chain = hmc.HMC(torch.zeros(3), lambda q: q.square().sum() / 2, stepsize=0.2, num_steps=5, writer=writer,
                    writer_tag="c1/")  # fmt: skip
    chain.simulate_chain(6)
    writer.close()
    events = events_of(tmp_path / "run" / "summary")
    potential = [event.value for event in events.Scalars("c1/hmc/potential")]
    assert len(potential) == 6
    assert all(value >= 0 for value in potential)
