"""Options of the methods that replay samples of earlier tasks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class OfReplay:
    """Options of ``hnet_tir`` and ``hnet_r``.

    Attributes:
        replay_beta: Strength of the regulariser of the replay model's hypernetwork, beside a loss per pixel.
        replay_enc_arch: Hidden layers of the encoder.
        replay_dec_arch: Hidden layers of the decoder.
        replay_latent_size: Size of a latent vector.
        replay_hmlp_arch: Hidden layers of the hypernetwork.
        replay_emb_size: Size of its embeddings, of tasks and of chunks.
        replay_chunk_size: Weights that it makes at once.
    """

    replay_beta: float = 0.01
    replay_enc_arch: str = "400,400"
    replay_dec_arch: str = "250,350"
    replay_latent_size: int = 100
    replay_hmlp_arch: str = "10,10"
    replay_emb_size: int = 96
    replay_chunk_size: int = 50_000
