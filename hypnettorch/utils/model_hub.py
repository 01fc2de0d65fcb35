"""Hypernetworks on a model hub, by the mixin of ``huggingface_hub``. Needs the extra ``hub``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from hypnettorch.common.extras import require
from hypnettorch.hnets.hypernetwork import HyperNetwork, check_hypernetwork


def push_to_hub(hnet: HyperNetwork, repo_id: str, **options: Any) -> str:
    """Upload a hypernetwork.

    Args:
        hnet: The hypernetwork.
        repo_id: The repository, ``'user/name'``; it is made if there is none.
        **options: Options of ``huggingface_hub.ModelHubMixin.push_to_hub``, as ``private``, ``token``, ``branch``.

    Returns:
        The address of the commit.

    Raises:
        ImportError: If ``huggingface_hub`` or ``safetensors`` is not installed.
    """
    return str(on_hub(hnet).push_to_hub(repo_id, **options))


def from_hub(repo_id: str, given: Mapping[str, Any] | None = None, **options: Any) -> Any:
    """A hypernetwork from a repository.

    Args:
        repo_id: The repository, ``'user/name'``, or a folder.
        given: See :meth:`hypnettorch.hnets.hypernetwork.HyperNetwork.from_pretrained`.
        **options: Options of ``huggingface_hub.ModelHubMixin.from_pretrained``, as ``revision``, ``cache_dir``.

    Raises:
        ValueError: If the repository holds no hypernetwork, or ``given`` does not fit.
        ImportError: If ``huggingface_hub`` or ``safetensors`` is not installed.
    """
    return _mixed().from_pretrained(repo_id, given=given, **options).hnet


def on_hub(hnet: HyperNetwork) -> Any:
    """The hypernetwork, ``hnet`` of the result, with the methods of ``huggingface_hub.ModelHubMixin``."""
    check_hypernetwork("hnet", hnet)
    return _mixed()(hnet)


@cache
def _mixed() -> Any:
    hub = require("huggingface_hub", "model hubs", "hub")

    class OnHub(hub.ModelHubMixin, library_name="hypnettorch", tags=["hypernetwork"]):  # type: ignore[name-defined, call-arg]
        def __init__(self, hnet: HyperNetwork) -> None:
            self.hnet = hnet

        def _save_pretrained(self, save_directory: Path) -> None:
            self.hnet.save_pretrained(save_directory)

        @classmethod
        def _from_pretrained(cls, *, model_id: str, given: Mapping[str, Any] | None = None, **options: Any) -> Any:
            names = ("revision", "cache_dir", "force_download", "local_files_only", "token")
            chosen = {name: options[name] for name in names if name in options}
            folder = model_id if Path(model_id).is_dir() else hub.snapshot_download(model_id, **chosen)
            return cls(HyperNetwork.from_pretrained(folder, given))

    return OnHub
