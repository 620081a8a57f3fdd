"""Settings in, cases out: data made or found, tables read, samples gathered, parts given, and films prepared."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mammo.archives.unpack import data_root
from mammo.cases.audit import Audit, audit_split, leaks_by_content, refuse_leaks, refuse_shared_films
from mammo.cases.cbis_ddsm import find_csv_folder
from mammo.cases.read import read_cases
from mammo.cases.samples import SampleTable
from mammo.cases.splits import Split, split_lesions
from mammo.cases.table import BOX, CANDIDATE_SEPARATOR, LesionTable, exclusion_lines
from mammo.errors import CaseError, ImageError, in_one_line
from mammo.images.film import in_words
from mammo.images.preprocess import PreprocessSettings
from mammo.phantom.draw import write_phantom
from mammo.prepare.doubts import film_warnings, is_doubtful, remarks_of
from mammo.prepare.film_job import Fault
from mammo.prepare.index import Entry, Wish
from mammo.prepare.locate import locate_files
from mammo.prepare.store import Store
from mammo.settings.schema import Settings


@dataclass(frozen=True)
class PreparedSplit:
    """A split whose films lie in the store; `entries` has one per row of `split.samples.views`."""

    split: Split
    store: Store
    entries: tuple[Entry, ...]

    @property
    def data_sha256(self) -> str:
        """A hash of the content of all films, the same whatever their order and names."""
        return hashlib.sha256("\n".join(sorted({entry.film_hash for entry in self.entries})).encode()).hexdigest()


def read_lesions(settings: Settings) -> LesionTable:
    """Read the lesion table of the data set that settings name; a phantom is made where it is not there yet.

    Raises:
        DataMissingError: The data set, or a film of it, is not there.
        CaseError: Its tables break their contract.
    """
    data = settings.data
    if data.kind == "manifest":
        return read_cases(data)
    root = (
        phantom_folder(settings) if data.kind == "phantom" else data_root(Path(data.root or ""), settings.store_folder)
    )
    if data.kind == "phantom":
        write_phantom(root, data.phantom)
    else:
        find_csv_folder(root)
    return locate_files(
        read_cases(data, root),
        root,
        missing=data.bad_images,
        need_masks=data.task == "lesion",
        untrusted=data.untrusted,
    )


def phantom_folder(settings: Settings) -> Path:
    """Where the phantom of these settings lies."""
    phantom = settings.data.phantom
    height, width = phantom.film_size
    return settings.store_folder / f"phantom_{phantom.patients}_{height}x{width}_{phantom.seed}"


def gather_split(settings: Settings) -> Split:
    """Read cases and give each its part; nothing is decoded."""
    split = split_lesions(read_lesions(settings), settings.data)
    _refuse_nothing(settings, split.samples)
    return split


def _refuse_nothing(settings: Settings, samples: SampleTable) -> None:
    if not len(samples):
        source = settings.data.manifest if settings.data.kind == "manifest" else settings.data.root
        raise CaseError(
            f"{source}: no case of task {settings.data.task} is left: " + "; ".join(exclusion_lines(samples.excluded))
        )


def prepare_split(settings: Settings, split: Split, *, thorough: bool = False) -> PreparedSplit:
    """Fill the store with a split's films; `thorough` as for `Store.fill`.

    Raises:
        ImageError: Films or masks cannot be read, and `data.bad_images` is `refuse`; all are named. A mask that can be read
            but does not fit its film is a listed exclusion under either.
        SplitError: The same film's content stands in two parts under two patients.
        StoreError: The store cannot be written.
        LoaderError: A worker ended before its time.
    """
    store = Store(settings.store_folder, PreprocessSettings.from_data(settings.data))
    wishes = wishes_of(split.samples)
    data = settings.data
    entries, faults = store.fill(
        wishes, workers=data.prepare_workers, untrusted=data.untrusted, cluster=data.cluster, thorough=thorough
    )
    broken = [fault.text for fault in faults.values() if not fault.is_mask]
    if broken and settings.data.bad_images == "refuse":
        advice = "; data.bad_images=exclude lists them and goes on"
        raise ImageError(
            in_one_line("images", list(dict.fromkeys(broken))) + _likely_cause(broken, len(wishes)) + advice
        )
    if faults:
        split, wishes = _without_faults(split, wishes, faults)
        _refuse_nothing(settings, split.samples)
    if data.doubtful == "refuse":
        split, wishes = _without_doubts(split, wishes, entries, exclude=data.bad_images == "exclude")
        _refuse_nothing(settings, split.samples)
    found = tuple(entries[wish] for wish in wishes)
    warned = replace(split, samples=split.samples.warn(film_warnings(split.samples, found)))
    prepared = PreparedSplit(warned, store, found)
    _refuse_shared_content(prepared)
    return prepared


def prepare_samples(settings: Settings, samples: SampleTable, part: str = "test") -> PreparedSplit:
    """Fill the store with samples that all belong to one part."""
    _refuse_nothing(settings, samples)
    return prepare_split(settings, Split(samples, np.full(len(samples), part, object)))


def wishes_of(samples: SampleTable) -> list[Wish]:
    """What the store must hold for samples: a wish per row of `samples.views`."""
    films_only = samples.task != "lesion"
    views = samples.views
    boxes = views[list(BOX)].to_numpy(float)
    known = ~np.isnan(boxes).any(axis=1)
    wishes = []
    for image, mask, box, has_box in zip(views["image"], views["mask"], boxes, known, strict=True):
        masks = () if has_box or films_only or not mask else tuple(mask.split(CANDIDATE_SEPARATOR))
        place = (float(box[0]), float(box[1]), float(box[2]), float(box[3])) if has_box else None
        wishes.append(Wish(image, place, masks))
    return wishes


def _without_faults(split: Split, wishes: list[Wish], faults: dict[Wish, Fault]) -> tuple[Split, list[Wish]]:
    case_of_view = split.samples.views["case"].to_numpy()
    bad = {int(case): faults[wish].text for case, wish in zip(case_of_view, wishes, strict=True) if wish in faults}
    good = np.array([case not in bad for case in range(len(split.samples))])
    kept = split.samples.keep(good, [bad[case] for case in sorted(bad)])
    return replace(split, samples=kept, part=split.part[good]), [
        wish for case, wish in zip(case_of_view, wishes, strict=True) if good[case]
    ]


def _without_doubts(
    split: Split, wishes: list[Wish], entries: dict[Wish, Entry], *, exclude: bool
) -> tuple[Split, list[Wish]]:
    """Refuse, or list as exclusions, the views that `data.doubtful=refuse` is about."""
    keys = remarks_of(split.samples, [entries[wish] for wish in wishes])
    doubtful = {
        wish: Fault(
            wish, f"{wish.film}: " + "; ".join(in_words(key) for key in remarks if is_doubtful((key,))), is_mask=False
        )
        for wish, remarks in zip(wishes, keys, strict=True)
        if is_doubtful(remarks)
    }
    if doubtful and not exclude:
        advice = "; data.doubtful=warn takes them with a warning, data.bad_images=exclude lists them and goes on"
        raise ImageError(in_one_line("images", [fault.text for fault in doubtful.values()]) + advice)
    return _without_faults(split, wishes, doubtful) if doubtful else (split, wishes)


def _likely_cause(broken: list[str], views: int) -> str:
    """What is behind many boxes that miss their films."""
    outside = sum("outside its image" in text for text in broken)
    if outside < 2:
        return ""
    return f"; {outside} of {views} boxes lie outside their films: they may be in pixels of another resolution, or of other films"


def _refuse_shared_content(prepared: PreparedSplit) -> None:
    """Refuse a film that stands in two parts under two names, as `audit.leaks_by_content` finds it."""
    split, views = prepared.split, prepared.split.samples.views
    content = np.array([entry.film_hash for entry in prepared.entries], object)
    refuse_shared_films(leaks_by_content(split, views["case"].to_numpy(), content))


def check_split(settings: Settings, split: Split) -> Audit:
    """Audit a split and refuse one that leaks.

    Raises:
        SplitError: Patients stand in more than one part; all are named.
    """
    audit = audit_split(split)
    refuse_leaks(audit, split_name=settings.data.split, same_patients=settings.data.same_patients)
    return audit
