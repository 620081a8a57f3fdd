"""What passes between the door and its decoding process: frames of a length and JSON, pixels behind them as raw bytes."""

import json
from typing import Any

MAX_FRAME_BYTES = 2**16
LENGTH_BYTES = 4
# A reply's first word. Only `done` is followed by pixels, and only where its `shape` says so.
READY, DONE, REFUSED, OUT_OF_MEMORY = "ready", "done", "refused", "out of memory"


def framed(message: dict[str, Any]) -> bytes:
    """Turn a message into its frame."""
    body = json.dumps(message).encode()
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def unframed(body: bytes) -> dict[str, Any]:
    """Turn a frame's body into its message: JSON, so that nothing in it can run.

    Raises:
        ValueError: It is no JSON object.
    """
    try:
        message = json.loads(body)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(message, dict):
        raise ValueError("no JSON object")
    return message
