"""Layouts that were planned before: nobody is asked twice for the same scene."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path

from personae.compute.runs import RowLog, read_rows
from personae.errors import DataError
from personae.generation.language_planner import question
from personae.generation.layout_answers import check_boxes
from personae.generation.planners import LayoutPlanner, LayoutRequest
from personae.subjects.layout import Layout

__all__ = ["LAYOUTS_FILE", "RememberedPlanner", "request_digest"]

LAYOUTS_FILE = "layouts.jsonl"


class RememberedPlanner:
    """A planner whose layouts are kept in ``layouts.jsonl``, by what was asked and who was asked.

    A line is read again as strictly as an answer. Scenes that differ only in their id share one.
    """

    def __init__(self, planner: LayoutPlanner, folder: Path) -> None:
        self.name, self.model = planner.name, planner.model
        self._planner, self._path = planner, folder / LAYOUTS_FILE

    def plan(self, request: LayoutRequest) -> Layout:
        """What was planned before, or what the planner says now.

        Raises:
            DataError: it could not be planned, or a line of the file is not what was written.
            WorkError: the planner does not answer, or the disk is full.
        """
        key = request_digest(request, self._planner)
        with RowLog(self._path) as log:
            if key in log.done:
                return self._remembered(key, request)
            layout = self._planner.plan(request)
            boxes = {name: list(box) for name, box in layout.items()}
            row = {
                "key": key,
                "scene": request.scene.id,
                "planner": self.name,
                "model": self.model,
                "layout": boxes,
            }
            log.append(key, self.model, [row])
        return layout

    def _remembered(self, key: str, request: LayoutRequest) -> Layout:
        for row in read_rows(self._path):
            if row.get("key") == key:
                return check_boxes(dict(row["layout"]), request)
        raise DataError(f"{self._path}: its journal knows {key}, but no line does; remove both")


def request_digest(request: LayoutRequest, planner: LayoutPlanner) -> str:
    """A short name for all that a layout depends on: 16 hex digits."""
    told = [asdict(message) for message in question(request)]
    text = repr((planner.name, planner.model, told, list(request.scene.subjects)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
