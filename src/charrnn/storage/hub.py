"""Model files on the Hugging Face Hub, or in a folder like those there."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..util.errors import needing

FILE = "model.safetensors"


def fetch(source: str | os.PathLike[str], options: dict[str, Any]) -> Path:
    """Return the path of the model file in a folder, or in a repository of the Hub."""
    if os.path.isdir(source):
        return Path(source, FILE)
    download = _huggingface_hub().hf_hub_download
    return Path(download(repo_id=str(source), filename=FILE, library_name="charrnn", **options))


def push(save: Callable[[Path], None], repo_id: str, options: dict[str, Any]) -> str:
    """Upload what save writes, with a model card, and return the address of the commit."""
    mixin: Any = _huggingface_hub().ModelHubMixin

    class Model(mixin, library_name="charrnn"):  # type: ignore[misc, call-arg]
        def _save_pretrained(self, save_directory: Path) -> None:
            save(Path(save_directory, FILE))

    address: str = Model().push_to_hub(repo_id, **options)
    return address


def _huggingface_hub() -> Any:
    """Return the library, or raise ModuleNotFoundError that says how to install it."""
    with needing('the Hub needs huggingface_hub: pip install "charrnn-cython[hub]"'):
        import huggingface_hub
    return huggingface_hub
