"""A recurrent experiment with modules of its own for its options: its networks, first losses and results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.published import plain
from tests.published.recurrent_experiment import simulation_args, train_rnn
from tests.published.recurrent_experiment.args import Args


def lstm(x, weights):
    """An LSTM layer and a linear one, step by step."""
    w_ih, b_ih, w_hh, b_hh, w_out, b_out = weights
    h, c = (x.new_zeros(x.shape[1], w_hh.shape[1]) for _ in range(2))
    outputs = []
    for x_t in x:
        i, f, g, o = (x_t @ w_ih.T + b_ih + h @ w_hh.T + b_hh).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        outputs.append(h @ w_out.T + b_out)
    return torch.stack(outputs)


def elman(x, weights):
    w_ih, b_ih, w_hh, b_hh, w_ho, b_ho, w_out, b_out = weights
    h = x.new_zeros(x.shape[1], w_hh.shape[1])
    outputs = []
    for x_t in x:
        h = torch.tanh(x_t @ w_ih.T + b_ih + h @ w_hh.T + b_hh)
        outputs.append(torch.tanh(h @ w_ho.T + b_ho) @ w_out.T + b_out)
    return torch.stack(outputs)


@pytest.mark.parametrize("hnet_type", ["hmlp", "chunked_hmlp"])
@pytest.mark.parametrize("rec_type", ["lstm", "elman"])
def test_experiment(hnet_type, rec_type, tmp_path):
    config = Args(
        out_dir=str(tmp_path / "run"), use_adam=True, hnet_type=hnet_type, srnn_rec_type=rec_type, n_iter=25, lr=1e-2,
        chmlp_chunk_size=300, clip_grad_norm=1.0, hyper_fan_init=hnet_type == "hmlp",
    )  # fmt: skip
    mnet, hnet, losses, during, final = train_rnn.run(config, logger_name=f"{hnet_type} {rec_type}")
    x = torch.randn(5, 2, 4)
    weights = hnet.forward(cond_id=1)
    torch.testing.assert_close(mnet.forward(x, weights=weights), (lstm if rec_type == "lstm" else elman)(x, weights))
    assert [len(task) for task in losses] == [25, 25]
    assert all(sum(task[-5:]) < sum(task[:5]) for task in losses)
    assert len(during) == len(final) == 2
    assert all(40 < accuracy <= 100 for accuracy in [*during, *final])
    assert json.loads((tmp_path / "run" / "config.json").read_text())["srnn_rec_layers"] == "16"
    assert (tmp_path / "run" / "config.pickle").exists()


def test_first_steps_are_those_of_plain_pytorch(tmp_path, monkeypatch):
    """The loss and the parameters after five steps of SGD with clipped gradients, written out by hand."""
    config = Args(out_dir=str(tmp_path / "run"), n_iter=5, lr=0.1, num_tasks=1, clip_grad_value=0.01)
    start = []
    monkeypatch.setattr(train_rnn, "train", lambda *a, **k: (start.append(plain.copies(a[3].internal_params)), [0])[1])
    train_rnn.run(config, logger_name="start")
    monkeypatch.undo()
    config.out_dir = str(tmp_path / "again")
    mnet, hnet, losses, _, _ = train_rnn.run(config, logger_name="again")

    (params,) = start
    embedding, theta = params[0], params[1:]
    if embedding.dim() != 1:
        embedding, theta = params[-1], params[:-1]
    dhandler = train_rnn.generate_tasks(config)[0]
    optimizer = torch.optim.SGD(params, lr=0.1)
    by_hand = []
    for _ in range(5):
        optimizer.zero_grad()
        inputs, outputs, ids = dhandler.next_train_batch(16, return_ids=True)
        X = dhandler.input_to_torch_tensor(inputs, "cpu")
        T = dhandler.output_to_torch_tensor(outputs, "cpu")
        weights = plain.unflatten(plain.perceptron(embedding.unsqueeze(0), theta)[0], mnet.param_shapes)
        loss = train_rnn.masked_loss(dhandler, ids, lstm(X, weights), T)
        loss.backward()
        torch.nn.utils.clip_grad_value_(params, 0.01)
        optimizer.step()
        by_hand.append(loss.item())
    assert losses[0] == pytest.approx(by_hand, rel=1e-4)
    for p, q in zip(hnet.internal_params, params, strict=True):
        torch.testing.assert_close(p, q, atol=1e-5, rtol=1e-4)


def test_options():
    config = simulation_args.parse_cmd_arguments(argv=["--net_act=relu", "--num_tasks=3", "--use_cuda"])
    assert (config.num_tasks, config.net_act, config.use_cuda, config.srnn_rec_layers) == (3, "relu", True, "16")
    assert vars(simulation_args.parse_cmd_arguments(default=True)).keys() == dict(Args().items()).keys()
    with pytest.raises(ValueError, match="input_len"):
        simulation_args.parse_cmd_arguments(argv=["--input_len=0"])
    with pytest.raises(ValueError, match="clip_grad"):
        simulation_args.parse_cmd_arguments(argv=["--clip_grad_value=1", "--clip_grad_norm=1"])
    with pytest.raises(AttributeError, match="no option"):
        Args(nothing=1)


def test_folder_of_an_earlier_run_is_kept(tmp_path):
    (tmp_path / "result.txt").write_text("99.8")
    with pytest.raises(OSError, match="not empty"):
        train_rnn.run(Args(out_dir=str(tmp_path)))
    assert Path(tmp_path, "result.txt").read_text() == "99.8"
