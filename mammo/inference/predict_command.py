"""Options of tools/predict.py and a run folder in, a line per film out."""

import argparse
from pathlib import Path

from mammo.errors import SettingsError
from mammo.evaluation.operating_point import in_words
from mammo.inference.load import load_run, predict_file
from mammo.inference.notes import NOT_A_DEVICE, PHANTOM


def predict_with_run(arguments: argparse.Namespace, folder: Path) -> None:
    """Print what a run's best network says of each film.

    Raises:
        SettingsError: No film is named, or an option is for exports only.
    """
    given = [f"--{name}" for name in ("boxes", "out", "untrusted") if getattr(arguments, name)]
    if given:
        raise SettingsError(f"{', '.join(given)}: only an exported network takes it; name one with --export (tools/export.py makes it)")
    if not arguments.paths:
        raise SettingsError("expected at least one film, got none; --help tells the options")
    loaded = load_run(folder)
    if loaded.settings.data.kind == "phantom":
        print(PHANTOM)
    for file in arguments.paths:
        score = predict_file(loaded, file, box=arguments.box)
        print(f"{file}: probability of malignancy {score:.3f}; {in_words(score, loaded.decision)}")
    print(NOT_A_DEVICE)
