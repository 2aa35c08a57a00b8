import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from personae.data.photo_formats import read_photos, write_photos
from personae.data.photo_formats.outlines import Outline, mask_from_runs, runs_from_mask
from personae.data.photo_formats.written import image_bytes
from personae.errors import DataError, RequestError
from personae.subjects.picture import read_mask, read_picture
from personae.subjects.subject import Subject
from tests.data.photo_sets import picture, small_cast, thing


def mask_of(photo):
    shape = read_picture(photo.image).shape[:2]
    return (
        photo.mask.mask(shape) if isinstance(photo.mask, Outline) else read_mask(photo.mask, shape)
    )


@pytest.mark.parametrize("layout", ["mudi", "imagefolder", "coco", "masks"])
def test_photos_masks_and_names_go_out_and_come_back(layout, tmp_path) -> None:
    subjects = small_cast(tmp_path / "cast")
    write_photos(subjects, layout, tmp_path / "out")
    back = read_photos(tmp_path / "out")
    assert back.layout == ("folders" if layout == "masks" else layout)
    assert [item.id for item in back.subjects] == [item.id for item in subjects]
    for subject, given_back in zip(subjects, back.subjects, strict=True):
        assert given_back.noun == subject.noun
        assert given_back.token == (None if layout == "masks" else subject.token)
        assert len(given_back.photos) == len(subject.references)
        for file, photo in zip(subject.references, given_back.photos, strict=True):
            image = read_picture(file.image)
            assert np.array_equal(read_picture(photo.image), image)
            assert np.array_equal(mask_of(photo), read_mask(file.mask, image.shape[:2]))
            assert photo.caption == (None if layout == "masks" else file.caption)
            if layout in {"imagefolder", "coco"}:
                assert photo.words.get("license") == file.license
                assert photo.words.get("source") == file.source


def test_mudi_is_written_as_its_program_reads_it(tmp_path) -> None:
    write_photos(small_cast(tmp_path / "cast"), "mudi", tmp_path / "out")
    head, row, *rest = (tmp_path / "out" / "metadata.jsonl").read_text("utf-8").splitlines()
    assert json.loads(head) == {
        "id": {"grüne Kanne": "olis green can", "robot": "hta white robot toy"}
    }
    assert json.loads(row) == {
        "id": "grüne Kanne",
        "file_name": "grüne Kanne_00.png",
        "mask_path": "mask_grüne Kanne_00.png",
        "text": "olis green can on clouds, number 0",
    }
    assert len(rest) == 3


def test_the_image_folder_holds_the_final_words(tmp_path) -> None:
    write_photos(small_cast(tmp_path / "cast"), "imagefolder", tmp_path / "out")
    rows = [json.loads(x) for x in (tmp_path / "out" / "metadata.jsonl").read_text().splitlines()]
    assert rows[2]["file_name"] == "robot/00.png"
    assert rows[2]["text"] == "hta white robot toy on clouds, number 0"


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def test_a_plain_image_folder_takes_its_subjects_from_its_folders(tmp_path) -> None:
    for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
        save(tmp_path / name, picture(1))
    rows = [
        {"file_name": "cat/2.png", "text": "a cat asleep", "width": 48},
        {"file_name": "cat/1.png"},
        {"file_name": "dog/1.png", "text": "in the rain"},
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    cat, dog = read_photos(tmp_path).subjects
    assert [photo.caption for photo in cat.photos] == [None, "a {cat} asleep"]
    assert dog.photos[0].caption == "a photo of {dog}, in the rain"
    assert read_photos(tmp_path / "metadata.jsonl").subjects == (cat, dog)


MUDI = '{"id": {"a": "olis corgi", "b": "hta chow chow"}}'
GOOD = (
    '{"id": "a", "file_name": "1.png", "mask_path": "mask_1.png", "text": "a photo of olis corgi"}'
)
OTHER = '{"id": "b", "file_name": "2.png", "text": "A Chow Chow on grass"}'


@pytest.fixture
def mudi(tmp_path):
    for number in (1, 2):
        image, mask = thing(number)
        save(tmp_path / f"{number}.png", image)
        save(tmp_path / f"mask_{number}.png", mask)

    def write(*lines):
        (tmp_path / "metadata.jsonl").write_text("\n".join(lines) + "\n")
        return tmp_path

    return write


def test_mudis_tokens_classes_and_captions_are_understood(mudi) -> None:
    corgi, chow = read_photos(mudi(MUDI, GOOD, OTHER)).subjects
    assert (corgi.id, corgi.token, corgi.noun) == ("a", "olis", "corgi")
    assert (chow.id, chow.token, chow.noun) == ("b", "hta", "chow chow")
    assert corgi.photos[0].caption == "a photo of {a}"
    assert chow.photos[0].caption == "A {b} on grass"
    assert chow.photos[0].mask.name == "mask_2.png", "found beside the photo"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "not JSON"),
        ("[1]", "expected an object"),
        ('{"id": "c", "file_name": "2.png"}', "expected one of"),
        ('{"id": "b"}', "expected the path"),
        ('{"id": "b", "file_name": "gone.png"}', "no such file"),
        ('{"id": "b", "file_name": "../x.png"}', "leaves"),
        ('{"id": "b", "file_name": "2.png", "text": 3}', "expected a text"),
        ('{"id": "b", "file_name": "2.png", "mask_path": "gone.png"}', "no such file"),
    ],
)
def test_a_bad_line_refuses_the_file_and_is_named(mudi, line, words) -> None:
    """MuDI's own program would end there in silence, and train on the lines before."""
    with pytest.raises(DataError, match=rf"metadata\.jsonl:3: .*{words}"):
        read_photos(mudi(MUDI, GOOD, line, OTHER))


@pytest.mark.parametrize("head", ['{"id": {}}', '{"id": {"a": ""}}', '{"id": {"a": 1}}'])
def test_a_bad_first_line_is_named(mudi, head) -> None:
    with pytest.raises(DataError, match=r"metadata\.jsonl:1: "):
        read_photos(mudi(head, GOOD))


def test_an_id_without_a_photo_is_told(mudi) -> None:
    with pytest.raises(DataError, match="'b' has no photo"):
        read_photos(mudi(MUDI, GOOD))


def test_two_nouns_of_one_subject_are_refused_by_line(tmp_path) -> None:
    save(tmp_path / "1.png", picture(1))
    row = {"file_name": "1.png", "subject": "cat", "noun": "grey cat"}
    lines = [json.dumps(row), json.dumps({**row, "noun": "red cat"})]
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"metadata\.jsonl:2: noun of 'cat' is 'red cat'"):
        read_photos(tmp_path)


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)))
def test_runs_of_a_mask_give_it_back(mask) -> None:
    runs = runs_from_mask(mask)
    assert np.array_equal(mask_from_runs(runs, mask.shape), mask)
    slow, value, count = [], False, 0
    for pixel in mask.T.reshape(-1):
        if bool(pixel) != value:
            slow.append(count)
            value, count = bool(pixel), 0
        count += 1
    assert runs == [*slow, count]


@given(st.lists(st.integers(0, 9), max_size=5))
def test_runs_that_do_not_fill_the_mask_are_refused(runs) -> None:
    if sum(runs) != 12:
        with pytest.raises(DataError, match="fill"):
            mask_from_runs(runs, (3, 4))


def coco(tmp_path, **changes):
    save(tmp_path / "1.png", np.zeros((40, 48, 3), np.uint8))
    square = {"segmentation": [[10, 5, 30, 5, 30, 25, 10, 25]], "iscrowd": 0}
    data = {
        "images": [{"id": 7, "file_name": "1.png"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 3, **square}],
        "categories": [{"id": 3, "name": "cup"}, {"id": 4, "name": "fork"}],
        **changes,
    }
    (tmp_path / "labels.json").write_text(json.dumps(data))
    return tmp_path


def test_a_polygon_covers_the_pixels_inside_its_corners(tmp_path) -> None:
    read = read_photos(coco(tmp_path))
    (cup,) = read.subjects
    mask = mask_of(cup.photos[0])
    assert mask[5:25, 10:30].mean() > 0.95
    assert mask.sum() <= 21 * 21
    assert "no annotation" in read.left_out[0]


SEGMENT = {"id": 1, "image_id": 7, "category_id": 3}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"annotations": [{**SEGMENT, "segmentation": {"counts": "abc", "size": [4, 4]}}]},
            "compressed",
        ),
        (
            {"annotations": [{**SEGMENT, "segmentation": [[1, 2, 3]]}]},
            r"annotations\[0\]: segmentation",
        ),
        ({"annotations": [SEGMENT]}, "segmentation"),
        ({"annotations": [{**SEGMENT, "image_id": 9}]}, "image_id 9 is not in the file"),
        ({"annotations": [5]}, "expected an object"),
        ({"annotations": []}, "no annotation"),
        ({"images": [{"id": 7}]}, r"images\[0\]: expected the path"),
        ({"images": [{"id": 7, "file_name": "1.png"}] * 2}, "used before"),
    ],
)
def test_a_bad_entry_of_coco_is_named(tmp_path, changes, words) -> None:
    with pytest.raises(DataError, match=words):
        read_photos(coco(tmp_path, **changes))


def test_a_mask_of_another_size_is_refused(tmp_path) -> None:
    runs = {"counts": [2, 2], "size": [2, 2]}
    (cup,) = read_photos(coco(tmp_path, annotations=[{**SEGMENT, "segmentation": runs}])).subjects
    with pytest.raises(DataError, match="its photo 48x40"):
        mask_of(cup.photos[0])


def test_photos_without_a_folder_a_subject_are_told_what_to_do(tmp_path) -> None:
    save(tmp_path / "1.png", picture(1))
    with pytest.raises(DataError, match="move them into one"):
        read_photos(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        read_photos(tmp_path / "gone")


def test_what_cannot_be_written_is_said(tmp_path) -> None:
    (subject, _) = small_cast(tmp_path / "cast")
    bare = Subject("x", "x", "object", (type(subject.references[0])(subject.references[0].image),))
    for layout in ("mudi", "coco"):
        with pytest.raises(DataError, match="no mask"):
            write_photos([bare], layout, tmp_path / layout)
    with pytest.raises(RequestError, match="expected one of"):
        write_photos([subject], "yolo", tmp_path / "y")
    with pytest.raises(RequestError, match="not an empty folder"):
        write_photos([subject], "masks", tmp_path / "cast")


def test_a_photos_content_and_not_its_name_says_what_it_is(tmp_path) -> None:
    plain = save(tmp_path / "a.png", picture(1))
    liar = plain.rename(tmp_path / "b.jpg")
    assert image_bytes(liar) == (".png", liar.read_bytes())
    jpeg = save(tmp_path / "c.jpg", picture(1))
    assert image_bytes(jpeg) == (".jpg", jpeg.read_bytes())
    clear = np.dstack([picture(1), np.full((40, 48), 9, np.uint8)])
    suffix, content = image_bytes(save(tmp_path / "d.png", clear))
    assert suffix == ".png"
    assert content != (tmp_path / "d.png").read_bytes()
