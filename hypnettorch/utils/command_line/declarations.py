"""Options of everything but networks, declared as data classes: attributes are options with their help texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass
class Initialisation:
    """Options of network initialisation.

    Attributes:
        custom_network_init: Initialise networks as the following options say.
        normal_init: Normal instead of Xavier initialisation.
        std_normal_init: normal_init: standard deviation of weights.
        std_normal_temb: Standard deviation of the embeddings of conditions.
        std_normal_emb: Standard deviation of chunk embeddings.
        hyper_fan_init: Hyperfan initialisation of the hypernetwork.
    """

    custom_network_init: bool = False
    normal_init: bool = False
    std_normal_init: float = 0.02
    std_normal_temb: float = 1.0
    std_normal_emb: float = 1.0
    hyper_fan_init: bool = False


@dataclass
class Miscellaneous:
    """Options of the set-up, as :func:`hypnettorch.utils.sim_utils.setup_environment` reads them.

    Attributes:
        num_workers: Number of processes that load data.
        out_dir: Folder for results (default: ./out/run_<date>_<time>).
        use_cuda: Use a GPU.
        no_cuda: Use the CPU even if there is a GPU.
        loglevel_info: Leave debugging messages out of what is shown on the screen.
        deterministic_run: Only algorithms that give the same result again, also on a GPU.
        publication_style: Plots for a publication.
        show_plots: Show plots in windows.
        data_random_seed: Seed of the random numbers that make the data.
        random_seed: Seed of all other random numbers.
    """

    num_workers: int = 8
    out_dir: str = ""
    use_cuda: bool = False
    no_cuda: bool = False
    loglevel_info: bool = False
    deterministic_run: bool = False
    publication_style: bool = False
    show_plots: bool = False
    data_random_seed: int = 42
    random_seed: int = 42


@dataclass
class Evaluation:
    """Options of evaluation.

    Attributes:
        val_iter: Training steps from one validation to the next.
        val_batch_size: Samples per batch in evaluations.
        val_set_size: Validation samples, taken from the training samples.
        test_with_val_set: Test with the validation set.
    """

    val_iter: int = 500
    val_batch_size: int = 256
    val_set_size: int = 0
    test_with_val_set: bool = False


@dataclass
class Training:
    """Options of training.

    Those of the optimiser are named like the arguments of :func:`hypnettorch.utils.torch_utils.get_optimizer`.

    Attributes:
        batch_size: Samples per training step.
        n_iter: Training steps per task.
        epochs: Epochs per task; if set, n_iter does not count.
        lr: Learning rate.
        momentum: Momentum of the optimiser (SGD and RMSprop).
        weight_decay: L2 penalty on the parameters.
        use_adam: Optimise with Adam instead of SGD.
        adam_beta1: Decay of Adam's first moment.
        use_rmsprop: Optimise with RMSprop instead of SGD.
        use_adadelta: Optimise with Adadelta instead of SGD.
        use_adagrad: Optimise with Adagrad instead of SGD.
        clip_grad_value: Largest absolute value of an entry of a gradient; -1: no limit.
        clip_grad_norm: Largest norm of the gradient; -1: no limit.
    """

    batch_size: int = 32
    n_iter: int = 100001
    epochs: int = -1
    lr: float = 0.1
    momentum: float = 0.0
    weight_decay: float = 0.0
    use_adam: bool = False
    adam_beta1: float = 0.9
    use_rmsprop: bool = False
    use_adadelta: bool = False
    use_adagrad: bool = False
    clip_grad_value: float = -1.0
    clip_grad_norm: float = -1.0


@dataclass
class ContinualLearning:
    """Options of continual learning.

    Attributes:
        beta: Strength of the regulariser that protects earlier tasks.
        train_from_scratch: Train on each task anew.
        multi_head: Each task has its own output head.
        cl_scenario: 1: the task is known when testing; 2: it is not, all share a head; 3: it has to be inferred.
        split_head_cl3: Scenario 3: separate heads instead of one softmax that grows.
        num_tasks: Number of tasks.
        num_classes_per_task: Number of classes per task.
        calc_hnet_reg_targets_online: Recompute the targets of the regulariser in each step instead of keeping them in
            memory.
        hnet_reg_batch_size: Regularise that many random earlier tasks per step; -1: all.
    """

    beta: float = 0.01
    train_from_scratch: bool = False
    multi_head: bool = False
    cl_scenario: Literal[1, 2, 3] = 1
    split_head_cl3: bool = False
    num_tasks: int = 1
    num_classes_per_task: int = 2
    calc_hnet_reg_targets_online: bool = False
    hnet_reg_batch_size: int = -1


@dataclass
class Data:
    """Options of data sets.

    Attributes:
        disable_data_augmentation: Use the training samples as they are.
        data_dir: Folder with the files of data sets.
    """

    disable_data_augmentation: bool = False
    data_dir: str = "."


@dataclass
class Generator:
    """Options of a generator.

    Attributes:
        latent_dim: Size of the latent vector.
        latent_std: Standard deviation of latent vectors.
    """

    latent_dim: int = 3
    latent_std: float = 1.0
