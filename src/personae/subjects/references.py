"""Loading references: from the files a subject names to the pictures themselves."""

from __future__ import annotations

from personae.subjects.picture import read_mask, read_picture
from personae.subjects.subject import Reference, ReferenceFile

__all__ = ["load_reference"]


def load_reference(file: ReferenceFile) -> Reference:
    """Read a reference's photo and, where there is one, its mask.

    Raises:
        DataError: either cannot be read, or the mask does not fit the photo.
    """
    image = read_picture(file.image)
    mask = None if file.mask is None else read_mask(file.mask, image.shape[:2])
    return Reference(image, mask, str(file.image))
