from __future__ import annotations

import time

import numpy as np
import pytest

from personae.toons import portrait, toon
from personae.toons.figure import draw_figure
from personae.toons.pen import Pen, ellipse, smooth, turned
from personae.toons.places import PLACES, draw_place
from personae.toons.pose import ACTIONS, WORN, Pose


def test_a_disc_covers_the_area_of_a_circle() -> None:
    pen = Pen.new(40, 40, (20, 20), 10)
    pen.disc(0, 0, 1.5, (10, 200, 30), None)
    alpha = pen.finished()[..., 3]
    assert alpha.sum() == pytest.approx(np.pi * 15**2, rel=0.02)
    assert 0 < ((alpha > 0) & (alpha < 1)).sum() < 200  # a soft rim, and only there


def test_colors_come_premultiplied() -> None:
    pen = Pen.new(10, 10, (5, 5), 1)
    pen.disc(0, 0, 3, (255, 255, 255), None)
    sheet = pen.finished()
    assert np.allclose(sheet[..., 0], sheet[..., 3], atol=1e-6)


def test_an_outline_lies_around_a_shape_and_as_thick_as_said() -> None:
    bare, lined = (Pen.new(60, 60, (30, 30), 20) for _ in range(2))
    bare.disc(0, 0, 1, (250, 0, 0), None)
    lined.disc(0, 0, 1, (250, 0, 0))
    ring = lined.finished()[..., 3].sum() - bare.finished()[..., 3].sum()
    assert ring == pytest.approx(2 * np.pi * 20 * lined.outline * 20, rel=0.15)


def test_a_stroke_has_its_width() -> None:
    pen = Pen.new(60, 20, (0, 10), 1)
    pen.stroke([(10, 0), (50, 0)], 6, (0, 0, 0))
    assert pen.finished()[:, 30, 3].sum() == pytest.approx(6, abs=0.6)


def test_a_part_turns_with_its_pen() -> None:
    pen = Pen.new(100, 100, (50, 50), 10)
    part = pen.at(1, 0, np.pi / 2)
    assert part.places([(1, 0)])[0] == pytest.approx((60, 60))
    assert turned([(1.0, 0.0)], np.pi / 2)[0] == pytest.approx((0, 1))


def test_a_smooth_curve_passes_through_its_points() -> None:
    corners = np.array([(0.0, 0), (2, 0), (2, 1), (0, 1)])
    curve = smooth(corners, 4)
    assert curve.shape == (16, 2)
    assert np.allclose(curve[::4], corners)


def test_a_superellipse_grows_towards_its_box() -> None:
    round_, boxy = (ellipse(0, 0, 1, 1, power) for power in (2.0, 6.0))
    assert np.abs(boxy).sum() > np.abs(round_).sum()
    assert np.abs(boxy).max() <= 1


@pytest.mark.parametrize("turn", [-1.0, 0.0, 1.0])
def test_landmarks_lie_in_the_face_and_move_with_the_head(turn: float) -> None:
    one = toon(2)
    figure = draw_figure(one, Pose(turn=turn), (96, 128), (48, 46), 26)
    x, y = figure.landmarks.T
    assert (x > figure.face.left).all() and (x < figure.face.right).all()
    assert (y > figure.face.top).all() and (y < figure.face.bottom).all()
    assert x[0] < x[1] and x[3] < x[4]
    assert (x.mean() - 48) * turn >= 0


def test_an_eye_is_where_its_landmark_says() -> None:
    one = next(t for t in map(toon, range(200)) if t.eyes == "round" and t.glasses == "none")
    figure = draw_figure(one, Pose(), (192, 256), (96, 92), 52)
    x, y = figure.landmarks[0].round().astype(int)
    around = figure.rgba[y - 8 : y + 9, x - 8 : x + 9, :3].max(2)
    assert around.min() < 0.3  # a dark pupil
    assert figure.alpha[y, x] == 1


@pytest.mark.parametrize("worn", WORN)
def test_worn_things_can_be_seen(worn: str) -> None:
    bare, dressed = (
        draw_figure(toon(9), Pose(wears=wears), (96, 128), (48, 46), 26).rgba
        for wears in (None, worn)
    )
    assert (np.abs(bare - dressed).max(2) > 0.1).sum() > 40


@pytest.mark.parametrize("action", ACTIONS)
def test_actions_can_be_seen_and_what_is_held_is_not_the_toon(action: str) -> None:
    still = draw_figure(toon(9), Pose(), (96, 128), (44, 46), 26)
    acting = draw_figure(toon(9), Pose(action=action), (96, 128), (44, 46), 26)
    assert (np.abs(still.rgba - acting.rgba).max(2) > 0.1).sum() > 40
    held = acting.rgba[..., 3] - acting.alpha
    assert held.min() >= -1e-6
    assert (held > 0.5).any() == action.startswith("holding")


@pytest.mark.parametrize("name", PLACES)
def test_places_fill_the_picture_and_vary(name: str) -> None:
    first, second = (draw_place(name, np.random.default_rng(seed), 128, 128) for seed in (0, 1))
    assert first.shape == (128, 128, 3)
    assert first.min() >= 0 and first.max() <= 1
    assert first.max(2).min() > 0.02  # nowhere left empty
    assert np.abs(first - second).mean() > 0.004


def test_places_differ_from_each_other() -> None:
    pictures = [draw_place(name, np.random.default_rng(0), 64, 64) for name in PLACES]
    for i, first in enumerate(pictures):
        for second in pictures[i + 1 :]:
            assert np.abs(first - second).mean() > 0.05


def test_thousands_of_portraits_a_minute_on_one_core() -> None:
    portrait(toon(0), 0)
    begun = time.process_time()
    for seed in range(20):
        portrait(toon(seed), seed)
    assert 20 / (time.process_time() - begun) * 60 > 1000
