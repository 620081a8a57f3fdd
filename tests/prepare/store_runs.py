"""Stores of the tiny set, and `prepare` of it in a process of its own, for tests that kill, damage and fill."""

import os
import subprocess
import sys
from pathlib import Path

from mammo.images.preprocess import PreprocessSettings
from mammo.prepare.gather import gather_split, requests_of
from mammo.prepare.records import StoreRequest
from mammo.prepare.store import Entry, Store
from mammo.settings.schema import Settings
from tests.tiny import tiny_settings, write_films

ROOT = Path(__file__).resolve().parents[2]
SIZE = (160, 160)
LESION = PreprocessSettings(task="lesion", image_size=SIZE, context=2.0, margin=1.3, intensity="percentile")
PREPARE = f"""
import encodings.utf_8_sig, logging, os, sys
from pathlib import Path
logging.basicConfig(format="%(message)s", stream=sys.stdout, level=logging.INFO)
from mammo.commands.shared import run
from mammo.prepare.gather import gather_split, prepare_split
from tests.tiny import tiny_settings
from PIL import Image
Image.init()
if len(sys.argv) > 3:  # become another user, who may not be able to import anything more
    os.setgid(int(sys.argv[3]))
    os.setuid(int(sys.argv[3]))
folder, workers = Path(sys.argv[1]), int(sys.argv[2])
settings = tiny_settings(folder, data__image_size={list(SIZE)}, data__prepare_workers=workers)
run(lambda: print("prepared", len(prepare_split(settings, gather_split(settings)).entries)))
"""


def start(folder: Path, *, workers: int = 1, user: int | None = None, **how: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PREPARE, str(folder), str(workers), *([] if user is None else [str(user)])]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JOBLIB_TEMP_FOLDER": str(folder)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=environment, text=True, **(pipes | how))  # type: ignore[call-overload]


def settings_of(folder: Path) -> Settings:
    return tiny_settings(folder, data__image_size=list(SIZE))


def store_of(folder: Path) -> Store:
    return Store(folder / "output" / "store", LESION)


def filled(folder: Path, *, patients: int = 6) -> tuple[Store, dict[StoreRequest, Entry]]:
    write_films(folder, patients=patients)
    store = store_of(folder)
    entries, failures = store.fill(requests_of(gather_split(settings_of(folder)).samples), workers=1)
    assert failures == {}
    return store, dict(entries)


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 0x10
    path.write_bytes(content)


def lines_of(folder: Path) -> int:
    try:
        return (folder / "output" / "store" / LESION.key / "index.jsonl").read_bytes().count(b"\n")
    except OSError:
        return 0


def hidden_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob(".*") if not path.name.startswith(".lock"))
