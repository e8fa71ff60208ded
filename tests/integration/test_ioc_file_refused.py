"""FILE: what is refused, what fails, and that nothing of it is left behind."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aioca
import pytest
from control_pvs import until
from file_rig import FileRig, file_rig, ioc
from ioc_process import IocProcess

from squirrel_ioc.jobs import _exchange_folder, importing
from squirrel_ioc.model.catalogue import Entry
from squirrel_ioc.model.job import JobStatus
from squirrel_ioc.store import Store

GOOD = "F:AO 2.5\nF:LONG 42\n<END>\n"


@pytest.fixture(scope="module")
def records() -> Iterator[IocProcess]:
    yield from ioc()


@pytest.fixture
async def rig(records: IocProcess, store: Store, tmp_path: Path) -> AsyncIterator[FileRig]:
    folder = tmp_path / "exchange"
    folder.mkdir()
    async with file_rig(store, folder, (Entry("F:AO"), Entry("F:LONG"))) as made:
        yield made


async def refused(rig: FileRig, command: str, name: str) -> str:
    """MSG after a refused write; nothing else has changed, and there is no job of it."""
    before = [await rig.text("FILE:IMPORT"), await rig.text("FILE:EXPORT"), await rig.get("FILE:ID")]
    jobs, snapshots = len(rig.jobs.recent), await rig.store.snapshots()
    assert not await rig.do(command, name)
    assert await rig.label("FILE:STATUS") == "Refused"
    assert [await rig.text("FILE:IMPORT"), await rig.text("FILE:EXPORT"), await rig.get("FILE:ID")] == before
    assert len(rig.jobs.recent) == jobs
    assert await rig.store.snapshots() == snapshots
    return await rig.text("FILE:MSG")


async def failed(rig: FileRig, name: str) -> tuple[str, list[str]]:
    """MSG and the lines of ERRORS after an import that fails; no snapshot is there."""
    assert not await rig.do("IMPORT", name)
    status, message = await rig.status()
    assert status == "Failed"
    assert (await rig.store.snapshots())[1] == 0
    assert await rig.get("FILE:ID") == 0
    return message, await rig.errors()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../a.sav", "has a path"),
        ("/etc/passwd", "has a path"),
        ("sub/a.sav", "has a path"),
        ("sub\\a.sav", "has a path"),
        ("..", "begins with a dot"),
        (".hidden.sav", "begins with a dot"),
        ("", "the name of a file is needed"),
        (" ", "the name of a file is needed"),
        ("a\u202e.sav", "cannot be printed"),
        ("a\n.sav", "control character"),
        ("absent.sav", "there is no file 'absent.sav' in the exchange folder"),
    ],
)
async def test_names(rig: FileRig, name: str, reason: str) -> None:
    (rig.folder.parent / "a.sav").write_text(GOOD)
    assert reason in await refused(rig, "IMPORT", name)
    if name != "absent.sav":
        await rig.put("FILE:FORMAT", "autosave")
        assert reason in await refused(rig, "EXPORT", name)


async def test_too_long_a_name(rig: FileRig) -> None:
    # 256 bytes are what the PV takes, 255 what a file system does.
    assert "longer than 255 bytes" in await refused(rig, "IMPORT", "a" * 256)


async def test_links_pipes_and_folders_are_no_files(rig: FileRig) -> None:
    outside = rig.folder.parent / "outside.sav"
    outside.write_text(GOOD)
    (rig.folder / "link.sav").symlink_to(outside)
    (rig.folder / "inside.sav").write_text(GOOD)
    (rig.folder / "near.sav").symlink_to("inside.sav")
    (rig.folder / "folder.sav").mkdir()
    os.mkfifo(rig.folder / "pipe.sav")
    for name, reason in (("link", "link"), ("near", "link"), ("folder", "no plain file"), ("pipe", "no plain file")):
        message = await refused(rig, "IMPORT", f"{name}.sav")
        assert message == f"{name}.sav: is {'a ' * (reason == 'link')}{reason}"


async def test_a_link_that_comes_after_the_look_is_not_followed(rig: FileRig, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = rig.folder.parent / "outside.sav"
    outside.write_text(GOOD)
    (rig.folder / "link.sav").symlink_to(outside)
    monkeypatch.setattr(importing, "check_file", lambda *_: None)
    message, errors = await failed(rig, "link.sav")
    assert message == errors[0] == "link.sav: is a link"


async def test_a_file_that_grows_is_not_read_without_end(rig: FileRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "EXCHANGE_LIMITS", importing.replace(importing.EXCHANGE_LIMITS, file_bytes=10))
    assert (
        await refused(rig, "IMPORT", rig.write("a.sav", GOOD)) == "a.sav: has 25 bytes, more than the 10 that are read"
    )
    monkeypatch.setattr(_exchange_folder, "_problem", lambda *_: "")
    assert (await failed(rig, "a.sav"))[0] == "a.sav: has more than the 10 bytes that are read"


async def test_export_never_overwrites(rig: FileRig) -> None:
    assert await rig.put("SNAP:TRIGGER", 1)
    await rig.put("FILE:ID", await rig.get("SNAP:ID"))
    outside = rig.folder.parent / "outside.sav"
    (rig.folder / "link.sav").symlink_to(outside)
    rig.write("there.sav", "mine")
    for name in ("there.sav", "link.sav"):
        assert await refused(rig, "EXPORT", name) == f"{name} exists already, and no file is overwritten"
    assert (rig.folder / "there.sav").read_text() == "mine"
    assert not outside.exists()


async def test_a_name_that_is_taken_after_the_look_is_not_overwritten(
    rig: FileRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await rig.put("SNAP:TRIGGER", 1)
    await rig.put("FILE:ID", await rig.get("SNAP:ID"))
    rig.write("there.sav", "mine")
    monkeypatch.setattr("squirrel_ioc.jobs.exporting.check_absent", lambda *_: None)
    assert not await rig.do("EXPORT", "there.sav")
    assert await rig.status() == ("Failed", "there.sav: cannot be written: File exists")
    assert await rig.errors() == ["there.sav: cannot be written: File exists"]
    assert [(p.name, p.read_text()) for p in rig.folder.iterdir()] == [("there.sav", "mine")]


async def test_what_cannot_be_exported(rig: FileRig) -> None:
    assert await refused(rig, "EXPORT", "a.sav") == "snapshot 0 does not exist"
    assert await rig.put("SNAP:TRIGGER", 1)
    await rig.put("FILE:ID", await rig.get("SNAP:ID"))
    assert "say which of burt, psi it is to be" in await refused(rig, "EXPORT", "a.snap")
    assert "say which of autosave, burt, psi, phoebus, jsonl" in await refused(rig, "EXPORT", "a")
    assert list(rig.folder.iterdir()) == []
    assert not await rig.put("FILE:ID", -1)


async def test_a_folder_that_cannot_be_written(rig: FileRig, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    assert await rig.put("SNAP:TRIGGER", 1)
    await rig.put("FILE:ID", await rig.get("SNAP:ID"))
    monkeypatch.setattr(os, "fsync", full)
    assert not await rig.do("EXPORT", "a.sav")
    assert await rig.status() == ("Failed", "a.sav: cannot be written: No space left on device")
    assert list(rig.folder.iterdir()) == []


async def test_no_exchange_folder(records: IocProcess, store: Store) -> None:
    async with file_rig(store, None, (Entry("F:AO"),)) as rig:
        message = "there is no exchange folder: exchange_dir of the settings names none"
        assert await refused(rig, "IMPORT", "a.sav") == message
        assert await refused(rig, "EXPORT", "a.sav") == message


async def test_an_exchange_folder_that_is_gone(rig: FileRig) -> None:
    rig.folder.rmdir()
    message = "the exchange folder cannot be opened: No such file or directory"
    assert await refused(rig, "IMPORT", "a.sav") == message
    assert await refused(rig, "EXPORT", "a.sav") == message


async def test_every_mistake_is_told_at_once(rig: FileRig) -> None:
    bad = "# autosave R5.3\nF:LONG @array@ { 1 }\nF:X\\Y 1\n"
    message, errors = await failed(rig, rig.write("bad.sav", bad))
    assert errors == [
        'bad.sav:2: F:LONG: an array is { "element" "element" ... }',
        "bad.sav:3: 'F:X\\\\Y' is no name of a PV",
        "bad.sav:3: no <END>: the file was not written to its end",
    ]
    assert message == f"{errors[0]} (and 2 more)"
    # The next one begins anew.
    assert await rig.do("IMPORT", rig.write("good.sav", GOOD))
    assert await rig.errors() == [
        "warning: the file does not say when its values were read: the time of the import is taken"
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "bad.sav: is empty"),
        (b"# autosave R5.3\nF:AO 2.5\n", "bad.sav:2: no <END>"),
        (b"\x7fELF\x02\x01\x00\x00" * 100, "bad.sav:1: control character 0x7f: this is no text file"),
        ("F:AO gr\u00f6\u00dfer\n<END>\n".encode("latin-1"), "bad.sav:1: byte 0xf6 at column 8 is no utf-8 text"),
    ],
)
async def test_files_that_are_none(rig: FileRig, content: bytes, reason: str) -> None:
    (rig.folder / "bad.sav").write_bytes(content)
    message, errors = await failed(rig, "bad.sav")
    assert message.startswith(reason)
    assert errors[0].startswith(reason)


async def test_a_list_of_pvs_is_no_snapshot(rig: FileRig) -> None:
    message, _ = await failed(rig, rig.write("a.req", "file other.req P=X:\nF:AO\n"))
    assert message == "a.req: holds a catalogue (autosave), no snapshot"


async def test_many_mistakes_are_cut_at_a_line(rig: FileRig) -> None:
    bad = "".join(f"F:{i} @array@ {{ 1 }}\n" for i in range(200))
    _, errors = await failed(rig, rig.write(f"{'b' * 200}.sav", bad))
    assert 15_000 < len("\n".join(errors)) < 16_000
    assert all(line.startswith("bbb") and line.endswith("... }") for line in errors[:-1])
    assert errors[-1] == f"and {101 - len(errors) + 1} more"


async def test_results_come_before_the_message_and_the_status(rig: FileRig) -> None:
    rig.write("good.sav", GOOD)
    await rig.watch("FILE:ID", "FILE:ERRORS", "FILE:MSG", "FILE:STATUS", "FILE:IMPORT")
    assert await rig.do("IMPORT", "good.sav")
    await until(lambda: rig.updates and rig.updates[-1][0] == "FILE:STATUS" and len(rig.updates) > 5)
    names = [name for name, _ in rig.updates]
    assert names == ["FILE:IMPORT", "FILE:MSG", "FILE:STATUS", "FILE:ERRORS", "FILE:ID", "FILE:MSG", "FILE:STATUS"]
    stamps = {value.raw_stamp for _, value in rig.updates[-4:]}
    assert len(stamps) == 1


async def test_one_file_at_a_time_and_it_can_be_aborted(rig: FileRig, monkeypatch: pytest.MonkeyPatch) -> None:
    names = "".join(f"F:{i} 1\n" for i in range(3000))
    rig.write("long.sav", names + "<END>\n")
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()
    read = importing.read_import

    def held(*arguments: object) -> object:
        asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(10)
        return read(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(importing, "read_import", held)
    task = asyncio.create_task(rig.do("IMPORT", "long.sav"))
    await until(lambda: rig.jobs.current is not None and rig.jobs.current.status is JobStatus.IN_PROGRESS)
    assert await rig.label("FILE:STATUS") == "Running"
    assert not await rig.do("EXPORT", "other.sav")
    assert "import of long.sav" in await rig.text("FILE:MSG")
    assert await rig.label("FILE:STATUS") == "Running"
    # Snapshots do not wait for files.
    assert await rig.put("SNAP:TRIGGER", 1)
    info = next(i for i in rig.jobs.recent if i.title == "import of long.sav")
    assert await rig.jobs.abort(info.id, "somebody")
    gate.set()
    assert not await task
    assert await rig.status() == ("Aborted", "aborted by somebody")
    assert (await rig.store.snapshots())[1] == 1


async def test_nothing_private_is_left(rig: FileRig) -> None:
    assert await rig.do("IMPORT", rig.write("good.sav", GOOD))
    await failed_again(rig)
    assert private_copies() == []


def private_copies() -> list[Path]:
    return [p for p in Path(tempfile.gettempdir()).glob("squirrel-import-*") if any(p.iterdir())]


async def failed_again(rig: FileRig) -> None:
    assert not await rig.do("IMPORT", rig.write("bad.sav", "# autosave R5.3\nF:AO 1\n"))


async def test_the_string_mirror_imports_too(rig: FileRig) -> None:
    rig.write("good.sav", GOOD)
    assert await rig.put("FILE:IMPORT:S", "good.sav", datatype=aioca.DBR_STRING)
    assert await rig.get("FILE:ID") == 1
    assert await rig.text("FILE:IMPORT") == "good.sav"
