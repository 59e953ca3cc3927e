"""Fetching a model's weights from the Hugging Face hub into its cache, once for all who share it.

Where the cache is, what token is sent and whether the network may be used say huggingface_hub's own
variables: `HF_HOME`, `HF_TOKEN`, `HF_HUB_OFFLINE`, `HF_ENDPOINT`.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from core.contract.models import ModelSpec
from core.contract.weights import Weights
from core.weights.parts import Part, WeightsMissing, parts_of

Told = Callable[[int, int], None]
"""Called about twice a second with the bytes that are here and those of the whole. It may raise,
which ends the wait; what was begun is still fetched."""

_LOOK_EVERY_SECONDS = 0.5
_REMAINS_AFTER_SECONDS = 3600.0


@dataclass(frozen=True)
class Holding:
    """What is here of a part that comes from the hub."""

    part: Part
    sizes: Mapping[str, int]
    """In bytes, of each of its files."""
    folder: Path
    """Where they are, or will be."""

    @property
    def size_bytes(self) -> int:
        return sum(self.sizes.values())

    @property
    def here_bytes(self) -> int:
        """Of the files that are here, each whole."""
        return sum(size for name, size in self.sizes.items() if (self.folder / name).exists())

    @property
    def source(self) -> str:
        """What is loaded: the folder, or the one file in it."""
        return str(self.folder / self.part.file if self.part.file else self.folder)


def survey(spec: ModelSpec) -> list[Holding]:
    """What is here of the parts of a model that come from the hub.

    The first look at a repository asks the hub. Raises WeightsMissing, also for a part that is to
    be on this machine and is not.
    """
    holdings = []
    for part in parts_of(spec):
        if part.weights.revision is None:
            _look(part, Path(part.weights.source))
        else:
            holdings.append(_holding(part, part.weights.revision))
    return holdings


def with_weights_here(spec: ModelSpec, told: Told = lambda here, whole: None) -> ModelSpec:
    """`spec` with every source on this machine, fetched where it was not. Raises WeightsMissing."""
    holdings = survey(spec)
    missing = [holding for holding in holdings if holding.here_bytes < holding.size_bytes]
    if missing:
        _fetch(missing, told)
    for holding in holdings:
        spec = holding.part.moved(spec, holding.source)
    return spec


def commit_of(repository: str, revision: str = "main") -> str:
    """The commit that a branch or tag of a repository is at now. Raises WeightsMissing."""
    from huggingface_hub import HfApi

    with _reasons(repository):
        return str(HfApi().model_info(repository, revision=revision).sha)


def cache_folder() -> Path:
    """Where fetched weights lie."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def _look(part: Part, source: Path) -> None:
    """Raise WeightsMissing where a part that is to be on this machine isn't there in full."""
    if source.is_dir():
        files = (path for path in source.rglob("*") if path.is_file())
        part.wanted([path.relative_to(source).as_posix() for path in files])
    elif not source.exists():
        raise WeightsMissing(
            f"there is no {source}; and to be one of the hub's repositories, {part.name} needs a "
            "revision"
        )


def _holding(part: Part, revision: str) -> Holding:
    """The listing is the cache's own once something of the revision was fetched."""
    from huggingface_hub import HfApi, get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError
    from huggingface_hub.file_download import repo_folder_name
    from huggingface_hub.hf_api import RepoFile

    repository = part.weights.source
    with _reasons(repository):
        try:
            entries = get_cached_repo_tree(repository, revision=revision)
        except CachedRepoTreeNotFoundError:
            found = HfApi().list_repo_tree(repository, recursive=True, revision=revision)
            entries = [entry for entry in found if isinstance(entry, RepoFile)]
    sizes = {entry.path: entry.size for entry in entries}
    kept = cache_folder() / repo_folder_name(repo_id=repository, repo_type="model")
    return Holding(
        part, {name: sizes[name] for name in part.wanted(sizes)}, kept / "snapshots" / revision
    )


def _fetch(missing: list[Holding], told: Told) -> None:
    """Fetch in a thread of its own, and meanwhile look how far it is, whoever fetches it."""
    whole = sum(holding.size_bytes for holding in missing)
    for holding in missing:
        _remove_remains(holding)
    _check_space(whole - sum(holding.here_bytes for holding in missing))
    failures: list[WeightsMissing] = []

    def fetch() -> None:
        try:
            for holding in missing:
                _fetch_one(holding.part.weights, list(holding.sizes))
        except WeightsMissing as failure:
            failures.append(failure)

    thread = threading.Thread(target=fetch, name="fetch", daemon=True)
    thread.start()
    while thread.is_alive():
        told(min(whole, sum(_so_far(holding) for holding in missing)), whole)
        thread.join(_LOOK_EVERY_SECONDS)
    if failures:
        raise failures[0]
    told(whole, whole)


def _fetch_one(weights: Weights, names: list[str]) -> None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    with _reasons(weights.source):
        # Names are taken as patterns, of which none has a special character.
        snapshot_download(weights.source, revision=weights.revision, allow_patterns=names)


def _so_far(holding: Holding) -> int:
    """Bytes that are here of a part, those of files under way included."""
    return holding.here_bytes + sum(found.st_size for _, found in _under_way(holding))


def _remove_remains(holding: Holding) -> None:
    """What processes left that were killed amid a file: nobody goes on with it."""
    for path, found in _under_way(holding):
        if time.time() - found.st_mtime > _REMAINS_AFTER_SECONDS:
            path.unlink(missing_ok=True)


def _under_way(holding: Holding) -> Iterator[tuple[Path, os.stat_result]]:
    for path in (holding.folder.parent.parent / "blobs").glob("*.incomplete"):
        with suppress(FileNotFoundError):  # it has become whole
            yield path, path.stat()


def _check_space(needed_bytes: int) -> None:
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise WeightsMissing(
            f"{needed_bytes / 1e9:.1f} GB are to be fetched, and {folder} has "
            f"{free_bytes / 1e9:.1f} GB left"
        )


@contextmanager
def _reasons(repository: str) -> Iterator[None]:
    """A block that asks the hub: what it answers, in words for who runs the deployment."""
    from httpx2 import HTTPError
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except GatedRepoError as error:
        reason = f"{repository} is for those whom its owners let in: set HF_TOKEN to such a token"
        raise WeightsMissing(reason) from error
    except RepositoryNotFoundError as error:
        reason = f"the hub has no {repository}, or hides it from who has no HF_TOKEN for it"
        raise WeightsMissing(reason) from error
    except RevisionNotFoundError as error:
        raise WeightsMissing(f"{repository} has no such revision") from error
    except HFValidationError as error:
        raise WeightsMissing(f"{repository} is no name of a repository of the hub") from error
    except (HTTPError, OfflineModeIsEnabled, FileNotFoundError) as error:
        first, *_ = str(error).splitlines() or [type(error).__name__]
        reason = f"{repository} is not here in full, and the hub does not help: {first}"
        raise WeightsMissing(reason, retryable=True) from error
