"""The curves that the thresholds of data filters come from: identity, copies, duplicates, faces.

    python benchmarks/filter_curves.py [--part identity --part copies ...] [--count 100]

On toons of test identities; what needs photographs reads them from ``PERSONAE_DATA`` (benchmarks/
xversebench/human: 20 identities, one picture each; photos/) and is left out without it. Shares
come with 95% intervals by resampled identities. The tables are those of docs/numbers.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence

import filter_pictures as pictures
import numpy as np
import torch
from toon_tables import head, line

from personae.data.pipeline.copied import copied
from personae.data.pipeline.looks import hash_distance, perceptual_hash
from personae.data.pipeline.people import Face, face_eyes, look
from personae.data.pipeline.thresholds import thresholds
from personae.metrics.summary import cluster_bootstrap
from personae.toons import identities, look_alike, portrait, scene, toon
from personae.vision.embedders import EfficientNetEmbedder
from personae.vision.faces import DlibFaceDetector, DlibFaceEmbedder, FaceEyes

SAME = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def share(hits: np.ndarray, clusters: np.ndarray | None = None) -> str:
    """A share with its interval by resampled clusters, or rows.

    Of none or all, which resampling knows nothing else of, the exact (Clopper-Pearson) interval of
    as many trials as there are clusters.
    """
    if not len(hits):
        return "-"
    clusters = np.arange(len(hits)) if clusters is None else clusters
    value, far = float(hits.mean()), 1 - 0.025 ** (1 / len(np.unique(clusters)))
    if value in {0.0, 1.0}:
        interval = (0.0, far) if value == 0 else (1 - far, 1.0)
    else:
        interval = cluster_bootstrap(hits.astype(float), clusters, 1000) or (0.0, 1.0)
    return f"{value:.2f} [{interval[0]:.2f}, {interval[1]:.2f}]"


def by_pairs(hits: np.ndarray, first: np.ndarray, second: np.ndarray) -> str:
    """A share of pairs; both identities of a pair are resampled, not the pair."""
    rng, number = np.random.default_rng(0), int(max(first.max(), second.max())) + 1
    drawn = []
    for _ in range(1000):
        times = np.bincount(rng.integers(number, size=number), minlength=number)
        weight = times[first] * times[second]
        if weight.sum():
            drawn.append((weight * hits).sum() / weight.sum())
    low, high = np.percentile(drawn, [2.5, 97.5])
    return f"{hits.mean():.2f} [{low:.2f}, {high:.2f}]"


def similarity(eyes: FaceEyes, first: Face, second: Face) -> float:
    """Calibrated, of two faces."""
    rows = [torch.from_numpy(face.descriptor)[None] for face in (first, second)]
    return float(eyes.embedder.similarity(*rows))


def curve(title: str, unit: str, limits: Sequence[float], kinds: Mapping, tell: Callable) -> None:
    """A table: a row a threshold, a column a kind with its n."""
    print(f"\n{title}\n")
    print(head(unit, *(f"{name} (n {len(values)})" for name, values in kinds.items())))
    for limit in limits:
        print(line([f"{limit:g}", *(tell(np.asarray(v), limit) for v in kinds.values())]))


def identity(count: int) -> None:
    """Toons: a face in a scene against the same toon, a look-alike and strangers elsewhere.

    Decoded: the portrait as the toon checkpoint's autoencoder gives it back.
    """
    eyes, decoded = face_eyes("toons"), pictures.decoder()
    kinds: dict[str, list[tuple[float, int]]] = {
        "same, another scene": [],
        "same, a portrait": [],
        "same, decoded": [],
        "look-alike, one trait": [],
        "strangers": [],
    }
    for who, seed in enumerate(identities("test", count)):
        one, likeness = toon(seed), look_alike(toon(seed), 1)
        far = [toon(other) for other in identities("test", 3, 1000 + 3 * who)]
        here, there, false = (
            scene(3 * who + k, toons=[shown, other])
            for k, (shown, other) in enumerate(zip((one, one, likeness), far, strict=True))
        )
        seen = [pictures.faces_of(eyes, drawn) for drawn in (here, there, false)]
        shown = portrait(one, who, 128).image
        own, again = (pictures.only(look(eyes, view, 1)) for view in (shown, decoded(shown)))
        wanted = seen[0].get("a")
        if wanted is None:
            continue
        others = {
            "same, another scene": [seen[1].get("a")],
            "same, a portrait": [own],
            "same, decoded": [again],
            "look-alike, one trait": [seen[2].get("a")],
            "strangers": [found.get("b") for found in seen],
        }
        for kind, faces in others.items():
            found = [face for face in faces if face is not None]
            kinds[kind] += [(similarity(eyes, wanted, face), who) for face in found]

    def tell(values: np.ndarray, limit: float) -> str:
        return share(values[:, 0] >= limit, values[:, 1].astype(int))

    curve("Similarity at or above a threshold, `toons`", "threshold", SAME, kinds, tell)


def strangers(_: int) -> None:
    """dlib: the 20 identities of XVerseBench, one picture each: no pair of the same person."""
    eyes = FaceEyes(DlibFaceDetector(use_cnn=False), DlibFaceEmbedder())
    rows = [look(eyes, picture, 1) for picture in pictures.photographs("human")]
    faces = [max(found, key=lambda face: face.side_px) for found in rows if found]
    if not faces:
        print("\nstrangers: left out, PERSONAE_DATA names no photographs")
        return
    first, second = np.triu_indices(len(faces), 1)
    values = np.array(
        [similarity(eyes, faces[a], faces[b]) for a, b in zip(first, second, strict=True)]
    )
    print(
        f"\nStrangers at or above a threshold, `dlib` ({len(faces)} people, {len(values)} pairs)\n"
    )
    print(head("threshold", "share of pairs", "people with a stranger above"))
    for limit in (0.1, 0.2, *SAME, 0.97, 0.98, 0.99, 0.995):
        hits = values >= limit
        people = len({*first[hits], *second[hits]})
        print(line([f"{limit:g}", by_pairs(hits, first, second), str(people)]))


def copies(count: int) -> None:
    """How far a copy of a face, and the same toon in another pose, are from it, by three measures.

    `copied` is the one in use; the shape of the landmarks and the hash of the face's box were.
    """
    eyes = face_eyes("toons")
    rows: dict[str, list[tuple[float, float, float]]] = {}
    for who, seed in enumerate(identities("test", count)):
        one, other = toon(seed), toon(identities("test", 1, 1000 + who)[0])
        drawn = scene(who, toons=[one, other])
        face = pictures.faces_of(eyes, drawn).get("a")
        if face is None:
            continue
        member = drawn.members[0]
        views = {
            **pictures.copied_faces(drawn.image, member.mask, face.box),
            "another pose": portrait(one, who, 128, than=member.pose).image,
            "another scene": scene(5000 + who, toons=[one]).image,
        }
        for name, view in views.items():
            found = pictures.middle(look(eyes, view, 1), view)
            if found is None:
                continue
            same = copied(drawn.image, face.box, view, found.box)
            turn = pictures.turned(face.landmarks, found.landmarks)
            bits = pictures.face_bits(drawn.image, face.box, view, found.box)
            rows.setdefault(name, []).append((same, turn, bits))
    limits = {
        "copied, at or above": (0.7, 0.75, 0.8, 0.85, 0.9, 0.95),
        "landmarks turned, below": (0.04, 0.06, 0.08, 0.12, 0.16),
        "bits of the box's hash, below": (6, 10, 14, 18, 22),
    }
    for place, (unit, steps) in enumerate(limits.items()):
        sign = 1 if place == 0 else -1

        def tell(values: np.ndarray, limit: float, place: int = place, sign: int = sign) -> str:
            apart = sign * (values[:, place] - limit)
            return share(apart >= 0 if sign > 0 else apart > 0)

        curve(f"Called a copy by: {unit}", unit, steps, rows, tell)


def duplicates(count: int) -> None:
    """Whole pictures: copies against others, by hash and by embedding, toons and photographs."""
    compared("toons", pictures.drawn_views(count))
    compared("photographs", pictures.photograph_views())


def compared(what: str, views: Iterator[tuple[int, np.ndarray, Mapping[str, np.ndarray]]]) -> None:
    """Both curves of pictures with their copies and with other ones."""
    embedder, bits, cosine = EfficientNetEmbedder(), {}, {}
    for _, picture, others in views:
        code = perceptual_hash(picture)
        own = pictures.embedded(embedder, [picture, *others.values()])
        for place, (name, other) in enumerate(others.items(), start=1):
            bits.setdefault(name, []).append(hash_distance(code, perceptual_hash(other)))
            cosine.setdefault(name, []).append(float(own[0] @ own[place]))
    if not bits:
        print(f"\n{what}: left out, PERSONAE_DATA names no photographs")
        return
    limits = (2, 4, 6, 8, 10, 12, 16)
    curve(f"Hashes fewer bits apart, {what}", "bits", limits, bits, lambda v, x: share(v < x))
    shown = (0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99)
    curve(f"Cosine at or above, {what}", "cosine", shown, cosine, lambda v, x: share(v >= x))


def faces(count: int) -> None:
    """From which size and sharpness on a face is still known: toons, and dlib on photographs."""
    eyes = face_eyes("toons")
    damaged(
        "toons",
        eyes,
        [
            pictures.known_toon(eyes, who, seed)
            for who, seed in enumerate(identities("test", count))
        ],
    )
    real = FaceEyes(DlibFaceDetector(use_cnn=False), DlibFaceEmbedder())
    damaged("dlib, photographs, to themselves", real, pictures.known_people(real))


def damaged(what: str, eyes: FaceEyes, known: Sequence[pictures.Known]) -> None:
    """Faces made small, or blurred, against what they are known by and against a stranger."""
    if not known:
        print(f"\n{what}: left out, PERSONAE_DATA names no photographs")
        return
    limit = thresholds(what.partition(",")[0]).same
    ways = {
        "px": ((8, 12, 16, 20, 24, 28, 32, 40, 48, 64), pictures.small),
        "blur, in faces": ((0.0, 0.01, 0.02, 0.03, 0.045, 0.06, 0.09, 0.13), pictures.blurred),
    }
    for unit, (levels, damage) in ways.items():
        print(f"\n{what}: by {unit} (n {len(known)})\n")
        own = f"own >= {limit:g}"
        print(head(unit, "found", "own, median", own, "stranger, median", "sharpness 5 50 95"))
        for level in levels:
            rows = []
            for one, other in zip(known, [*known[1:], known[0]], strict=True):
                face = pictures.only(look(eyes, damage(one, level), 1))
                if face is not None:
                    values = [similarity(eyes, face, known_by.face) for known_by in (one, other)]
                    rows.append((*values, face.sharpness))
            if not rows:
                print(line([f"{level:g}", f"0 of {len(known)}", *["-"] * 4]))
                continue
            mine, theirs, sharp = np.array(rows).T
            dull = " ".join(f"{x:.0f}" for x in np.quantile(sharp, (0.05, 0.5, 0.95)))
            medians = [f"{np.median(values):.3f}" for values in (mine, theirs)]
            kept = share(mine >= limit)
            cells = [f"{len(rows)} of {len(known)}", medians[0], kept, medians[1], dull]
            print(line([f"{level:g}", *cells]))


def people(count: int) -> None:
    """How many toons are found in scenes of one to five: as rendered, decoded, blurred."""
    eyes = face_eyes("toons")
    print("\nPeople found, toons: fewer, as many, more\n")
    ways = pictures.ways()
    print(head("in the caption", "n each", *ways))
    for number in range(1, 6):
        cells = []
        for way in ways.values():
            shown = [way(scene(s, count=number, split="test").image) for s in range(count)]
            found = np.array([len(look(eyes, picture)) for picture in shown])
            cells.append(f"{sum(found < number)}, {sum(found == number)}, {sum(found > number)}")
        print(line([str(number), str(count), *cells]))


PARTS: Mapping[str, tuple[Callable[[int], None], int]] = {
    "identity": (identity, 200),
    "strangers": (strangers, 20),
    "copies": (copies, 100),
    "duplicates": (duplicates, 60),
    "faces": (faces, 60),
    "people": (people, 40),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", action="append", choices=PARTS, help="default: all")
    parser.add_argument("--count", type=int, help="identities or scenes of each part")
    options = parser.parse_args()
    for name in options.part or PARTS:
        work, usual = PARTS[name]
        print(f"\n### {name}", flush=True)
        work(options.count or usual)


if __name__ == "__main__":
    main()
