"""Models with replay that options describe."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import nn

from hypnettorch.core import checks
from hypnettorch.examples.hypercl.model import TaskModel
from hypnettorch.examples.hypercl.networks import ONE_LABEL, make_main_network, make_model
from hypnettorch.examples.hypercl.options import Options, sizes
from hypnettorch.hnets.chunked_mlp_hnet import ChunkedHMLP
from hypnettorch.mnets.mlp import MLP
from hypnettorch.utils.generative_replay import ReplayVAE


class RecognitionModel(TaskModel):
    """A hypernetwork with its main network, a replay model, and a classifier of tasks.

    Args:
        model: The first two.
        vae: The replay model.
        recogniser: The classifier.
    """

    def __init__(self, model: TaskModel, vae: ReplayVAE, recogniser: nn.Module) -> None:
        super().__init__(model.hnet, model.mnet)
        self.vae = vae
        self.recogniser = recogniser

    def know_tasks(self, number: int) -> None:
        """Add embeddings to both hypernetworks until ``number`` tasks are known."""
        super().know_tasks(number)
        self.vae.know_tasks(number)


def make_replay(options: Options, in_shape: Sequence[int], label_shape: Sequence[int] = ONE_LABEL) -> ReplayVAE:
    """A replay model that knows one task.

    Raises:
        ValueError: If a sample has several labels, which belong to the steps of a sequence.
    """
    if tuple(label_shape) != ONE_LABEL:
        checks.fail("--method", "one without replay, since samples are sequences", options.method)
    pixels, latent = math.prod(in_shape), options.replay_latent_size
    decoder_layers = sizes("--replay_dec_arch", options.replay_dec_arch)
    encoder_layers = sizes("--replay_enc_arch", options.replay_enc_arch)
    decoder = MLP(latent, pixels, decoder_layers, no_weights=True, verbose=False)
    hnet = ChunkedHMLP(
        decoder.param_shapes,
        options.replay_chunk_size,
        chunk_emb_size=options.replay_emb_size,
        layers=sizes("--replay_hmlp_arch", options.replay_hmlp_arch),
        activation_fn=nn.ELU(),
        cond_in_size=options.replay_emb_size,
        num_cond_embs=1,
        verbose=False,
    )
    hnet.apply_calibrated_init(decoder)
    return ReplayVAE(hnet, decoder, MLP(pixels, 2 * latent, encoder_layers, verbose=False))


def make_recognition(
    options: Options, in_shape: Sequence[int], label_shape: Sequence[int] = ONE_LABEL
) -> RecognitionModel:
    """A model of ``hnet`` with a replay model and a classifier of tasks, which is like the main network."""
    recogniser: Any = make_main_network(options, in_shape, options.num_tasks, label_shape)
    return RecognitionModel(
        make_model(options, in_shape, label_shape), make_replay(options, in_shape, label_shape), recogniser
    )
