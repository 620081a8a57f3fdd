"""Downloads that go on after the file was replaced on the server: never spliced of two files."""

import pytest

from mammo.errors import WeightsError
from mammo.model.download import TRIES, fetch
from tests.model.weight_server import CONTENT, OTHER, SHA256, left_in, serving


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as server:
        yield server


def leave_a_part(server, cache, version):
    """Fetch 1,200,000 bytes, as a download leaves them that was cut too often."""
    server.version, server.ranges, server.cuts = version, False, TRIES
    with pytest.raises(WeightsError, match="what came is kept"):
        fetch(server.url, cache=cache)
    assert (cache / "w.pdparams.part").stat().st_size == 1_200_000
    server.ranges, server.asked, server.conditions = True, [], []


ETAG, DATE = {"ETag": '"v1"'}, {"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}


@pytest.mark.parametrize(
    ("version", "condition"), [(ETAG, '"v1"'), (DATE, DATE["Last-Modified"]), (ETAG | DATE, '"v1"')]
)
def test_a_part_of_the_same_file_is_continued(server, tmp_path, version, condition):
    leave_a_part(server, tmp_path, version)
    assert fetch(server.url, cache=tmp_path).read_bytes() == CONTENT
    assert (server.asked, server.conditions) == (["bytes=1200000-"], [condition])
    assert left_in(tmp_path) == ["w.pdparams"]


@pytest.mark.parametrize("checks", [True, False], ids=["If-Range is obeyed", "only the answer shows it"])
@pytest.mark.parametrize(
    ("before", "after"),
    [(ETAG, {"ETag": '"v2"'}), (DATE, {"Last-Modified": "Thu, 22 Oct 2015 07:28:00 GMT"}), (ETAG, DATE)],
)
def test_a_file_replaced_on_the_server_is_fetched_anew(server, tmp_path, before, after, checks):
    leave_a_part(server, tmp_path, before)
    server.content, server.version, server.checks_condition = OTHER, after, checks
    assert fetch(server.url, cache=tmp_path).read_bytes() == OTHER
    assert server.asked == (["bytes=1200000-"] if checks else ["bytes=1200000-", None])


@pytest.mark.parametrize("checks", [True, False])
def test_a_whole_part_of_a_replaced_file_is_fetched_anew(server, tmp_path, checks):
    leave_a_part(server, tmp_path, ETAG)
    (tmp_path / "w.pdparams.part").write_bytes(CONTENT)
    server.content, server.version, server.checks_condition = OTHER, {"ETag": '"v2"'}, checks
    assert fetch(server.url, cache=tmp_path).read_bytes() == OTHER


@pytest.mark.parametrize("version", [{}, {"ETag": 'W/"v1"'}, {"ETag": '"v\u00e9"'}])
def test_a_part_of_no_known_version_is_continued_only_with_a_hash(server, tmp_path, version):
    leave_a_part(server, tmp_path, version)
    assert fetch(server.url, cache=tmp_path, sha256=SHA256).read_bytes() == CONTENT
    assert (server.asked, server.conditions) == (["bytes=1200000-"], [None])
    leave_a_part(server, tmp_path / "2", version)
    server.content = OTHER
    assert fetch(server.url, cache=tmp_path / "2").read_bytes() == OTHER
    assert (server.asked, server.conditions) == ([None], [None])


def test_a_part_of_another_address_is_not_continued(server, tmp_path):
    leave_a_part(server, tmp_path, ETAG)
    server.content = OTHER
    assert fetch(server.url.replace("/w.", "/other/w."), cache=tmp_path).read_bytes() == OTHER
    assert server.asked == [None]


@pytest.mark.parametrize(
    "note", ["", "[" * 100_000, "[]", '{"url": 3}', '{"version": "a\\nb"}', '{"url": "URL", "version": "乳腺"}']
)
def test_a_damaged_note_of_the_version_is_as_none(server, tmp_path, note):
    leave_a_part(server, tmp_path, ETAG)
    (tmp_path / "w.pdparams.part.of").write_text(note.replace("URL", server.url), encoding="utf-8")
    assert fetch(server.url, cache=tmp_path).read_bytes() == CONTENT
    assert server.asked == [None]
