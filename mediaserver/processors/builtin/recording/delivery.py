"""What follows when the WAV files are closed: conversion, the JSON file, the upload."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from mediaserver.afterwards.lanes import Lane
from mediaserver.afterwards.pending import PENDING
from mediaserver.processors.builtin.recording.formats import Form, converted
from mediaserver.processors.builtin.recording.reports import Reports
from mediaserver.processors.builtin.recording.sidecar import Sidecar
from mediaserver.processors.builtin.recording.storage import Destination, Upload

FINISHING = Lane("finished recordings")
"""Apart from the writing, which goes on meanwhile."""


class Delivery:
    """The work that is left for a recording. ``PENDING`` counts it until it is done.

    Args:
        paths: of the WAV files.
        beside: the JSON file; None: there is none.
        sidecar: content of the JSON file, without the names of the audio files.
        form: the format wanted.
        mono: whether to mix both channels into one.
        to: where the files are uploaded.
        keep: whether uploaded files also stay here.
        reports: logs and counts what goes wrong.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        beside: Path | None,
        sidecar: Sidecar,
        form: Form,
        mono: bool,
        to: Destination,
        keep: bool,
        reports: Reports,
    ) -> None:
        self._paths = list(paths)
        self._beside = beside
        self._sidecar = sidecar
        self._form: Form = form
        self._mono = mono
        self._to = to
        self._keep = keep
        self._reports = reports

    def run(self) -> None:
        """Do it; in a thread."""
        is_handed_on = False
        try:
            self._convert()
            self._describe()
            if self._to:
                files = [*self._paths, *([self._beside] if self._beside is not None else [])]
                Upload(self._to, files, self._reports, keep=self._keep).start()
                is_handed_on = True
        finally:
            if not is_handed_on:
                PENDING.done()

    def _convert(self) -> None:
        try:
            for number, path in enumerate(self._paths):
                self._paths[number] = converted(path, self._form, mono=self._mono)
        except OSError as exc:
            self._reports.not_converted(self._form, exc)

    def _describe(self) -> None:
        if self._beside is None:
            return
        names = tuple(path.name for path in self._paths)
        try:
            msgspec.structs.replace(self._sidecar, files=names).write(self._beside)
        except OSError as exc:
            self._reports.not_described(exc)
            with contextlib.suppress(OSError):
                if not self._beside.stat().st_size:
                    self._beside.unlink()
