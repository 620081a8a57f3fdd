"""Reads the cases that settings name, gives each its part, and prepares their films in the store."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from mammo.cases.audit import Audit, audit_split, leaks_by_content, refuse_leaks, refuse_shared_films
from mammo.cases.samples import SampleTable
from mammo.cases.splits import Split, split_lesions
from mammo.cases.table import BOX, CANDIDATE_SEPARATOR, exclusion_lines
from mammo.errors import CaseError, ImageError, in_one_line
from mammo.images.film import in_words
from mammo.images.preprocess import PreprocessSettings
from mammo.prepare.doubts import film_warnings, is_doubtful, remarks_of
from mammo.prepare.film_job import Failure
from mammo.prepare.index import Entry, StoreRequest
from mammo.prepare.readers import read_lesions
from mammo.prepare.store import Store
from mammo.settings.schema import Settings


@dataclass(frozen=True)
class PreparedSplit:
    """A split with its films in the store; `entries` has one per row of `split.samples.views`."""

    split: Split
    store: Store
    entries: tuple[Entry, ...]

    @property
    def data_sha256(self) -> str:
        """A hash of the content of all films, independent of their order and names."""
        return hashlib.sha256("\n".join(sorted({entry.film_hash for entry in self.entries})).encode()).hexdigest()


def gather_split(settings: Settings) -> Split:
    """Read cases and give each its part, without decoding films."""
    split = split_lesions(read_lesions(settings), settings.data)
    _refuse_nothing(settings, split.samples)
    return split


def _refuse_nothing(settings: Settings, samples: SampleTable) -> None:
    if not len(samples):
        source = settings.data.manifest or settings.data.root or settings.data.kind
        raise CaseError(
            f"{source}: no case of task {settings.data.task} is left: " + "; ".join(exclusion_lines(samples.excluded))
        )


def prepare_split(settings: Settings, split: Split, *, thorough: bool = False) -> PreparedSplit:
    """Fill the store with a split's films; `thorough` is that of `Store.fill`.

    Raises:
        ImageError: Films or masks cannot be read, and `data.bad_images` is `refuse`; all are named. A readable mask
            that does not fit its film is always a listed exclusion.
        SplitError: The same film's content is in two parts under two patients.
        StoreError: The store cannot be written.
        LoaderError: A worker ended early.
    """
    store = Store(settings.store_folder, PreprocessSettings.from_data(settings.data))
    requests = requests_of(split.samples)
    data = settings.data
    entries, failures = store.fill(
        requests, workers=data.prepare_workers, untrusted=data.untrusted, cluster=data.cluster, thorough=thorough
    )
    broken = [failure.text for failure in failures.values() if not failure.is_mask]
    if broken and settings.data.bad_images == "refuse":
        advice = "; data.bad_images=exclude lists them and continues"
        raise ImageError(
            in_one_line("images", list(dict.fromkeys(broken))) + _likely_cause(broken, len(requests)) + advice
        )
    if failures:
        split, requests = _without_failures(split, requests, failures)
        _refuse_nothing(settings, split.samples)
    if data.doubtful == "refuse":
        split, requests = _without_doubts(split, requests, entries, exclude=data.bad_images == "exclude")
        _refuse_nothing(settings, split.samples)
    found = tuple(entries[request] for request in requests)
    warned = replace(split, samples=split.samples.warn(film_warnings(split.samples, found)))
    content = np.array([entry.film_hash for entry in found], object)
    refuse_shared_films(leaks_by_content(split, split.samples.views["case"].to_numpy(), content))
    return PreparedSplit(warned, store, found)


def prepare_samples(settings: Settings, samples: SampleTable, part: str = "test") -> PreparedSplit:
    """Fill the store with samples that all belong to one part."""
    _refuse_nothing(settings, samples)
    return prepare_split(settings, Split(samples, np.full(len(samples), part, object)))


def requests_of(samples: SampleTable) -> list[StoreRequest]:
    """Return the requests to the store for samples: one per row of `samples.views`."""
    views = samples.views
    requests = []
    for image, mask, (x, y, width, height) in zip(
        views["image"], views["mask"], views[list(BOX)].to_numpy(float).tolist(), strict=True
    ):
        if not np.isnan([x, y, width, height]).any():
            requests.append(StoreRequest(image, (x, y, width, height)))
        elif samples.task == "lesion" and mask:
            requests.append(StoreRequest(image, None, tuple(mask.split(CANDIDATE_SEPARATOR))))
        else:
            requests.append(StoreRequest(image))
    return requests


def _without_failures(
    split: Split, requests: list[StoreRequest], failures: dict[StoreRequest, Failure]
) -> tuple[Split, list[StoreRequest]]:
    case_of_view = split.samples.views["case"].to_numpy()
    bad = {
        int(case): failures[request].text
        for case, request in zip(case_of_view, requests, strict=True)
        if request in failures
    }
    good = np.array([case not in bad for case in range(len(split.samples))])
    kept = split.samples.keep(good, [bad[case] for case in sorted(bad)])
    return replace(split, samples=kept, part=split.part[good]), [
        request for case, request in zip(case_of_view, requests, strict=True) if good[case]
    ]


def _without_doubts(
    split: Split, requests: list[StoreRequest], entries: dict[StoreRequest, Entry], *, exclude: bool
) -> tuple[Split, list[StoreRequest]]:
    """Refuse the doubtful views, or list them as exclusions, for `data.doubtful=refuse`."""
    keys = remarks_of(split.samples, [entries[request] for request in requests])
    doubtful = {
        request: Failure(
            request,
            f"{request.film}: " + "; ".join(in_words(key) for key in remarks if is_doubtful((key,))),
            is_mask=False,
        )
        for request, remarks in zip(requests, keys, strict=True)
        if is_doubtful(remarks)
    }
    if doubtful and not exclude:
        advice = "; data.doubtful=warn keeps them with a warning, data.bad_images=exclude lists them and continues"
        raise ImageError(in_one_line("images", [failure.text for failure in doubtful.values()]) + advice)
    return _without_failures(split, requests, doubtful) if doubtful else (split, requests)


def _likely_cause(broken: list[str], views: int) -> str:
    """Name the likely cause of several boxes outside their films."""
    outside = sum("outside its image" in text for text in broken)
    if outside < 2:
        return ""
    return f"; {outside} of {views} boxes are outside their films: their resolution or their film may be another one"


def check_split(settings: Settings, split: Split) -> Audit:
    """Audit a split and refuse one that leaks.

    Raises:
        SplitError: Patients are in more than one part; all are named.
    """
    audit = audit_split(split)
    refuse_leaks(audit, split_name=settings.data.split, same_patients=settings.data.same_patients)
    return audit
