"""Defines the messages between the sandboxed decoder and its processes: a length, then JSON; raw pixels may follow."""

import json
from typing import Any

MAX_FRAME_BYTES = 2**16
LENGTH_BYTES = 4
# How a reply ends. Pixels follow `done` only, and only if the reply has a `shape`.
READY, DONE, REFUSED, OUT_OF_MEMORY = "ready", "done", "refused", "out of memory"


def framed(message: dict[str, Any]) -> bytes:
    """Turn a message into bytes: its length, then its JSON."""
    body = json.dumps(message).encode()
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def unframed(body: bytes) -> dict[str, Any]:
    """Turn JSON into a message.

    Raises:
        ValueError: It is not a JSON object.
    """
    try:
        message = json.loads(body)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(message, dict):
        raise ValueError("not a JSON object")
    return message
