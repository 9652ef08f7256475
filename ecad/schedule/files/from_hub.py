"""A file of a model hub's repository, by huggingface_hub: with its cache, its tokens and its settings."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from urllib.parse import unquote

from ecad.errors import ScheduleError, all_lines, one_line
from ecad.hub import endpoint, why_away

_LOGGER = logging.getLogger("ecad")
_FORM = "hf://owner/name/PATH, or hf://owner/name@REVISION/PATH"
_KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}
_LOG_IN = "log in (hf auth login, or HF_TOKEN)"


class HubFile(NamedTuple):
    """Where a file is. `kind` is the hub's: "model", "dataset" or "space"; no revision is the main branch."""

    repository: str
    path: str
    revision: str | None
    kind: str

    def __str__(self) -> str:
        prefix = "" if self.kind == "model" else f"{self.kind}s/"
        revision = "" if self.revision is None else f"@{self.revision}"
        return f"hf://{prefix}{self.repository}{revision}/{self.path}"


def parse_hub_address(rest: str) -> HubFile:
    """What stands behind `hf://`; ScheduleError if it is not of that form.

    As elsewhere, `datasets/` and `spaces/` may come first, and a slash in a revision is %2F but in refs/pr/N.
    """
    parts = rest.split("/")
    kind = _KINDS[parts.pop(0)] if parts[0] in _KINDS else "model"
    if "#" in rest or "?" in rest:
        _refuse(
            rest, "there is nothing behind a # or ? here; to pin the content, name a commit as the REVISION"
        )
    if len(parts) < 3 or not all(parts):
        _refuse(rest, "owner, name and PATH are needed")
    owner, named, *path = parts
    name, at, revision = named.partition("@")
    if revision == "refs" and len(path) > 2:
        revision = "/".join([revision, *path[:2]])
        path = path[2:]
    if not name or (at and not revision):
        _refuse(rest, "a name stands before the @ and a revision behind it")
    if any(part in (".", "..") for part in path) or "\\" in rest:
        _refuse(rest, "the path cannot lead out of the repository")
    return HubFile(f"{owner}/{name}", "/".join(map(unquote, path)), unquote(revision) or None, kind)


def _refuse(rest: str, why: str) -> NoReturn:
    raise ScheduleError(one_line(f"cannot read {f'hf://{rest}'[:100]!r}: {why}; the form is {_FORM}"))


def hub_file(rest: str, most_bytes: int) -> bytes:
    """The content of the file behind `hf://`, downloaded or from the hub's cache; its size is known before.

    Without network, permission or hub the copy in the cache is used, as huggingface_hub does.
    """
    place = parse_hub_address(rest)
    path = _cached(place, most_bytes) if _is_commit(place.revision) else None
    try:
        return (path or _download(place, most_bytes)).read_bytes()
    except OSError as error:
        raise _failed(place, f"cannot read the hub's cache: {error.strerror}") from None


def _is_commit(revision: str | None) -> bool:
    """Whether this can only ever be one content, so that a copy of it needs no question to the hub."""
    return revision is not None and len(revision) == 40 and not revision.strip("0123456789abcdef")


def _failed(place: HubFile, why: object) -> ScheduleError:
    return ScheduleError(one_line(f"{place}: {why}"))


def _arguments(place: HubFile) -> dict[str, Any]:
    return {
        "repo_id": place.repository,
        "filename": place.path,
        "repo_type": place.kind,
        "revision": place.revision,
    }


def _download(place: HubFile, most_bytes: int) -> Path:
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError, RevisionNotFoundError

    arguments = {**_arguments(place), "endpoint": endpoint()}
    try:
        if not constants.HF_HUB_OFFLINE and (why := why_away()) is not None:
            raise ConnectionError(why)
        size = get_hf_file_metadata(hf_hub_url(**arguments)).size
    except HFValidationError as error:
        raise _failed(place, error) from None
    except RevisionNotFoundError:
        raise _failed(
            place,
            f"{place.repository} has no revision {place.revision or 'main'!r}: name a branch, tag or commit",
        ) from None
    except EntryNotFoundError:
        behind = (
            "; a revision stands behind the name: hf://owner/name@REVISION/PATH" if "@" in place.path else ""
        )
        raise _failed(
            place,
            f"{place.repository} has no file {place.path!r} at {place.revision or 'main'!r}: look at "
            f"{_page(place)}/tree/{place.revision or 'main'}{behind}",
        ) from None
    except Exception as error:  # many, without a common base: no network, no permission, offline
        cached = _cached(place, most_bytes)
        if cached is None:
            raise _failed(place, _reason(place, error)) from None
        _LOGGER.info("%s is read from the cache: %s", place, _reason(place, error))
        return cached
    if size is None or size > most_bytes:
        said = "does not say how large it is" if size is None else f"says that it has {size / 1e6:.1f} MB"
        raise _failed(
            place,
            f"the hub {said}; a schedule has at most {most_bytes / 1e6:g} MB, so nothing was downloaded",
        )
    try:
        return Path(hf_hub_download(**arguments, library_name="ecad"))
    except Exception as error:  # as many, and a full disk
        raise ScheduleError(
            one_line(f"{place}: the download failed ({all_lines(error)}): try again")
        ) from None


def _cached(place: HubFile, most_bytes: int) -> Path | None:
    """The copy in the cache; None if there is none (or one that cannot be a schedule)."""
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(**_arguments(place))
    except ValueError:  # not a repository's name: said when it is asked for
        return None
    path = Path(found) if isinstance(found, str) else None
    return path if path is not None and path.stat().st_size <= most_bytes else None


def _page(place: HubFile) -> str:
    """Where people look at the repository."""
    prefix = "" if place.kind == "model" else f"{place.kind}s/"
    return f"{endpoint()}/{prefix}{place.repository}"


def _reason(place: HubFile, error: Exception) -> str:
    """Why the hub could not be asked, and what to do."""
    from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):
        return f"its owner grants access on request: ask for it at {_page(place)}, and {_LOG_IN}"
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"there is no {place.kind} repository {place.repository}, or no permission to read it: check the name, or "
            f"{_LOG_IN}"
        )
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, and the file is not in the cache: read it once without"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return f"no permission (HTTP {status}): check your token, or {_LOG_IN}"
    if status is not None:
        return f"the hub answers HTTP {status}, and the file is not in the cache: try again later"
    why = (
        str(error)
        if isinstance(error, ConnectionError)
        else f"cannot reach {_page(place)} ({all_lines(error)})"
    )
    return f"{why}, and the file is not in the cache: check the network"
