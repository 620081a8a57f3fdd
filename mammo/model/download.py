"""Downloads a weight file to the cache and returns its path; a download that was cut continues where it stopped."""

import errno
import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import IO

from mammo.errors import WeightsError
from mammo.files import flush_folder, locked, read_json, write_text
from mammo.model.tensors import sha256_of
from mammo.progress import track

BLOCK_BYTES = 1 << 20
TIMEOUT_S = 30
TRIES = 4
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def default_cache() -> Path:
    """Return the folder of downloaded weights: the environment's MAMMO_CACHE, else `~/.cache/mammo/weights`.

    Raises:
        WeightsError: This user has no home, as some in containers.
    """
    if named := os.environ.get("MAMMO_CACHE"):
        return Path(named)
    try:
        return Path.home() / ".cache" / "mammo" / "weights"
    except RuntimeError:
        advice = "set MAMMO_CACHE to a folder for them, or HOME"
        raise WeightsError(f"this user has no home folder to keep weights in; {advice}") from None


def fetch(url: str, *, cache: Path | None = None, sha256: str | None = None) -> Path:
    """Download a file once; later calls find it in the cache, and wait for another process that downloads it.

    What a cut download has fetched is kept as `.part`, and the next continues there, unless the server has another
    file by now. The request says so by the ETag or date that the server gave before, which is kept as `.part.of`. If it
    gave none, the download continues only with a `sha256`, and else begins anew.

    Args:
        url: An http or https address.
        cache: The folder to keep it in; None is `default_cache()`.
        sha256: What its hash must be; None does not check.

    Raises:
        WeightsError: There is no way to the address, the server refuses, the disk is full, or the hash is another
            one. The message says where a file fetched by other means belongs.
    """
    folder = cache if cache is not None else default_cache()
    target = folder / Path(urllib.parse.urlparse(url).path).name
    if target.exists() or not _download(url, target, sha256):
        _check(target, sha256, url, remove=False)
    return target


def _download(url: str, target: Path, sha256: str | None) -> bool:
    """Download a file, in as many tries as the connection needs; False where another process did so meanwhile."""
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.with_name(f".{target.name}.lock"), doing=f"{target}: is being downloaded", wait=True):
            if target.exists():
                return False
            for _ in range(TRIES):
                if _continue(url, part, checked=sha256 is not None):
                    break
            else:
                why = f"the connection was cut {TRIES} times; what came is kept, run again to go on"
                raise _error(url, target, why)
            _check(part, sha256, url, remove=True)
            os.replace(part, target)
            _note(part).unlink(missing_ok=True)
            flush_folder(target.parent)
            return True
    except urllib.error.HTTPError as error:
        raise _error(url, target, f"the server answered {error.code} {error.reason}") from error
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise _error(url, target, str(getattr(error, "reason", error))) from error
    except OSError as error:
        full = "the disk is full; free space and run again, what came is kept"
        raise _error(url, target, full if error.errno in NO_ROOM else error.strerror or str(error)) from error


def _continue(url: str, part: Path, *, checked: bool) -> bool:
    """Request what is missing and append it; True when the file is whole."""
    version = _noted(part, url)
    have = part.stat().st_size if part.exists() and (version or checked) else 0
    headers = ({"Range": f"bytes={have}-"} | ({"If-Range": version} if version else {})) if have else {}
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        # RFC 9110, 15.5.17: the length of what the server has.
        is_whole = error.headers.get("Content-Range") == f"bytes */{have}" and _is_same(error.headers, version)
        if not is_whole:
            part.unlink()  # of another file
        return is_whole
    with answer:
        continued = have > 0 and answer.status == 206
        asked_for = answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        resumed = continued and asked_for and _is_same(answer.headers, version)
        if continued and not resumed:
            part.unlink()  # another stretch than asked for, or of another file: begin anew
            return False
        length = answer.headers.get("Content-Length", "")
        total = (have if resumed else 0) + int(length) if length.isdigit() else None
        if not resumed:
            part.unlink(missing_ok=True)
            write_text(_note(part), json.dumps({"url": url, "version": _version(answer.headers)}))
        with part.open("ab") as file:
            _save(answer, file, total, part.name.removesuffix(".part"))
    return total is None or part.stat().st_size == total


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.of")


def _noted(part: Path, url: str) -> str | None:
    """Return what the server called the file's version when the part was begun; None if that is unknown."""
    try:
        found = read_json(_note(part))
    except (OSError, ValueError):
        return None
    version = found.get("version")
    is_usable = isinstance(version, str) and version.isascii() and version.isprintable()
    return version if is_usable and found.get("url") == url else None


def _version(headers: Message) -> str | None:
    """Return what If-Range may have as its value (RFC 9110, 13.1.5): an ETag that is not weak, or else a date."""
    etag = headers.get("ETag", "")
    return etag if etag.startswith('"') else headers.get("Last-Modified")


def _is_same(headers: Message, version: str | None) -> bool:
    """Whether an answer is of the same file as the part, as far as either says."""
    return version is None or _version(headers) in (version, None)


def _save(answer: IO[bytes], file: IO[bytes], total: int | None, name: str) -> None:
    done = file.tell()
    left = -(-(total - done) // BLOCK_BYTES) if total is not None else 0
    blocks = _blocks(answer)
    for block in track(blocks, left, f"downloading {name} (MiB)") if left > 1 else blocks:
        file.write(block)
    file.flush()
    os.fsync(file.fileno())


def _blocks(answer: IO[bytes]) -> Iterator[bytes]:
    try:
        while block := answer.read(BLOCK_BYTES):
            yield block
    except (http.client.IncompleteRead, ConnectionError, TimeoutError):
        return  # cut: the length shows it, and the next try continues from here


def _check(path: Path, sha256: str | None, url: str, *, remove: bool) -> None:
    if sha256 is None or (got := sha256_of(path)) == sha256:
        return
    if remove:
        path.unlink()
        _note(path).unlink(missing_ok=True)
    todo = "it was removed; try again or correct the hash" if remove else "remove it, or correct the hash"
    raise WeightsError(f"{path}: expected SHA-256 {sha256}, got {got}, for {url}; {todo}")


def _error(url: str, target: Path, why: str) -> WeightsError:
    return WeightsError(f"{url}: cannot be downloaded ({why}); download it by other means and put it at {target}")
