"""Albums as .zip and .tar: read where they are, and refused where they are not what they seem."""

from __future__ import annotations

import io
import json
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from personae.data.pipeline.archives import ArchiveLimits, members_of, reading
from personae.data.pipeline.clips import Frames, read_clips
from personae.data.pipeline.runner import run_pipeline
from personae.errors import DataError
from personae.toons import write_clips


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An album of two clips of two frames, with its rights."""
    home = write_clips(tmp_path_factory.mktemp("clips"), albums=1, clips=2, frames=2)
    (home / "album-000" / "truth.json").unlink()
    return home / "album-000"


def packed(album: Path, kind: str, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.make_archive(str(folder / "holiday"), kind, album))


def told(out: Path) -> list[str]:
    texts = [path.read_text() for path in sorted(out.glob("01-*/*/lost.jsonl"))]
    return [json.loads(line)["detail"] for text in texts for line in text.splitlines()]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_gives_the_frames_of_its_folder(album: Path, kind: str, tmp_path: Path) -> None:
    archive = packed(album, kind, tmp_path / "clips")
    plain = run_pipeline(read_clips(album), [Frames()], tmp_path / "plain")
    for number, clips in enumerate((archive, archive.parent)):
        account = run_pipeline(read_clips(clips), [Frames()], tmp_path / str(number))
        assert [item.data["hash"] for item in account.items()] == [
            item.data["hash"] for item in plain.items()
        ]
        assert {(item.license, item.consent) for item in account.items()} == {("CC0-1.0", "drawn")}
        assert len({item.id for item in account.items()}) == 4
        assert len({item.data["clip"] for item in account.items()}) == 2
    assert [path.name for path in archive.parent.iterdir()] == [archive.name], "nothing unpacked"


def test_an_archive_in_an_album_is_more_of_its_clips(album: Path, tmp_path: Path) -> None:
    shutil.copytree(album, tmp_path / "clips/day")
    packed(album, "zip", tmp_path / "clips/day")
    items = read_clips(tmp_path / "clips")
    assert len(items) == 4 and {item.group for item in items} == {"day"}
    assert len({item.id for item in items}) == 4


def zipped(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def tarred(path: Path, *members: tuple[str, bytes | str]) -> Path:
    """A member whose content is a text is a symbolic link to it."""
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


def a_link() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("clip/a.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "bomb": (
        lambda p: zipped(p / "x.zip", ("clip/a.png", bytes(20_000_000))),
        "times larger unpacked: a bomb",
    ),
    "above": (lambda p: zipped(p / "x.zip", ("../a.png", b"x")), "its name leaves the folder"),
    "tar above": (lambda p: tarred(p / "x.tar", ("../x/a.png", b"x")), "leaves the folder"),
    "absolute": (lambda p: tarred(p / "x.tar", ("/etc/a.png", b"x")), "leaves the folder"),
    "zip absolute": (lambda p: zipped(p / "x.zip", ("/etc/a.png", b"x")), "leaves the folder"),
    "drive": (lambda p: zipped(p / "x.zip", ("C:/a.png", b"x")), "leaves the folder"),
    "link": (lambda p: tarred(p / "x.tar", ("clip/a.png", "/etc/passwd")), "a link"),
    "zip link": (lambda p: zipped(p / "x.zip", (a_link(), b"/etc/passwd")), "a link"),
    "nested": (lambda p: zipped(p / "x.zip", ("clip/more.zip", b"PK")), "an archive within"),
    "nested tar": (lambda p: tarred(p / "x.tar", ("more.tar.gz", b"x")), "an archive within"),
    "twice": (lambda p: tarred(p / "x.tar", ("a.png", b"x"), ("a.png", b"y")), "two of this name"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_is_refused_and_told_and_stops_no_other(
    case: str, album: Path, tmp_path: Path
) -> None:
    make, why = HOSTILE[case]
    clips = tmp_path / "clips"
    packed(album, "zip", clips)
    archive = make(clips)
    with pytest.raises(DataError, match=why):
        members_of(archive)
    account = run_pipeline(read_clips(clips), [Frames()], tmp_path / "out")
    assert account.steps[0].failed == {"the clip cannot be read": 1}
    assert account.steps[0].num_out == 4
    assert why in told(tmp_path / "out")[0] and archive.name in told(tmp_path / "out")[0]
    assert not list(tmp_path.rglob("a.png"))


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_cut_anywhere_is_told(album: Path, kind: str, tmp_path: Path) -> None:
    whole = packed(album, kind, tmp_path).read_bytes()
    end = len(whole.rstrip(b"\0")) if kind == "tar" else len(whole)
    for share in (0.0, 0.1, 0.5, 0.9, 0.999):
        cut = tmp_path / f"cut.{kind}"
        cut.write_bytes(whole[: int(end * share)])
        with pytest.raises(DataError, match=r"cut\.(zip|tar): "):
            members_of(cut)
    between = tmp_path / "between.tar"
    tarred(between, ("clip/a.png", b"x" * 512), ("clip/b.png", b"x" * 512))
    between.write_bytes(between.read_bytes()[:1024])
    with pytest.raises(DataError, match="ends before its end"):
        members_of(between)


def test_a_damaged_member_is_passed_over(album: Path, tmp_path: Path) -> None:
    archive = packed(album, "zip", tmp_path / "clips")
    with zipfile.ZipFile(archive) as opened:
        info = next(one for one in opened.infolist() if one.filename.endswith("clip-00/000.png"))
    content = bytearray(archive.read_bytes())
    place = info.header_offset + 30 + len(info.filename) + info.compress_size // 2
    content[place : place + 8] = b"\xff" * 8
    archive.write_bytes(content)
    account = run_pipeline(read_clips(archive), [Frames()], tmp_path / "out")
    assert account.steps[0].num_out == 3 and not account.steps[0].failed


def test_limits_are_of_the_members_and_of_all(album: Path, tmp_path: Path) -> None:
    archive = packed(album, "zip", tmp_path)
    sizes = [one.size for one in members_of(archive)]
    assert len(sizes) == 6
    members_of(archive, ArchiveLimits(members=6, total_bytes=sum(sizes), member_bytes=max(sizes)))
    for limits, why in (
        (ArchiveLimits(members=5), "more than 5 files"),
        (ArchiveLimits(total_bytes=sum(sizes) - 1), "unpacks to over"),
        (ArchiveLimits(member_bytes=max(sizes) - 1), f"unpacks to {max(sizes)} bytes"),
    ):
        with pytest.raises(DataError, match=why):
            members_of(archive, limits)


def test_a_member_that_lies_about_its_size_is_never_read_beyond_it(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "x.zip", ("clip/a.png", bytes(3_000_000)))
    content = archive.read_bytes()
    size = (3_000_000).to_bytes(4, "little")
    archive.write_bytes(content.replace(size, (100).to_bytes(4, "little")))
    (member,) = members_of(archive)
    assert member.size == 100
    with reading(archive) as read, pytest.raises(DataError, match=r"x\.zip"):
        read(member)


def test_archives_without_pictures_and_of_other_kinds(album: Path, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    zipped(clips / "video.zip", ("a.mp4", b"x"))
    account = run_pipeline(read_clips(clips), [Frames()], tmp_path / "out")
    assert account.steps[0].failed == {"the clip cannot be read": 1}
    assert "no picture in it that can be read (videos: unpack them)" in told(tmp_path / "out")[0]
    other = packed(album, "gztar", tmp_path)
    with pytest.raises(DataError, match=r"expected albums of clips in it, or an album as \.zip"):
        read_clips(other)
    renamed = other.rename(tmp_path / "packed.tar")
    with pytest.raises(DataError, match="damaged or no such archive"):
        members_of(renamed)
