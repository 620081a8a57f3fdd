"""A file's path in, a place to write out: whoever opens the path finds the old file whole, or the new one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """Give a name beside the path, to be written in the block; it takes the path's place when the block ends well."""
    beside = path.with_name(f".{path.name}")
    yield beside
    beside.replace(path)
