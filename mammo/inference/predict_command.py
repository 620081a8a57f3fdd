"""Options of tools/predict.py and a run folder in, a line per film out."""

import argparse
from collections import Counter
from pathlib import Path

from mammo.errors import SettingsError
from mammo.evaluation.operating_point import in_words
from mammo.images.film import in_words as remarks_in_words
from mammo.inference.load import load_run, predict_with_remarks
from mammo.inference.notes import NOT_A_DEVICE, PHANTOM


def predict_with_run(arguments: argparse.Namespace, folder: Path) -> None:
    """Print what a run's best network says of each film.

    Raises:
        SettingsError: No film is named, or an option is for exports only.
    """
    given = [f"--{name}" for name in ("boxes", "out", "untrusted") if getattr(arguments, name)]
    if given:
        raise SettingsError(
            f"{', '.join(given)}: only an exported network takes it; name one with --export (tools/export.py makes it)"
        )
    if not arguments.paths:
        raise SettingsError("expected at least one film, got none; --help tells the options")
    if arguments.box and len(arguments.paths) > 1:
        raise SettingsError(
            f"--box is the place of a lesion on one film, got {len(arguments.paths)} films; give each film a command of its own"
        )
    loaded = load_run(folder)
    if loaded.settings.data.kind == "phantom":
        print(PHANTOM)
    counts: Counter[str] = Counter()
    for file in arguments.paths:
        score, remarks = predict_with_remarks(loaded, file, box=arguments.box)
        counts.update(remarks)
        print(f"{file}: probability of malignancy {score:.3f}; {in_words(score, loaded.decision)}")
        for remark in remarks:
            print(f"  warning: {remarks_in_words(remark)}")
    print(NOT_A_DEVICE)
    if len(arguments.paths) > 1:
        for remark, count in counts.items():
            print(f"warning: {count} × {remarks_in_words(remark)}")
