"""Contact sheets of pipelines, with faces and without."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from personae.data.pipeline.people import descriptors_of, face_eyes, look
from personae.data.pipeline.result import Cell, hidden, write_sheet
from personae.subjects.box import Box
from personae.subjects.picture import read_picture
from personae.toons import scene


def test_hidden_faces_are_known_no_more_and_the_rest_stays() -> None:
    eyes, known = face_eyes("toons"), 0
    for seed in range(12):
        drawn = scene(seed, count=2)
        faces = look(eyes, drawn.image, 2)
        boxes = [face.box for face in faces]
        seen = hidden(drawn.image, boxes)
        for face in look(eyes, seen):
            similar = eyes.embedder.similarity(descriptors_of([face]), descriptors_of(faces))
            known += float(similar.max()) > 0.5
        y, x = np.mgrid[: seen.shape[0], : seen.shape[1]]
        away = np.ones(seen.shape[:2], bool)
        for box in boxes:
            near_x = (x > box.left - 0.4 * box.width) & (x < box.right + 0.4 * box.width)
            near_y = (y > box.top - 0.4 * box.height) & (y < box.bottom + 0.4 * box.height)
            away &= ~(near_x & near_y)
        assert away.any() and np.array_equal(seen[away], drawn.image[away])
    assert known == 0


def test_a_face_is_sixteen_even_patches_and_the_picture_given_is_left_alone() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (80, 90, 3), np.uint8)
    before = picture.copy()
    seen = hidden(picture, [Box(30, 30, 50, 50), Box(-40, -40, -20, -20)])
    assert np.array_equal(picture, before)
    region = seen[23:57, 23:57]
    assert len(np.unique(region.reshape(-1, 3), axis=0)) == 16
    assert np.array_equal(seen[:20], picture[:20])
    corner = hidden(picture, [Box(80, 70, 100, 90)])
    assert not np.array_equal(corner[70:, 80:], picture[70:, 80:])


def test_the_whole_of_a_picture_is_coarse_where_nobody_said_where_faces_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    Image.fromarray(rng.integers(0, 255, (180, 180, 3), np.uint8)).save(tmp_path / "a.png")

    def cell(faces: tuple[Box, ...] | None, blurred: bool) -> np.ndarray:
        write_sheet(tmp_path, [("x", [Cell("a.png", "", faces)])], blurred=blurred)
        return read_picture(tmp_path / "contact_sheet.png")[40:210, 15:185].astype(float)

    clear, none, known = cell(None, False), cell(None, True), cell((Box(60, 60, 120, 120),), True)
    rough = [np.abs(np.diff(picture, axis=1)).mean() for picture in (clear, known, none)]
    assert rough[0] > rough[1] > 3 * rough[2]
    assert np.array_equal(cell((), True), clear), "no face was found: nothing to hide"
    write_sheet(tmp_path, [])
    assert not (tmp_path / "contact_sheet.png").exists()
