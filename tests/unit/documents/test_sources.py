"""From arguments to files: globs, folders, awkward names, and password files."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pyarrow as pa
import pytest

from patchlight.tasks.cluster import work
from patchlight.tasks.common.errors import Category, InputError, MissingSource, UsageError
from patchlight.tasks.documents import sources
from patchlight.tasks.documents.passwords import password_for, read_passwords
from patchlight.tasks.documents.sources import Expansion, expand, sha256_of, to_path, to_uri
from patchlight.tasks.reading.shardplan import InspectedFile


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Some files in some folders; only the names matter."""
    for name in (
        "b.pdf",
        "a.PDF",
        "notes.txt",
        "README",
        ".hidden.pdf",
        "sub/c.png",
        "sub/deep/d.tiff",
        ".git/e.pdf",
        "sub/table.csv",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path


def names(found: Expansion, folder: Path) -> list[str]:
    return [os.path.relpath(file.path, folder) for file in found.files]


def test_a_folder_stands_for_the_documents_in_it(folder: Path) -> None:
    found = expand([str(folder)])
    assert names(found, folder) == ["a.PDF", "b.pdf", "sub/c.png", "sub/deep/d.tiff"]
    assert {k: len(v) for k, v in found.skipped.items()} == {".txt": 1, "": 1, ".csv": 1}
    assert sources.describe_skipped(found.skipped) == "1 (no suffix), 1 .csv, 1 .txt"
    assert not found.missing


def test_a_file_that_is_named_is_taken_whatever_its_name(folder: Path) -> None:
    given = [str(folder / name) for name in ("notes.txt", ".hidden.pdf", ".git/e.pdf")]
    assert [file.path for file in expand(given).files] == given


def test_globs_are_expanded_sorted(folder: Path) -> None:
    assert names(expand([str(folder / "*.pdf")]), folder) == ["b.pdf"]
    assert names(expand([str(folder / "**/*.[pt][ni]*")]), folder) == [
        "sub/c.png",
        "sub/deep/d.tiff",
    ]


def test_a_name_with_the_signs_of_a_glob_is_a_name_first(tmp_path: Path) -> None:
    odd = tmp_path / "a[1]*.pdf"
    odd.touch()
    (tmp_path / "a1.pdf").touch()
    assert names(expand([str(odd)]), tmp_path) == ["a[1]*.pdf"]


def test_each_path_is_taken_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    found = expand(["b.pdf", "./b.pdf", "sub/../b.pdf", str(folder / "b.pdf"), "*.pdf", "."])
    assert names(found, folder).count("b.pdf") == 1
    assert found.files[0].source.name == "b.pdf"


def test_loops_of_links_end(folder: Path) -> None:
    (folder / "sub" / "up").symlink_to(folder)
    (folder / "self.pdf").symlink_to(folder / "self.pdf")
    found = expand([str(folder)])
    assert names(found, folder).count("b.pdf") == 1
    assert "self.pdf" in names(found, folder)
    with pytest.raises(MissingSource, match=r"self\.pdf: cannot be read"):
        sha256_of(str(folder / "self.pdf"))


def test_a_link_to_a_folder_is_followed_where_it_is_named(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder / "sub")
    assert [Path(f.path).name for f in expand([str(link)]).files] == ["c.png", "d.tiff"]


def test_what_is_not_there_is_one_error_an_argument(folder: Path) -> None:
    found = expand([str(folder / "b.pdf"), str(folder / "gone.pdf"), str(folder / "*.bmp")])
    assert names(found, folder) == ["b.pdf"]
    assert [error.category for _, error in found.missing] == [Category.MISSING] * 2
    source, error = found.missing[0]
    assert source.uri == to_uri(str(folder / "gone.pdf")) and "gone.pdf" in str(error)


def test_folders_without_a_document_say_what_was_skipped(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match=r"Supported file types: .*\.pdf.*1 \.txt") as caught:
        expand([str(tmp_path), str(tmp_path / "gone.pdf")])
    assert str(tmp_path) in str(caught.value) and "gone.pdf" in str(caught.value)


ODD_NAMES = [
    b"two words.pdf",
    b"new\nline.pdf",
    b"per%20cent#hash?mark.pdf",
    "Übersicht 船.pdf".encode(),
    b"latin-\xe9.pdf",
    b"tab\t.pdf",
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_survives_the_way_to_a_uri_and_back(tmp_path: Path, name: bytes) -> None:
    path = str(tmp_path / os.fsdecode(name))
    Path(path).write_bytes(b"x")
    uri = to_uri(path)
    assert uri.isascii() and uri.startswith("file:///") and "\n" not in uri
    assert to_path(uri) == path
    for argument in (path, uri, str(tmp_path)):
        [file] = expand([argument]).files
        assert (file.path, file.source.uri) == (path, uri)
        assert sha256_of(file.path) == (hashlib.sha256(b"x").hexdigest(), 1)
        # What goes into the database must be Unicode.
        assert pa.array([file.source.name])[0].as_py() == file.source.name


def test_an_argument_that_is_not_unicode_is_passed_on_as_a_uri(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prefect stores the parameters of a flow, Ray the command line; both hold Unicode only."""
    monkeypatch.chdir(tmp_path)
    for name in (b"latin-\xe9 1.pdf", b"latin-\xe9 2.pdf", b"notes.\xe9"):
        Path(os.fsdecode(name)).write_bytes(b"x")
    for given, names in (
        (b"latin-\xe9 1.pdf", [b"latin-\xe9 1.pdf"]),
        (b"latin-\xe9*.pdf", [b"latin-\xe9 1.pdf", b"latin-\xe9 2.pdf"]),
    ):
        argument = sources.portable(os.fsdecode(given))
        assert argument.isascii()
        found = expand([argument]).files
        assert [Path(file.path).name for file in found] == [os.fsdecode(name) for name in names]
    assert sources.portable("Übersicht 船.pdf") == "Übersicht 船.pdf"
    assert sources.portable("none-\udce9.pdf") == "none-\\udce9.pdf"
    # What was left out is listed, and stored.
    json.dumps(expand(["."]).skipped, ensure_ascii=False).encode()


def test_messages_about_a_name_that_is_not_unicode_can_be_stored(tmp_path: Path) -> None:
    path = str(tmp_path / os.fsdecode(b"latin-\xe9.pdf"))
    Path(path).write_bytes(b"not a PDF")
    [file] = expand([path]).files
    fault = work.inspect_file(file, None)
    assert not isinstance(fault, InspectedFile)
    assert fault.fault.category is Category.CORRUPT
    pa.array([fault.fault.message, fault.source.name])
    [(source, error)] = expand([path, path + "gone"]).missing
    pa.array([source.name, str(error)])


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.pdf")
    with pytest.raises(MissingSource, match="not a regular file"):
        sha256_of(str(tmp_path / "a.pdf"))


def test_a_file_is_hashed_whole(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000  # more than one chunk
    (tmp_path / "a").write_bytes(data)
    assert sha256_of(str(tmp_path / "a")) == (hashlib.sha256(data).hexdigest(), len(data))
    with pytest.raises(MissingSource, match="gone: cannot be read"):
        sha256_of(str(tmp_path / "gone"))


# -------------------------------------------------------------------------------- passwords


def test_passwords_are_found_by_name_and_by_pattern(tmp_path: Path) -> None:
    file = tmp_path / "passwords"
    # As an editor on Windows saves it: a byte order mark and its line ends.
    file.write_bytes(
        "\ufeffa.pdf:one:two \r\n\r\n# a comment\r\n*/2024/*.pdf\tthree\r\n[bc].pdf:\r\n".encode()
    )
    passwords = read_passwords(str(file))
    assert password_for("/x/a.pdf", passwords) == "one:two "
    assert password_for("/x/2024/z.pdf", passwords) == "three"
    assert password_for("/x/c.pdf", passwords) == ""
    assert password_for("/x/z.pdf", passwords) is None


@pytest.mark.parametrize(
    ("lines", "path", "password"),
    [
        ("a.pdf:first\na.pdf:second", "/x/a.pdf", "first"),
        ("*.pdf:any\na.pdf:own", "/x/a.pdf", "any"),
        ("a.pdf:own\n*.pdf:any", "/x/a.pdf", "own"),
        ("a.pdf: spaces stay ", "/x/a.pdf", " spaces stay "),
        ("a.pdf:#no comment", "/x/a.pdf", "#no comment"),
        ("a.pdf\tone\ttwo", "/x/a.pdf", "one\ttwo"),
        ("a:b.pdf\tc:d", "/x/a:b.pdf", "c:d"),
        ("a?b.pdf:c:d", "/x/a:b.pdf", "c:d"),
        ("a.pdf:pässwörd 船 \u2028\x85\x0c.", "/x/a.pdf", "pässwörd 船 \u2028\x85\x0c."),
        ("/x/y/a.pdf:path", "/x/y/a.pdf", "path"),
        ("y/a.pdf:relative", "/x/y/a.pdf", None),
        ("*/y/a.pdf:relative", "/x/y/a.pdf", "relative"),
        ("file:///x/y%20z/a.pdf:uri:1", "/x/y z/a.pdf", "uri:1"),
        ("file:///x/y%20z/a.pdf\turi\t1", "/x/y z/a.pdf", "uri\t1"),
        ("file:///x/*:folder", "/x/y z/a.pdf", "folder"),
        ("file:///x/a%3Ab.pdf:colon", "/x/a:b.pdf", "colon"),
        ("  a.pdf  :indented", "/x/a.pdf", "indented"),
        ("A.PDF:case", "/x/a.pdf", None),
        ("two\\nlines.pdf:no escapes", "/x/two\nlines.pdf", None),
        ("two?lines.pdf:any sign", "/x/two\nlines.pdf", "any sign"),
        ("latin-?.pdf:any byte", os.fsdecode(b"/x/latin-\xe9.pdf"), "any byte"),
        ("file:///x/latin-%E9.pdf:byte", os.fsdecode(b"/x/latin-\xe9.pdf"), "byte"),
    ],
)
def test_what_a_line_means(tmp_path: Path, lines: str, path: str, password: str | None) -> None:
    file = tmp_path / "passwords"
    file.write_text(lines, encoding="utf-8", newline="")
    assert password_for(path, read_passwords(str(file))) == password


def test_a_bad_password_line_is_named_and_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "passwords"
    for line in ("s3cret", ":s3cret", "\ts3cret", " :s3cret"):
        file.write_text(f"a.pdf:one\n{line}\n")
        with pytest.raises(UsageError, match="line 2") as caught:
            read_passwords(str(file))
        assert "s3cret" not in str(caught.value)
    file.write_bytes("a.pdf:s3cret\n".encode("utf-16"))
    with pytest.raises(UsageError, match="not UTF-8") as caught:
        read_passwords(str(file))
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
    with pytest.raises(UsageError, match="cannot be read"):
        read_passwords(str(tmp_path / "gone"))


def test_a_folder_that_cannot_be_looked_into_is_told(tmp_path: Path) -> None:
    """A path may be too long even for root; what is beside it is read."""
    (tmp_path / "good.pdf").write_bytes(b"%PDF-")
    here = os.open(tmp_path, os.O_RDONLY)
    try:
        for _ in range(20):  # each name is allowed, and all of them together are not
            os.mkdir("d" * 250, dir_fd=here)
            below = os.open("d" * 250, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
    finally:
        os.close(here)
    found = expand([str(tmp_path)])
    assert [Path(file.path).name for file in found.files] == ["good.pdf"]
    ((source, error),) = found.missing
    assert "cannot be looked into (File name too long); nothing in it was read" in str(error)
    assert to_uri(str(tmp_path)) in found.looked_into
    assert source.uri not in found.looked_into
