"""Command line of the recurrent experiment: groups of the package, and options of its own."""

import argparse
from datetime import datetime

from hypnettorch.utils import cli_args as cli


def parse_cmd_arguments(default=False, argv=None):
    parser = argparse.ArgumentParser(description="Continual learning of copy tasks with recurrent networks")

    cli.cl_args(parser, show_beta=True, dbeta=0.1, show_num_tasks=True, dnum_tasks=2, show_multi_head=True)
    cli.main_net_args(
        parser, allowed_nets=["simple_rnn"], dsrnn_rec_layers="16", dsrnn_rec_type="lstm", show_net_act=True,
        dnet_act="tanh", show_no_bias=True,
    )  # fmt: skip
    cli.hnet_args(parser, allowed_nets=["hmlp", "chunked_hmlp"], dhmlp_arch="10", dcond_emb_size="4")
    tgroup = cli.train_args(
        parser, show_lr=True, dlr=5e-3, dbatch_size=16, dn_iter=20, show_use_adam=True, show_clip_grad_value=True,
        show_clip_grad_norm=True,
    )  # fmt: skip
    tgroup.add_argument("--orthogonal_hh_init", action="store_true", help="Initialise hidden-to-hidden orthogonally.")
    cli.init_args(parser, custom_option=False, show_hyper_fan_init=True)
    cli.eval_args(parser, dval_iter=10, show_val_batch_size=True)
    out_dir = "./out/run_" + datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    cli.miscellaneous_args(parser, big_data=False, synthetic_data=True, show_plots=True, no_cuda=True, dout_dir=out_dir)

    cgroup = parser.add_argument_group("Copy task options")
    cgroup.add_argument("--input_len", type=int, default=3, help="Length of the pattern. Default: %(default)s.")
    cgroup.add_argument("--seq_width", type=int, default=3, help="Bits per step. Default: %(default)s.")

    args = None if argv is None else argv
    if default:
        args = []
    config = parser.parse_args(args=args)
    cli.check_invalid_argument_usage(config)
    if config.input_len < 1:
        raise ValueError("Argument --input_len has to be positive")
    return config
