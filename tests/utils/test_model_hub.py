from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch

from hypnettorch.hnets import HMLP
from hypnettorch.utils.model_hub import from_hub, on_hub, push_to_hub


def test_a_folder_of_the_mixin_is_one_of_ours(tmp_path: Path) -> None:
    hnet = HMLP([[4, 3], [4]], verbose=False)
    on_hub(hnet).save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert "hypernetwork" in (tmp_path / "README.md").read_text()
    for loaded in (HMLP.from_pretrained(tmp_path), from_hub(str(tmp_path))):
        assert torch.equal(loaded(cond_id=0)[0], hnet(cond_id=0)[0])


def test_functions_are_given(tmp_path: Path) -> None:
    hnet = HMLP([[4, 3], [4]], activation_fn=torch.sin, verbose=False)
    hnet.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="activation_fn"):
        from_hub(str(tmp_path))
    assert torch.equal(from_hub(str(tmp_path), {"activation_fn": torch.sin})(cond_id=0)[0], hnet(cond_id=0)[0])


def test_what_is_uploaded_can_be_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder stands for the hub."""
    hnet, uploaded = HMLP([[4, 3], [4]], verbose=False), {}

    def upload(self: Any, *, repo_id: str, folder_path: Path, **options: Any) -> str:
        for path in Path(folder_path).iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
        uploaded.update(options, repo_id=repo_id)
        return f"https://hub/{repo_id}"

    def download(repo_id: str, **options: Any) -> str:
        uploaded.update(options, downloaded=repo_id)
        return str(tmp_path)

    def no_config(*args: Any, **kwargs: Any) -> str:
        return str(tmp_path / "config.json")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", lambda self, **options: type("Repo", (), options))
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr("huggingface_hub.hub_mixin.hf_hub_download", no_config)
    assert push_to_hub(hnet, "user/name", private=True) == "https://hub/user/name"
    loaded = from_hub("user/name", revision="v1")
    assert torch.equal(loaded(cond_id=0)[0], hnet(cond_id=0)[0])
    assert (uploaded["repo_id"], uploaded["downloaded"], uploaded["revision"]) == ("user/name", "user/name", "v1")


def test_other_networks_are_refused() -> None:
    with pytest.raises(TypeError, match="hnet"):
        push_to_hub(torch.nn.Linear(2, 2), "user/name")  # type: ignore[arg-type]
