"""Ids of patients and UIDs enter; new ones leave: the same for the same id and key, and without the key no guess can be checked."""

import base64
import hmac
import os
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from mammo.errors import SettingsError

KEY_BYTES = 32
MOST_KEY_BYTES = 2**20


@dataclass(frozen=True)
class Pseudonyms:
    """Pseudonyms under one key; blanks and null bytes around an id do not count."""

    key: bytes = field(repr=False)

    def uid(self, old: str) -> str:
        """A UID below 2.25 (PS3.5 B.2) in place of the source's."""
        return f"2.25.{uuid.UUID(bytes=self._digest('uid', old)[:16], version=4).int}"

    def patient(self, old: str) -> str:
        """`M-` and ten letters or digits (50 bits) in place of a PatientID."""
        return "M-" + base64.b32encode(self._digest("patient", old)).decode()[:10]

    def _digest(self, kind: str, old: str) -> bytes:
        return hmac.digest(self.key, f"{kind}:{old.strip(' ' + chr(0))}".encode("utf-8", "surrogatepass"), "sha256")


def pseudonyms_of(path: Path | None) -> Pseudonyms:
    """Read the key file, or make it, for its owner only; without a path, take a key that ends with the process.

    Raises:
        SettingsError: The file is no key.
        OSError: It cannot be read or made.
    """
    key = os.urandom(KEY_BYTES)
    if path is None:
        return Pseudonyms(key)
    try:
        write_private(path, key)
    except FileExistsError:
        key = path.read_bytes() if path.is_file() and path.stat().st_size <= MOST_KEY_BYTES else b""
    if len(key) < KEY_BYTES:
        raise SettingsError(
            f"{path}: expected a key file of at least {KEY_BYTES} bytes; name a file that is not there yet to make one"
        )
    return Pseudonyms(key)


def write_private(path: Path, content: bytes) -> None:
    """Make a new file that only its owner may read.

    Raises:
        FileExistsError: There is one already.
        OSError: It cannot be written.
    """
    with open_private(path) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def open_private(path: Path) -> BinaryIO:
    """Open a new file that only its owner may read, for writing.

    Raises:
        FileExistsError: There is one already.
        OSError: It cannot be made.
    """
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
