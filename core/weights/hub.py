"""Fetching a model's weights from the Hugging Face hub into its cache, once for all who share it.

Where the cache is, what token is sent and whether the network may be used say huggingface_hub's own
variables: `HF_HOME`, `HF_TOKEN`, `HF_HUB_OFFLINE`, `HF_ENDPOINT`.
"""

from __future__ import annotations

import glob
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from core.contract.models import ModelSpec
from core.weights.parts import Part, WeightsMissing, parts_of

Told = Callable[[int, int], None]
"""Called about twice a second with the bytes that are here and those of the whole, 0 and 0 while
the hub is asked for them. It may raise, which ends the wait; what was begun is fetched anyway."""

_LOOK_EVERY_SECONDS = 0.5
_DEAD_AFTER_SECONDS = 600.0
"""A file under way that grew no more for so long has lost who fetched it."""


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
    def so_far_bytes(self) -> int:
        """With what is here of files that somebody is fetching."""
        growing = sum(found.st_size for _, found in self.under_way())
        return min(self.size_bytes, self.here_bytes + growing)

    @property
    def source(self) -> str:
        """What is loaded: the folder, or the one file in it."""
        return str(self.folder / self.part.file if self.part.file else self.folder)

    def under_way(self) -> Iterator[tuple[Path, os.stat_result]]:
        """The files that the hub's client has begun, of this repository."""
        for path in (self.folder.parent.parent / "blobs").glob("*.incomplete"):
            with suppress(FileNotFoundError):  # it has become whole
                yield path, path.stat()


def survey(spec: ModelSpec, *, ask: bool = True) -> list[Holding]:
    """What is here of the parts of a model that come from the hub.

    ask: whether the hub may be asked, which the first look at a repository wants. Raises
    WeightsMissing, also for a part that is to be on this machine and is not.
    """
    holdings = []
    with _of_the_disk():
        for part in parts_of(spec):
            if part.weights.revision is None:
                _look(part, Path(part.weights.source))
            else:
                holdings.append(_holding(part, part.weights.revision, ask))
    return holdings


def with_weights_here(spec: ModelSpec, told: Told = lambda here, whole: None) -> ModelSpec:
    """`spec` with every source on this machine, fetched where it was not. Raises WeightsMissing."""
    fetch = _Fetch(spec)
    fetch.start()
    most = 0
    while fetch.is_alive():
        if fetch.missing:
            most = max(most, sum(holding.so_far_bytes for holding in fetch.missing))
        told(most, fetch.whole_bytes)
        fetch.join(_LOOK_EVERY_SECONDS)
    if fetch.failure is not None:
        raise fetch.failure
    told(fetch.whole_bytes, fetch.whole_bytes)
    for holding in fetch.holdings:
        spec = holding.part.moved(spec, holding.source)
    return spec


def commit_of(repository: str, revision: str = "main") -> str:
    """The commit that a branch or tag of a repository is at now. Raises WeightsMissing."""
    from huggingface_hub import HfApi

    with _of_the_hub(repository):
        return str(HfApi().model_info(repository, revision=revision).sha)


def may_fetch() -> bool:
    """Whether the network may be used."""
    from huggingface_hub.constants import is_offline_mode

    return not is_offline_mode()


def cache_folder() -> Path:
    """Where fetched weights lie."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


class _Fetch(threading.Thread):
    """Fetches what is not here of a model. A daemon: it keeps no process from ending."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(name="fetch", daemon=True)
        self.spec = spec
        self.holdings: list[Holding] = []
        self.missing: list[Holding] = []
        self.whole_bytes = 0
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            self._fetch()
        except BaseException as failure:  # it is raised where somebody waits for it
            self.failure = failure

    def _fetch(self) -> None:
        self.holdings = survey(self.spec)
        missing = [held for held in self.holdings if held.here_bytes < held.size_bytes]
        self.whole_bytes = sum(holding.size_bytes for holding in missing)
        self.missing = missing
        with _of_the_disk():
            if missing:
                _make_room(missing)
            for holding in missing:
                _fetch_part(holding)


def _look(part: Part, source: Path) -> None:
    """Raise WeightsMissing where a part that is to be on this machine isn't there in full."""
    if source.is_dir():
        part.wanted(_files_in(source))
    elif not source.exists():
        raise WeightsMissing(
            f"there is no {source}; and to be one of the hub's repositories, {part.name} needs a "
            "revision"
        )


def _holding(part: Part, revision: str, ask: bool) -> Holding:
    from huggingface_hub.file_download import repo_folder_name

    with _of_the_hub(part.weights.source):
        kept = repo_folder_name(repo_id=part.weights.source, repo_type="model")
    folder = cache_folder() / kept / "snapshots" / revision
    sizes = _listing(part.weights.source, revision, folder, ask)
    return Holding(part, {name: sizes[name] for name in part.wanted(sizes)}, folder)


def _listing(repository: str, revision: str, folder: Path, ask: bool) -> dict[str, int]:
    """The files of a repository and their sizes, as the cache knows them, or else the hub.

    Where neither does, what is in the cache's folder counts as all of them.
    """
    from huggingface_hub import HfApi, get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError
    from huggingface_hub.hf_api import RepoFile

    try:
        with _of_the_hub(repository):
            try:
                entries = get_cached_repo_tree(repository, revision=revision)
            except CachedRepoTreeNotFoundError:
                if not ask:
                    raise FileNotFoundError("it was not asked") from None
                found = HfApi().list_repo_tree(repository, recursive=True, revision=revision)
                entries = [entry for entry in found if isinstance(entry, RepoFile)]
    except WeightsMissing as missing:
        if missing.final or not folder.is_dir():
            raise
        return {name: (folder / name).stat().st_size for name in _files_in(folder)}
    return {entry.path: entry.size for entry in entries}


def _files_in(folder: Path) -> list[str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return [path.relative_to(folder).as_posix() for path in files]


def _fetch_part(holding: Holding) -> None:
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    repository, revision = holding.part.weights.source, holding.part.weights.revision
    smallest, *others = sorted(holding.sizes, key=lambda name: holding.sizes[name])
    with _of_the_hub(repository):
        # This one keeps the listing too, but its threads would keep a process from ending.
        snapshot_download(repository, revision=revision, allow_patterns=[glob.escape(smallest)])
        for name in others:
            hf_hub_download(repository, name, revision=revision)
    if holding.here_bytes < holding.size_bytes:
        raise WeightsMissing(f"{repository} did not come in full", retryable=True)


def _make_room(missing: list[Holding]) -> None:
    """Remove what killed processes left half done, and see that the rest fits on the disk."""
    for holding in missing:
        for path, found in holding.under_way():
            if time.time() - found.st_mtime > _DEAD_AFTER_SECONDS:
                path.unlink(missing_ok=True)
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    needed_bytes = sum(holding.size_bytes - holding.so_far_bytes for holding in missing)
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise WeightsMissing(
            f"{needed_bytes / 1e9:.1f} GB are to be fetched, and {folder} has "
            f"{free_bytes / 1e9:.1f} GB left"
        )


@contextmanager
def _of_the_disk() -> Iterator[None]:
    """A block whose own OSErrors can only be the cache's, or a source's."""
    try:
        yield
    except OSError as error:
        raise WeightsMissing(f"weights can't be kept in {cache_folder()}: {error}") from error


@contextmanager
def _of_the_hub(repository: str) -> Iterator[None]:
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
        raise WeightsMissing(reason, final=True) from error
    except RepositoryNotFoundError as error:
        reason = f"the hub has no {repository}, or hides it from who has no HF_TOKEN for it"
        raise WeightsMissing(reason, final=True) from error
    except RevisionNotFoundError as error:
        raise WeightsMissing(f"{repository} has no such revision", final=True) from error
    except HFValidationError as error:
        reason = f"{repository} is no name of a repository of the hub"
        raise WeightsMissing(reason, final=True) from error
    # A RuntimeError is how its client for large files fails.
    except (HTTPError, OfflineModeIsEnabled, FileNotFoundError, RuntimeError) as error:
        first, *_ = str(error).splitlines() or [type(error).__name__]
        reason = f"{repository} is not here in full, and the hub does not help: {first}"
        raise WeightsMissing(reason, retryable=may_fetch()) from error
