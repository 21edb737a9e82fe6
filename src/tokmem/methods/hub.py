"""Banks on the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

from tokmem.bank.facts import FILES
from tokmem.errors import BankError
from tokmem.files import as_path


def bank_folder(id_or_folder: Path | str) -> Path:
    """The folder of a saved bank: as it is, or downloaded from the Hugging Face Hub.

    Raises:
        BankError: there is neither such a folder nor such a repository.
        TokMemError: it can be no path.
    """
    folder = as_path(id_or_folder)
    if folder.exists() or len(folder.parts) != 2 or isinstance(id_or_folder, Path):
        return folder
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(id_or_folder, allow_patterns=[*FILES]))
    except Exception as error:  # of the hub, of the network below it, or of the disk
        raise BankError(
            f"{id_or_folder} is no folder, and the hub does not give it ({type(error).__name__})",
            "the folder of a bank, or the id of one on the hub",
            "check the name and the network",
        ) from error


def upload(folder: Path, repo_id: str, message: str, private: bool, token: str | None) -> str:
    """Uploads a saved bank, and returns the address of the commit.

    Raises:
        BankError: the hub cannot be reached, or does not take the bank.
    """
    from huggingface_hub import HfApi

    try:
        api = HfApi(token=token)
        api.create_repo(repo_id, private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message))
    except Exception as error:  # of the hub, or of the network below it
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BankError(
            f"the hub does not take the bank as {repo_id!r}: {reason:.200}",
            "an id owner/name that you may write to",
            "check the id and the network, and log in: hf auth login",
        ) from error
