"""Makes pseudonyms: the same id and key give the same new id; nobody without the key can check a guess."""

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
    """Pseudonyms under one key; blanks and null bytes around an id are ignored."""

    key: bytes = field(repr=False)

    def uid(self, old: str) -> str:
        """Return a UID below 2.25 (PS3.5 B.2) in place of the source's UID."""
        return f"2.25.{uuid.UUID(bytes=self._digest('uid', old)[:16], version=4).int}"

    def patient(self, old: str) -> str:
        """Return `M-` and ten letters or digits (50 bits) in place of a PatientID."""
        return "M-" + base64.b32encode(self._digest("patient", old)).decode()[:10]

    def _digest(self, kind: str, old: str) -> bytes:
        return hmac.digest(self.key, f"{kind}:{old.strip(' ' + chr(0))}".encode("utf-8", "surrogatepass"), "sha256")


def pseudonyms_of(path: Path | None) -> Pseudonyms:
    """Read the key file, or create it for its owner only; without a path, use a key that is never saved.

    Raises:
        SettingsError: The file is not a key.
        OSError: It cannot be read or created.
    """
    key = os.urandom(KEY_BYTES)
    if path is None:
        return Pseudonyms(key)
    try:
        with open_private(path) as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        key = path.read_bytes() if path.is_file() and path.stat().st_size <= MOST_KEY_BYTES else b""
    if len(key) < KEY_BYTES:
        raise SettingsError(
            f"{path}: expected a key file of at least {KEY_BYTES} bytes; to create one, name a file that does not exist"
        )
    return Pseudonyms(key)


def open_private(path: Path) -> BinaryIO:
    """Create a file that only its owner may read, and open it for writing.

    Raises:
        FileExistsError: The file exists already.
        OSError: It cannot be created.
    """
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
