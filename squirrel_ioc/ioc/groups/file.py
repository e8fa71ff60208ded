"""FILE: other tools' files. What the jobs do is in `squirrel_ioc.jobs.importing` and `squirrel_ioc.jobs.exporting`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from squirrel_ioc.formats import FORMATS, Kind
from squirrel_ioc.ioc.groups.job_group import STATUS_ALARMS, STATUS_STATES, JobGroup
from squirrel_ioc.ioc.kinds.declare import choice, integer, text
from squirrel_ioc.ioc.kinds.pv import Pv
from squirrel_ioc.model.job import ExportRequest, FileResult, ImportRequest, JobInfo, JobKind

__all__ = ["ERRORS_BYTES", "FORMAT_STATES", "FileGroup"]

FORMAT_STATES: Final = ("Auto", *(f.name for f in FORMATS if Kind.SNAPSHOT in f.reads))
"""States of FILE:FORMAT: find it out, and the formats that hold values."""

ERRORS_BYTES: Final = 16_000
"""Of FILE:ERRORS: it fits in what Channel Access carries without settings (EPICS_CA_MAX_ARRAY_BYTES is 16384)."""


class FileGroup(JobGroup):
    """Contract section 10. FILE:IMPORT and FILE:EXPORT are commands that take text."""

    section = "FILE:"
    kind = JobKind.IMPORT
    noun = "import"
    result_type = FileResult

    import_name = text("IMPORT", 256, "Write a file's name: imports it", writable=True)
    export_name = text("EXPORT", 256, "Write a new file's name: exports ID", writable=True)
    format = choice("FORMAT", FORMAT_STATES, "Format of the file", writable=True)
    snapshot_id = integer("ID", "Snapshot to export, or that was made", writable=True, low=0)
    errors = text("ERRORS", ERRORS_BYTES, "What was wrong with the file, in lines")
    msg = text("MSG", 512, "What happened last")
    status = choice("STATUS", STATUS_STATES, "How it ended", alarms=STATUS_ALARMS)

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        self.starters = frozenset([self.import_name, self.export_name])
        self.import_name.on_put = self._import
        self.export_name.on_put = self._export

    async def _import(self, name: str) -> None:
        request = ImportRequest(name, self._format())
        await self._run_file(request, "import", self.import_name)

    async def _export(self, name: str) -> None:
        request = ExportRequest(self.snapshot_id.value, name, self._format())
        await self._run_file(request, "export", self.export_name)

    async def _run_file(self, request: ImportRequest | ExportRequest, noun: str, pv: Pv) -> None:
        if self._run is None:
            self.noun = noun
        # The last one's errors go when this one has been accepted.
        await self.run_job(request, None, [(pv, request.file), (self.errors, "")])

    def _format(self) -> str:
        return FORMAT_STATES[self.format.value] if self.format.value else ""

    def is_ours(self, kind: JobKind) -> bool:
        """Imports and exports."""
        return kind in (JobKind.IMPORT, JobKind.EXPORT)

    def results(self, info: JobInfo, result: Any, duration_s: float) -> Iterable[tuple[Pv, Any]]:
        """What was wrong, and the snapshot that an import made."""
        warnings = (f"warning: {line}" for line in result.warnings)
        yield self.errors, _lines((*result.errors, *warnings))
        if info.kind is JobKind.IMPORT and result.snapshot_id:
            yield self.snapshot_id, result.snapshot_id


def _lines(lines: tuple[str, ...]) -> str:
    """Whole lines as far as they fit, and how many do not."""
    shown: list[str] = []
    room = ERRORS_BYTES - len("and 1000000 more")
    for line in lines:
        room -= len(line.encode("utf-8", "replace")) + 1
        if room < 0:
            return "\n".join([*shown, f"and {len(lines) - len(shown)} more"])
        shown.append(line)
    return "\n".join(shown)
