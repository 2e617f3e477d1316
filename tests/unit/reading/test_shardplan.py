"""Documents into shards: every page exactly once, no shard too large."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchlight.storage.records import Source
from patchlight.tasks.reading.fingerprints import WHOLE, Work
from patchlight.tasks.reading.shardplan import InspectedFile, cut_shards, merge_by_content


def inspected(
    doc_id: str, pages: int = 1, uri: str = "file:///a.pdf", password: str | None = None
) -> InspectedFile:
    source = Source(uri, uri.rpartition("/")[2])
    return InspectedFile(
        doc_id,
        uri.removeprefix("file://"),
        (source,),
        "application/pdf",
        10,
        pages,
        (10, 1),
        password,
    )


@given(
    st.lists(st.sets(st.integers(1, 60), max_size=60), max_size=12),
    st.integers(1, 20),
)
def test_every_page_is_in_exactly_one_shard(todo: list[set[int]], size: int) -> None:
    files = [(inspected(f"d{i}", 60), dict.fromkeys(pages, WHOLE)) for i, pages in enumerate(todo)]
    shards = cut_shards(files, size)
    done = [(p.file.doc_id, page) for shard in shards for p in shard.parts for page in p.pages]
    assert Counter(done) == Counter((f.doc_id, page) for f, pages in files for page in pages)
    # In order, so that a document is finished before the next is begun.
    assert done == [(f.doc_id, page) for f, pages in files for page in sorted(pages)]
    assert [shard.index for shard in shards] == list(range(len(shards)))
    assert all(shard.page_count == size for shard in shards[:-1])
    assert all(1 <= shard.page_count <= size for shard in shards)
    assert all(part.pages for shard in shards for part in shard.parts)


@given(st.lists(st.sets(st.integers(1, 9), min_size=1, max_size=9), min_size=1, max_size=5))
def test_a_shard_falls_apart_into_its_pages(todo: list[set[int]]) -> None:
    files = [(inspected(f"d{i}"), dict.fromkeys(pages, WHOLE)) for i, pages in enumerate(todo)]
    [shard] = cut_shards(files, 100)
    singles = shard.single_pages()
    assert all(single.page_count == 1 and single.index == shard.index for single in singles)
    assert [(single.parts[0].file.doc_id, single.parts[0].pages[0]) for single in singles] == [
        (part.file.doc_id, page) for part in shard.parts for page in part.pages
    ]


def test_pages_with_other_work_are_in_other_shards() -> None:
    regions_only = Work(words=False, regions=True, encode=False)
    pages = {1: WHOLE, 2: regions_only, 3: WHOLE, 4: regions_only}
    shards = cut_shards([(inspected("a"), pages), (inspected("b"), {1: regions_only})], 16)
    assert [(shard.work, [part.pages for part in shard.parts]) for shard in shards] == [
        (WHOLE, [(1, 3)]),
        (regions_only, [(2, 4), (1,)]),
    ]
    assert [shard.index for shard in shards] == [0, 1]
    assert all(single.work == shard.work for shard in shards for single in shard.single_pages())


def test_a_shard_without_room_is_an_error_and_not_an_endless_loop() -> None:
    with pytest.raises(ValueError, match="at least 1 page"):
        cut_shards([(inspected("d"), {1: WHOLE})], 0)


def test_the_same_bytes_are_one_document_with_all_its_places() -> None:
    files = [
        inspected("one", uri="file:///a.pdf"),
        inspected("two", uri="file:///b.pdf"),
        inspected("one", uri="file:///copy.pdf"),
        inspected("one", uri="file:///a.pdf"),
    ]
    one, two = merge_by_content(files)
    assert (one.doc_id, two.doc_id) == ("one", "two")
    assert [s.uri for s in one.sources] == ["file:///a.pdf", "file:///copy.pdf"]
    assert (one.path, one.label) == ("/a.pdf", "a.pdf")


def test_a_password_is_never_shown() -> None:
    assert "s3cret" not in repr(cut_shards([(inspected("d", password="s3cret"), {1: WHOLE})], 1))
