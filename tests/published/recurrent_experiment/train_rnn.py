"""Trains a task-conditioned hypernetwork for a recurrent main network on several copy tasks."""

import numpy as np
import torch
import torch.nn.functional as F

import hypnettorch.utils.hnet_regularizer as hreg
from hypnettorch.data.timeseries.copy_data import CopyTask
from hypnettorch.utils import misc, sim_utils
from hypnettorch.utils.torch_ckpts import load_checkpoint, save_checkpoint
from hypnettorch.utils.torch_utils import get_optimizer


def generate_tasks(config):
    tasks = []
    for i in range(config.num_tasks):
        tasks.append(
            CopyTask(
                config.input_len, config.input_len, seq_width=config.seq_width, num_train=100, num_test=20, num_val=20,
                permute_time=i > 0, rseed=config.data_random_seed, rseed_permute=config.data_random_seed + i,
            )
        )  # fmt: skip
    return tasks


def masked_loss(dhandler, ids, logits, targets):
    """Binary cross entropy at the steps of the pattern."""
    mask = torch.zeros(logits.shape[:2])
    starts, lengths = dhandler.get_out_pattern_bounds(ids)
    for b, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        mask[int(start) : int(start) + int(length), b] = 1
    loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(dim=2)
    return (loss * mask).sum() / mask.sum()


def build_networks(config, dhandlers, device, logger):
    in_shape, out_shape = dhandlers[0].in_shape, dhandlers[0].out_shape
    mnet = sim_utils.get_mnet_model(config, "simple_rnn", in_shape, out_shape, device, no_weights=True)
    hnet = sim_utils.get_hypernet(config, device, config.hnet_type, mnet.param_shapes, config.num_tasks, verbose=False)
    if config.hyper_fan_init:
        if config.hnet_type == "hmlp":
            hnet.apply_hyperfan_init(mnet=mnet)
        else:
            hnet.apply_chunked_hyperfan_init(mnet=mnet)
    ratio = hnet.num_params / mnet.num_params
    logger.info("Compression ratio: %f; recurrent layers: %s", ratio, misc.str_to_ints(config.srnn_rec_layers))
    return mnet, hnet


def train(task_id, dhandler, mnet, hnet, device, config, logger, writer):
    params = hnet.internal_params
    optimizer = get_optimizer(
        params, config.lr, momentum=config.momentum, weight_decay=config.weight_decay, use_adam=config.use_adam,
        adam_beta1=config.adam_beta1,
    )  # fmt: skip
    targets = None
    if task_id > 0 and config.beta > 0:
        targets = hreg.get_current_targets(task_id, hnet)
    losses = []
    mnet.train()
    hnet.train()
    n_iter, _ = sim_utils.calc_train_iter(dhandler.num_train_samples, config.batch_size, num_iter=config.n_iter)
    for i in range(n_iter):
        optimizer.zero_grad()
        inputs, outputs, ids = dhandler.next_train_batch(config.batch_size, return_ids=True)
        X = dhandler.input_to_torch_tensor(inputs, device, mode="train")
        T = dhandler.output_to_torch_tensor(outputs, device, mode="train")
        weights = hnet.forward(cond_id=task_id)
        loss = masked_loss(dhandler, ids, mnet.forward(X, weights=weights), T)
        reg = 0
        if targets is not None:
            reg = hreg.calc_fix_target_reg(hnet, task_id, targets=targets, mnet=mnet)
        (loss + config.beta * reg).backward()
        if config.clip_grad_value != -1:
            torch.nn.utils.clip_grad_value_(optimizer.param_groups[0]["params"], config.clip_grad_value)
        elif config.clip_grad_norm != -1:
            torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], config.clip_grad_norm)
        optimizer.step()
        losses.append(loss.item())
        if i % config.val_iter == 0:
            writer.add_scalar(f"train/task_{task_id}/loss", loss, i)
            logger.debug("Task %d, iteration %d: loss %.4f", task_id, i, loss.item())
    return losses


def test(dhandlers, mnet, hnet, device):
    accuracies = []
    hnet.eval()
    with torch.no_grad():
        for task_id, dhandler in enumerate(dhandlers):
            weights = hnet.forward(cond_id=task_id)
            correct = []
            for size, inputs, outputs, ids in dhandler.test_iterator(10, return_ids=True):
                Y = mnet.forward(dhandler.input_to_torch_tensor(inputs, device), weights=weights)
                T = dhandler.output_to_torch_tensor(outputs, device)
                starts, lengths = dhandler.get_out_pattern_bounds(ids)
                for b in range(size):
                    steps = slice(int(starts[b]), int(starts[b]) + int(lengths[b]))
                    correct.append(((Y[steps, b] > 0) == (T[steps, b] > 0.5)).float().mean().item())
            accuracies.append(100 * np.mean(correct))
    return accuracies


def run(config, logger_name="hnet_sim_logger"):
    device, writer, logger = sim_utils.setup_environment(config, logger_name=logger_name)
    dhandlers = generate_tasks(config)
    mnet, hnet = build_networks(config, dhandlers, device, logger)
    losses, during = [], []
    for task_id, dhandler in enumerate(dhandlers):
        losses.append(train(task_id, dhandler, mnet, hnet, device, config, logger, writer))
        during.append(test(dhandlers[: task_id + 1], mnet, hnet, device)[-1])
        save_checkpoint({"state_dict": hnet.state_dict(), "task": task_id}, f"{config.out_dir}/hnet", during[-1])
    final = test(dhandlers, mnet, hnet, device)
    load_checkpoint(f"{config.out_dir}/hnet", hnet, device=device)
    np.testing.assert_allclose(test(dhandlers, mnet, hnet, device), final)
    writer.close()
    return mnet, hnet, losses, during, final
