"""The commands in odd places: any names of folders and files, other locales, Windows' files, a clock set back."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from mammo.runs import run_fingerprint
from tests.processes import call, command, kill, only_run, settings_file, start
from tests.tiny import SETTINGS, write_films

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
NAME = "films 乳腺\nof 'two' lines"
MANIFEST, CONFIG, FILM = "清单 1.csv", "配置.yaml", "片 00_CC.png"
LATER = 2_540_000_000  # in 2050

# Run in the locale that is tried, so that all names are written as that locale writes them.
MAKE = f"""
import os, sys
from pathlib import Path
import yaml
from tests.tiny import write_films
folder, plain = Path({NAME!r}), Path("plain")
folder.mkdir(), plain.mkdir()
write_films(plain)
for film in plain.glob("*.png"):
    film.rename(folder / ("片 " + film.name))
head, *rows = (plain / "manifest.csv").read_text(encoding="utf-8").splitlines()
text = "\\r\\n".join([head, *("片 " + row for row in rows)]) + "\\r\\n"
(folder / {MANIFEST!r}).write_bytes(b"\\xef\\xbb\\xbf" + text.encode())
settings = Path("settings.yaml").read_text(encoding="utf-8").replace("\\n", "\\r\\n")
(folder / {CONFIG!r}).write_bytes(b"\\xef\\xbb\\xbf" + settings.encode())
"""
UTF8 = {"LC_ALL": "C.UTF-8"}


@dataclass(frozen=True)
class Place:
    """A folder of films, and the locale that its commands run in; `folder` is bytes: it may be no text elsewhere.

    `names` is the encoding of files' names, `prints` that of the terminal.
    """

    folder: bytes
    names: str
    prints: str
    environment: dict[str, str]

    def call(self, tool: str, *options: str) -> str:
        """What a command prints; it must end well and say nothing else."""
        line = [sys.executable, ROOT / "tools" / f"{tool}.py", *(option.encode(self.names) for option in options)]
        done = subprocess.run(
            line, capture_output=True, cwd=self.folder, env=self.environment, timeout=300, check=False
        )
        assert done.stderr.decode(self.prints, "backslashreplace") == ""
        assert done.returncode == 0
        return done.stdout.decode(self.prints)  # strict: what the terminal cannot show would raise here

    def results(self) -> tuple[str, str, dict]:
        """Scores, split and judgement of the newest run, without its name."""
        run = os.path.realpath(os.path.join(self.folder, b"output", b"latest"))
        name = os.path.basename(run).decode()

        def text(*parts: bytes) -> str:
            with open(os.path.join(run, *parts), encoding="utf-8") as file:
                return file.read().replace(name, "")

        return text(b"scores_test.csv"), text(b"split.csv"), json.loads(text(b"report", b"metrics.json"))


def make_place(
    base: Path,
    locale: dict[str, str],
    *,
    made_in: dict[str, str] | None = None,
    names: str = "utf-8",
    prints: str = "utf-8",
) -> Place:
    base.mkdir()
    values = yaml.safe_load(yaml.safe_dump(SETTINGS))
    values["data"]["manifest"] = MANIFEST
    values["training"]["epochs"] = 1
    values["evaluation"] = {"resamples": 100}
    (base / "settings.yaml").write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    (base / "make.py").write_text(MAKE, encoding="utf-8")
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "PYTHON"))}
    clean |= {"PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    subprocess.run([sys.executable, "make.py"], cwd=base, env=clean | (made_in or locale), check=True)
    (folder,) = (entry.path for entry in os.scandir(os.fsencode(base)) if entry.name.startswith(b"films"))
    return Place(folder, names, prints, clean | locale)


def gb18030(base: Path) -> dict[str, str] | None:
    """The locale zh_CN.GB18030, made here where the system has what it takes."""
    if shutil.which("localedef") is None:
        return None
    base.mkdir()
    line = ["localedef", "-f", "GB18030", "-i", "zh_CN", str(base / "zh_CN.GB18030")]
    made = subprocess.run(line, capture_output=True, check=False)
    return {"LC_ALL": "zh_CN.GB18030", "LOCPATH": str(base)} if made.returncode == 0 else None


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The same films under UTF-8, trained once."""
    place = make_place(tmp_path_factory.mktemp("utf8") / "a b", UTF8)
    place.call("train", "-c", CONFIG)
    return place


def try_all(place: Place) -> tuple[str, str]:
    """Audit, train, judge and predict; what the last two print."""
    audited = place.call("audit", "-c", CONFIG)
    assert "left out: nothing" in audited
    assert "配置" in place.call("train", "-c", CONFIG)
    judged = place.call("eval")
    predicted = place.call("predict", FILM, "--box", "30,30,16,16")
    assert predicted.splitlines()[1].startswith(f"{FILM}: probability of malignancy 0.")
    return judged, predicted


def test_spaces_chinese_newlines_windows_ends_and_bom_work(place: Place) -> None:
    judged, predicted = try_all(place)
    assert "films 乳腺" in judged
    scores, split, metrics = place.results()
    assert scores.count("片 ") == metrics["levels"]["image"]["n"] == 8
    assert split.count("\n") == 49
    assert predicted.count(FILM) == 1


def test_the_plain_c_locale_gives_the_same(place: Place, tmp_path: Path) -> None:
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    other = make_place(tmp_path / "c", ascii_only, made_in=UTF8)
    try_all(other)
    assert other.results() == place.results()


def test_a_chinese_locale_gives_the_same(place: Place, tmp_path: Path) -> None:
    locale = gb18030(tmp_path / "locales")
    if locale:
        other = make_place(tmp_path / "zh", locale, names="gb18030", prints="gb18030")
        assert "乳腺".encode("gb18030") in other.folder
    else:
        other = make_place(tmp_path / "zh", UTF8 | {"PYTHONIOENCODING": "gb18030"}, prints="gb18030")
    judged, _ = try_all(other)
    assert "films 乳腺" in judged
    assert other.results() == place.results()


def set_times(folder: Path, when: int) -> None:
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (when, when), follow_symlinks=False)


@pytest.fixture
def ahead(tmp_path: Path) -> Path:
    """Films, a store and a run made while the clock stood in 2050."""
    write_films(tmp_path)
    done = call(command("train", "-c", settings_file(tmp_path, "clock", training__epochs=1)))
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path, "clock")
    run.rename(run.with_name("2050-06-28_00-00-00"))
    latest = tmp_path / "clock" / "latest"
    latest.unlink()
    latest.symlink_to(Path("clock") / "2050-06-28_00-00-00", target_is_directory=True)
    set_times(tmp_path, LATER)
    return tmp_path


def test_after_the_clock_was_set_back_the_new_run_is_the_newest(ahead: Path) -> None:
    settings = settings_file(ahead, "clock", training__epochs=1)
    before = {path: path.stat().st_ino for path in (ahead / "store").rglob("*.npy")}
    done = call(command("train", "-c", settings))
    assert done.returncode == 0, done.stderr
    assert "preparing" not in done.stdout  # neither rebuilt nor misread
    assert {path: path.stat().st_ino for path in (ahead / "store").rglob("*.npy")} == before
    newest = (ahead / "clock" / "latest").resolve()
    assert newest.name != "2050-06-28_00-00-00"
    assert f"{newest.name}/report/index.html" in done.stdout
    judged = call(command("eval", "--output", ahead / "clock"))
    assert judged.returncode == 0, judged.stderr
    assert f"{newest.name}/report/metrics.json" in judged.stdout
    old = (ahead / "clock" / "clock" / "2050-06-28_00-00-00" / "scores_test.csv").read_text(encoding="utf-8")
    renamed = (newest / "scores_test.csv").read_text(encoding="utf-8").replace(newest.name, "")
    assert [line.split(",")[:6] for line in renamed.splitlines()] == [line.split(",")[:6] for line in old.splitlines()]


def test_a_run_begun_in_2050_goes_on_today(ahead: Path) -> None:
    whole = call(command("train", "-c", settings_file(ahead, "whole")))
    assert whole.returncode == 0, whole.stderr
    first = start(command("train", "-c", settings_file(ahead, "killed")))
    kill(first, lambda: any((ahead / "killed" / "killed").glob("2*/checkpoints/last/state.json")))
    set_times(ahead, LATER)
    done = call(command("train", "--resume", only_run(ahead, "killed")))
    assert done.returncode == 0, done.stderr
    assert run_fingerprint(only_run(ahead, "killed")) == run_fingerprint(only_run(ahead, "whole"))
