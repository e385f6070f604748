"""The Hugging Face hub: what a repository holds, and bytes of its files. The only module that touches the network.

It is imported by processes that were asked to fetch something, never by the engine's server or its workers. Environment
variables of huggingface_hub mean here what they mean everywhere: HF_TOKEN, HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE,
HF_HUB_DOWNLOAD_TIMEOUT, and those for proxies. Files are read in ranges of HTTP instead of by `hf_hub_download`, which
begins from nothing after an interruption and does not compare checksums.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
# Before the import: with telemetry, naming itself costs huggingface_hub a request to a list of programs.

import httpx2
import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

from fireside_engine import __version__
from fireside_engine.errors import (
    AccessDenied,
    FiresideError,
    InvalidRequest,
    ModelNotFound,
    NoConnection,
    Overloaded,
)
from fireside_engine.models import names
from fireside_engine.models.hub_file import CutOffError, Digest, HubFile, Listing, Reply, group

CONNECT_TIMEOUT = 15.0
SPAN = 16 * 1024**3
"""Bytes asked for at once: networks that deliver files for the hub end answers that are too large or too old."""

_RETRY = frozenset({408, 429, 500, 502, 503, 504})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Hub:
    """The hub that HF_ENDPOINT names. Errors are FiresideErrors in words."""

    def __init__(self) -> None:
        self._api = huggingface_hub.HfApi(library_name="fireside", library_version=__version__)

    @property
    def endpoint(self) -> str:
        return constants.ENDPOINT

    def listing(self, repo: str, revision: str | None = None) -> Listing:
        """The models of a repository, with sizes and checksums, at the commit that `revision` means now.

        Raises ModelNotFound, AccessDenied, NoConnection, Overloaded, InvalidRequest.
        """
        try:
            info = self._api.model_info(repo, revision=revision, files_metadata=True, timeout=CONNECT_TIMEOUT)
            files = [
                HubFile(sibling.rfilename, sibling.size, _digest(sibling.blob_id, sibling.lfs))
                for sibling in info.siblings or []
                if sibling.size is not None
            ]
            if not info.sha:
                raise ValueError("no commit")
        except (HFValidationError, httpx2.HTTPError, httpx2.InvalidURL, OfflineModeIsEnabled) as error:
            raise self._in_words(error, repo) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise NoConnection(
                f"Something else than a model hub answers at {self.endpoint}.",
                hint="A login page of the network or a proxy may be in the way; or HF_ENDPOINT is wrong.",
            ) from error
        licence = getattr(info.card_data, "license", None)
        return Listing(repo, info.sha, group(files), licence if isinstance(licence, str) else "")

    @contextmanager
    def open(self, repo: str, commit: str, file: HubFile, begin: int = 0, end: int | None = None) -> Iterator[Reply]:
        """Bytes `begin` to `end` of a file, or fewer: at most SPAN.

        Raises CutOffError when trying again may help, else as `listing` does.
        """
        end = min(file.size if end is None else end, begin + SPAN)
        url = huggingface_hub.hf_hub_url(repo, file.path, revision=commit)
        headers = build_hf_headers(library_name="fireside", library_version=__version__)
        # Compressed bytes could neither be counted nor continued.
        headers |= {"Accept-Encoding": "identity", "Range": f"bytes={begin}-{end - 1}"}
        limits = httpx2.Timeout(float(constants.HF_HUB_DOWNLOAD_TIMEOUT), connect=CONNECT_TIMEOUT)
        try:
            with huggingface_hub.get_session().stream("GET", url, headers=headers, timeout=limits) as response:
                if response.status_code in _RETRY:
                    raise CutOffError(_of_status(response, repo))
                hf_raise_for_status(response)
                first, last = _place(response, file)
                yield Reply(first, self._chunks(response, last - first, repo))
        except (HfHubHTTPError, httpx2.HTTPError, httpx2.InvalidURL, OfflineModeIsEnabled) as error:
            words = self._in_words(error, repo)
            if isinstance(error, httpx2.TransportError) and isinstance(words, NoConnection):
                raise CutOffError(words) from error
            raise words from error

    def _chunks(self, response: httpx2.Response, expected: int, repo: str) -> Iterator[bytes]:
        count = 0
        try:
            for chunk in response.iter_raw():
                count += len(chunk)
                yield chunk
        except httpx2.TransportError as error:
            raise CutOffError(self._in_words(error, repo)) from error
        if count < expected:
            raise CutOffError(NoConnection("The server ended its answer early."))

    def _in_words(self, error: Exception, repo: str) -> FiresideError:
        page = f"{self.endpoint}/{repo}"
        match error:
            case OfflineModeIsEnabled():
                return NoConnection(
                    f"HF_HUB_OFFLINE is set, so {repo} is not asked for.",
                    hint="Unset it, or use a model that is on this machine: `fireside models` lists those.",
                )
            case HFValidationError() | httpx2.InvalidURL() | httpx2.UnsupportedProtocol():
                return InvalidRequest(
                    f"{page} is no address of a model repository.",
                    hint="Write it as hf:OWNER/NAME; if HF_ENDPOINT is set, it must be an address with https://.",
                )
            case GatedRepoError():
                return AccessDenied(
                    f"{repo} is only for those who accepted its terms.",
                    hint=f"Accept them at {page}, signed in; then {_about_token('has that right')}",
                )
            case RevisionNotFoundError():
                return ModelNotFound(f"{repo} has no such version.", hint=f"See {page}/commits/main.", model=repo)
            case EntryNotFoundError():
                return ModelNotFound(f"{repo} does not have the file any more.", hint=f"See {page}.", model=repo)
            case RepositoryNotFoundError():
                return ModelNotFound(
                    f"The hub has no model repository {repo}, or does not show it to you.",
                    hint=f"Check the name at {page}. If it is private, {_about_token('may read it')}",
                    model=repo,
                )
            case HfHubHTTPError():
                return _of_status(error.response, repo)
        reason = str(error).strip() or type(error).__name__
        return NoConnection(
            f"{self.endpoint} cannot be reached: {names.clean(reason)}.",
            hint="Check the connection, and HTTPS_PROXY if there is a proxy. What was fetched is kept: the same "
            "command continues.",
        )


def _of_status(response: httpx2.Response, repo: str) -> FiresideError:
    """An error for an HTTP status that no class of huggingface_hub stands for."""
    status = response.status_code
    if status in (401, 403):
        said = names.clean(response.headers.get("X-Error-Message", ""))
        return AccessDenied(
            f"The hub refuses access to {repo}{f': {said}' if said else ''}.",
            hint=f"To get it, {_about_token('is valid for it')}",
        )
    if status == 429:
        wait = response.headers.get("Retry-After", "")
        return Overloaded(
            "The hub takes no more requests from this address for now.",
            hint="Wait some minutes, or give a token (HF_TOKEN): with one, more are allowed.",
            retry_after=int(wait) if wait.isdigit() else 10,
        )
    return NoConnection(f"The hub answers with an error ({status}).", hint="Try again later: what was fetched is kept.")


def _about_token(that: str) -> str:
    """What to do about the token, which depends on whether there is one."""
    if huggingface_hub.get_token():
        return f"see that your token (HF_TOKEN, or that of `hf auth login`) {that}."
    return "give a token: `hf auth login`, or HF_TOKEN=… before the command."


def _digest(blob: str | None, lfs: object) -> Digest | None:
    sha256 = getattr(lfs, "sha256", None)
    if isinstance(sha256, str) and _SHA256.fullmatch(sha256):
        return Digest("sha256", sha256)
    return Digest("git", blob) if blob and not lfs else None


def _place(response: httpx2.Response, file: HubFile) -> tuple[int, int]:
    """(begin, end) in the file of the bytes that come. Raises CutOffError when they are of something else."""
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if response.status_code == 206 and found:
        first, last, total = (int(number) for number in found.groups())
    else:
        length = response.headers.get("Content-Length", "")
        first, last, total = 0, file.size - 1, int(length) if length.isdigit() else file.size
    if total != file.size:
        raise CutOffError(
            NoConnection(
                f"The server gives {total} bytes for {names.clean(file.name)}, which has {file.size}.",
                hint="A login page of the network or a proxy may be in the way.",
            )
        )
    return first, last + 1
