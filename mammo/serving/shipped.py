"""Finds the exported network that comes with mammo, and says what it is."""

from pathlib import Path

from mammo.serving.export_description import ExportDescription

NETWORKS = Path(__file__).parent / "networks"
MASS = "mass"


def shipped_network() -> Path | None:
    """Return the folder of the network for masses; None in a checkout without it."""
    folder = NETWORKS / MASS
    return folder if folder.is_dir() else None


def in_words(description: ExportDescription) -> str:
    """Say what the network is and how well its recipe reads films that it has not seen."""
    results = []
    for level, name in (("lesion", "one view"), ("finding", "a finding")):
        if found := description.results.get(level):
            auc = found["auc"]
            results.append(f"{name} AUC {auc['value']:.3f} ({auc['low']:.3f}-{auc['high']:.3f})")
    trained = f"{description.origin.cases} masses of {description.origin.patients} patients of CBIS-DDSM"
    return f"network: the one that comes with mammo, trained on {trained}; out of fold: {', '.join(results)}"
