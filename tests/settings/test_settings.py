"""Settings: what is refused and with which message; every file in configs/ is valid."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mammo.errors import SettingsError
from mammo.settings.load import check_settings, dump_settings, load_settings
from mammo.settings.schema import Settings

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_config_is_valid_and_survives_printing(path: Path, tmp_path: Path) -> None:
    settings = load_settings(path)
    printed = tmp_path / "printed.yaml"
    printed.write_text(dump_settings(settings), encoding="utf-8")
    assert load_settings(printed) == settings


def test_six_configs_are_there() -> None:
    names = {path.stem for path in CONFIGS}
    ours = {
        "quickstart",
        "resnet50_vd",
        "resnet50_vd_image",
        "resnet50_vd_two_view",
        "mobilenet_lesion",
        "mobilenet_lesion_quick",
    }
    assert ours <= names


def test_all_faults_come_together_with_the_nearest_key(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("training:\n  epoch: 3\n  batch_size: many\nmodel:\n  dropout: 2\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"3 errors") as caught:
        load_settings(path)
    message = str(caught.value)
    assert "unknown key training.epoch; did you mean training.epochs?" in message
    assert "training.batch_size" in message
    assert "model.dropout" in message
    assert "\n" not in message


def test_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text("seed: 1\ntraining: {epochs: 2}\nseed: 2\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="key seed is duplicated"):
        load_settings(path)


def test_override_value_may_hold_an_equals_sign() -> None:
    settings = load_settings(None, ["evaluation.operating_point=recall>=0.95", "output=a=b"])
    assert settings.evaluation.operating_point == "recall>=0.95"
    assert settings.output == Path("a=b")


def test_override_is_typed_by_yaml() -> None:
    settings = load_settings(None, ["data.image_size=[96, 64]", "training.epochs=3", "training.log_histograms=true"])
    assert settings.data.image_size == (96, 64)
    assert settings.training.epochs == 3
    assert settings.training.log_histograms is True


@pytest.mark.parametrize(
    "override", ["training.epochs", "=3", "training.epochs=[", "training.epochs=0", "data.split=random"]
)
def test_bad_override_is_refused(override: str) -> None:
    with pytest.raises(SettingsError, match=r"expected|YAML|greater|should be"):
        load_settings(None, [override])


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no such settings file"):
        load_settings(tmp_path / "none.yaml")


def test_fractions_must_sum_to_one() -> None:
    with pytest.raises(SettingsError, match="fractions must sum to 1"):
        check_settings({"data": {"fractions": [0.5, 0.1, 0.1]}}, "here")


@pytest.mark.parametrize("until", [(3, 2), (2, 2)])
def test_smaller_images_grow_from_step_to_step(until: tuple[int, int]) -> None:
    smaller = [{"factor": 0.5, "until_epoch": epoch} for epoch in until]
    with pytest.raises(SettingsError, match="smaller: until_epoch must rise"):
        check_settings({"training": {"epochs": 4, "smaller": smaller}}, "here")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    )
)
def test_any_yaml_ends_in_settings_or_one_line(values: object) -> None:
    if not isinstance(values, dict):
        values = {"training": values}
    try:
        assert isinstance(check_settings(values, "here"), Settings)
    except SettingsError as error:
        assert "\n" not in " ".join(str(error).split())


def run_python(code: str, **environment: str) -> str:
    own = {key: value for key, value in os.environ.items() if key not in {"OMP_NUM_THREADS", "MKL_DEBUG_CPU_TYPE"}}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=own | environment, cwd=ROOT
    )
    return done.stdout.strip()


def test_threads_follow_the_affinity_mask() -> None:
    pin = "import os; os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[0]}); "
    code = pin + "import mammo.runtime; print(os.environ['OMP_NUM_THREADS'])"
    assert run_python(code) == "1"


def test_users_own_thread_count_wins() -> None:
    assert run_python("import os, mammo.runtime; print(os.environ['OMP_NUM_THREADS'])", OMP_NUM_THREADS="7") == "7"


def test_scikit_learn_after_paddle_does_not_end_in_a_crash() -> None:
    code = "from mammo.runtime import paddle; import sklearn.linear_model, albumentations, cv2; "
    assert run_python(code + "print(int(paddle.ones([2]).sum()))") == "2"


def test_training_loads_no_statistics_and_no_plots_before_it_needs_them() -> None:
    code = "import mammo.training.folds, sys; late = ('sklearn', 'scipy.stats', 'matplotlib'); "
    assert run_python(code + "print([name for name in late if name in sys.modules])") == "[]"


def test_help_needs_no_paddle() -> None:
    code = "import runpy, sys\nsys.argv = ['train.py', '--help']\n"
    code += "try:\n    runpy.run_path('tools/train.py', run_name='__main__')\n"
    assert run_python(code + "except SystemExit:\n    print('paddle' in sys.modules)").endswith("False")


@pytest.mark.parametrize(
    ("raised", "code", "told"), [("Stopped(15)", 143, "SIGTERM"), ("KeyboardInterrupt", 130, "the keyboard")]
)
def test_a_stop_while_a_class_is_made_is_one_line(raised: str, code: int, told: str) -> None:
    """As an import makes them; Python 3.11 wraps what is raised there in a RuntimeError."""
    script = f"""
from mammo.commands.shared import run
from mammo.errors import Stopped

class Member:
    def __set_name__(self, owner, name):
        raise {raised}

run(lambda: type("Made", (), {{"member": Member()}}) and None)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, f"mammo: error: stopped by {told}\n")
