"""Six pictures of photographs that scikit-image ships: one right, five wrong in one way each."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw
from skimage import data

from personae.subjects.box import Box
from personae.subjects.collage import CutOut, Placed, cut_out, paste

__all__ = ["SIZE", "demo_pictures", "reference_photos", "stranger"]

SIZE = (768, 512)
# Where the subjects are in their photographs: left, top, right, bottom of an ellipse, in pixels.
_ASTRONAUT, _CAT, _CUP = (130, 0, 320, 240), (70, 5, 370, 295), (95, 30, 500, 375)


def _part(photo: np.ndarray, ellipse: tuple[int, int, int, int]) -> CutOut:
    mask = Image.new("1", photo.shape[1::-1])
    ImageDraw.Draw(mask).ellipse(ellipse, fill=1)
    return cut_out(photo, np.asarray(mask))


def reference_photos() -> dict[str, np.ndarray]:
    """One photograph a subject, (H, W, 3) uint8, as the scene's reference."""
    return {"astronaut": data.astronaut()[:280, 80:370], "cat": data.cat(), "cup": data.coffee()}


def stranger() -> CutOut:
    """A face of nobody asked for: one of the small grey faces that scikit-image ships."""
    grey = Image.fromarray((data.lfw_subset()[0] * 255).clip(0, 255).astype(np.uint8))
    photo = np.asarray(grey.resize((150, 150), Image.Resampling.BICUBIC).convert("RGB"))
    return _part(photo, (0, 0, 149, 149))


def _cuts() -> dict[str, CutOut]:
    """The subjects as drawn: mirrored and a little darker, so that none is its reference again."""
    parts = {
        "astronaut": _part(data.astronaut(), _ASTRONAUT),
        "cat": _part(data.cat(), _CAT),
        "cup": _part(data.coffee(), _CUP),
    }
    return {
        name: CutOut((cut.image * 0.92).astype(np.uint8), cut.mask).mirrored()
        for name, cut in parts.items()
    }


def _blend(first: CutOut, second: CutOut) -> CutOut:
    """Two subjects in one: half of each, pixel by pixel."""
    height, width = first.mask.shape
    other = Image.fromarray(second.image).resize((width, height))
    mixed = first.image.astype(float) / 2 + np.asarray(other).astype(float) / 2
    return CutOut(mixed.astype(np.uint8), first.mask)


def demo_pictures() -> dict[str, np.ndarray]:
    """What each picture shows -> the picture, (512, 768, 3) uint8."""
    cuts = _cuts()
    sky = np.asarray(Image.fromarray(data.rocket()).crop((0, 0, 300, 200)).resize(SIZE))
    left, middle, right = Box(20, 190, 220, 440), Box(240, 200, 490, 440), Box(515, 235, 755, 440)
    far_left, far_right = Box(10, 235, 230, 425), Box(540, 190, 740, 440)
    corner, top = Box(300, 20, 450, 170), Box(550, 20, 738, 200)

    def picture(**places: Box) -> np.ndarray:
        return paste(sky, [Placed(cuts[name], box) for name, box in places.items()], feather_px=1)

    mixed = _blend(cuts["cat"], cuts["cup"])
    good = picture(astronaut=left, cat=middle, cup=right)
    draw: dict[str, Callable[[], np.ndarray]] = {
        "good": lambda: good,
        "missing": lambda: picture(astronaut=left, cup=right),
        "twice": lambda: paste(good, [Placed(cuts["cat"], top)], 1),
        "stranger": lambda: paste(good, [Placed(stranger(), corner)], 1),
        "blended": lambda: paste(
            picture(astronaut=left), [Placed(mixed, middle), Placed(mixed.mirrored(), right)], 1
        ),
        "swapped": lambda: picture(astronaut=far_right, cat=middle, cup=far_left),
    }
    return {name: make() for name, make in draw.items()}
