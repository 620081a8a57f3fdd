"""Reads the cases that settings name, gives each its part, and prepares their films in the store."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from mammo.cases.audit import Audit, audit_split, leaks_by_content, refuse_leaks, refuse_shared_films
from mammo.cases.samples import SampleTable
from mammo.cases.splits import Split, split_lesions
from mammo.cases.table import BOX, CANDIDATE_SEPARATOR, exclusion_lines
from mammo.errors import CaseError, ImageError, MaskError, in_one_line
from mammo.images.film import in_words
from mammo.images.preprocess import PreprocessSettings
from mammo.prepare.film_checks import doubts_of, film_warnings
from mammo.prepare.readers import read_lesions
from mammo.prepare.records import Entry, StoreRequest
from mammo.prepare.store import Store
from mammo.settings.schema import Settings
from mammo.settings.types import CROPPED


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
        why = "; ".join(exclusion_lines(samples.excluded))
        advice = "correct the data, or choose another data.task"
        raise CaseError(f"{source}: no case of task {settings.data.task} is left ({why}); {advice}")


def prepare_split(settings: Settings, split: Split, *, thorough: bool = False) -> PreparedSplit:
    """Fill the store with a split's films; `thorough` is that of `Store.fill`.

    Raises:
        ImageError: Films or masks cannot be read, and `data.bad_images` is `refuse`; all are named. A readable mask
            that does not fit its film is always a listed exclusion.
        SplitError: The same film's content is in two parts under two patients.
        StoreError: The store cannot be written.
        LoaderError: A worker ended early.
    """
    data = settings.data
    store = Store(settings.store_folder, PreprocessSettings.from_data(data))
    requests = requests_of(split.samples)
    entries, failures = store.fill(
        requests, workers=data.prepare_workers, untrusted=data.untrusted, cluster=data.cluster, thorough=thorough
    )
    broken = [str(error) for error in failures.values() if not isinstance(error, MaskError)]
    if broken and data.bad_images == "refuse":
        advice = _likely_cause(broken, len(requests)) + "; data.bad_images=exclude lists them and continues"
        raise ImageError(in_one_line("images", list(dict.fromkeys(broken))) + advice)
    if failures:
        split, requests = _without(split, requests, failures)
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
    return prepare_split(settings, Split(samples, np.full(len(samples), part, object)))


def requests_of(samples: SampleTable) -> list[StoreRequest]:
    """Return the requests to the store for samples: one per row of `samples.views`."""
    views = samples.views
    numbers = views[[*BOX, "pixel_aspect"]].to_numpy(float).tolist()
    requests = []
    for image, mask, (x, y, width, height, aspect) in zip(views["image"], views["mask"], numbers, strict=True):
        if not np.isnan([x, y, width, height]).any():
            request = StoreRequest(image, (x, y, width, height))
        elif samples.task in CROPPED and mask:
            request = StoreRequest(image, None, tuple(mask.split(CANDIDATE_SEPARATOR)))
        else:
            request = StoreRequest(image)
        requests.append(request if aspect == 1 else replace(request, pixel_aspect=aspect))
    return requests


def _without(
    split: Split, requests: list[StoreRequest], errors: dict[StoreRequest, ImageError]
) -> tuple[Split, list[StoreRequest]]:
    """List the cases with a view that has an error as exclusions."""
    views = list(zip(split.samples.views["case"].tolist(), requests, strict=True))
    bad = {case: str(errors[request]) for case, request in views if request in errors}
    good = np.array([case not in bad for case in range(len(split.samples))])
    kept = split.samples.keep(good, [bad[case] for case in sorted(bad)])
    return replace(split, samples=kept, part=split.part[good]), [request for case, request in views if good[case]]


def _without_doubts(
    split: Split, requests: list[StoreRequest], entries: dict[StoreRequest, Entry], *, exclude: bool
) -> tuple[Split, list[StoreRequest]]:
    """Refuse the doubtful views, or list them as exclusions, for `data.doubtful=refuse`."""
    doubts = doubts_of(split.samples, [entries[request] for request in requests])
    errors = {
        request: ImageError(f"{request.film}: " + "; ".join(map(in_words, keys)))
        for request, keys in zip(requests, doubts, strict=True)
        if keys
    }
    if errors and not exclude:
        advice = "; data.doubtful=warn keeps them with a warning, data.bad_images=exclude lists them and continues"
        raise ImageError(in_one_line("images", [str(error) for error in errors.values()]) + advice)
    return _without(split, requests, errors) if errors else (split, requests)


def _likely_cause(broken: list[str], views: int) -> str:
    """Name the likely cause of several boxes outside their films."""
    outside = sum("outside its image" in text for text in broken)
    if outside < 2:
        return ""
    return f"; {outside} of {views} boxes are outside their films: their resolution or their film may be another one"


def check_split(settings: Settings, split: Split) -> Audit:
    """Audit a split, and raise SplitError if patients are in more than one part; all are named."""
    audit = audit_split(split)
    refuse_leaks(audit, split_name=settings.data.split, same_patients=settings.data.same_patients)
    return audit
