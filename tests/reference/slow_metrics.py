"""Second implementations: loops and permutations, slow and obvious, from the formulas alone."""

from __future__ import annotations

import math
from itertools import permutations

Matrix = list[list[float]]


def pairs(similarity: Matrix) -> list[tuple[int, int]]:
    """Every way to pair references with faces is tried; the largest total wins."""
    m = len(similarity)
    n = len(similarity[0]) if m else 0
    if not m or not n:
        return []
    ways = (
        [list(zip(range(m), columns, strict=True)) for columns in permutations(range(n), m)]
        if m <= n
        else [
            [(row, column) for column, row in enumerate(rows)] for rows in permutations(range(m), n)
        ]
    )
    return max(ways, key=lambda way: sum(similarity[i][j] for i, j in way))


def matching_reward(similarity: Matrix, positive: float = 1.0, negative: float = -1.0) -> float:
    cells = [(i, j) for i in range(len(similarity)) for j in range(len(similarity[0]))]
    matched = pairs(similarity)
    total = sum(
        (positive if cell in matched else negative) * similarity[cell[0]][cell[1]] for cell in cells
    )
    return total / len(cells) if cells else 0.0


def clip(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def strict_matching_reward(
    similarity: Matrix, margin: float = 0.3, expected: Matrix | None = None
) -> float:
    m, n = len(similarity), len(similarity[0])
    claim = [[0.0] * n for _ in range(m)]
    for i in range(m):
        for j in range(n):
            cost = 0.0
            for k in range(m):
                if k != i:
                    allowed = margin if expected is None else max(margin, expected[i][k])
                    cost += clip((similarity[k][j] - allowed) / (1 - margin))
            claim[i][j] = max(0.0, clip((similarity[i][j] - margin) / (1 - margin)) - cost)
    matched = [(i, j) for i, j in pairs(claim) if claim[i][j] > 0]
    earning = {j for _, j in matched}
    total = 0.0
    for i, j in matched:
        duplicates = sum(claim[i][other] for other in range(n) if other not in earning)
        total += max(0.0, claim[i][j] - duplicates)
    return total / m


def id_similarity(similarity: Matrix) -> list[float]:
    return [max(row) if row else 0.0 for row in similarity]


def strict_id_similarity(similarity: Matrix) -> list[float]:
    scores = [0.0] * len(similarity)
    for i, j in pairs(similarity):
        scores[i] = clip(similarity[i][j])
    return scores


def id_confusion(similarity: Matrix) -> list[float]:
    scores = []
    for row in similarity:
        if len(row) < 2:
            scores.append(math.nan)
            continue
        first, second = sorted(row, reverse=True)[:2]
        scores.append(min(1.0, (first - second) / first) if first > 0 else 0.0)
    return scores


def strict_id_confusion(similarity: Matrix, present: float = 0.5) -> list[float]:
    scores = [0.0] * len(similarity)
    for i, j in pairs(similarity):
        rivals = [0.0]
        rivals += [similarity[i][k] for k in range(len(similarity[i])) if k != j]
        rivals += [similarity[k][j] for k in range(len(similarity)) if k != i]
        own = similarity[i][j]
        scores[i] = clip((own - max(rivals)) / max(own, present))
    return scores


def spectral_norm(matrix: Matrix) -> float:
    """Largest singular value by power iteration on the Gram matrix."""
    columns = len(matrix[0])
    gram = [
        [sum(row[a] * row[b] for row in matrix) for b in range(columns)] for a in range(columns)
    ]
    vector = [1.0 + 0.37 * k for k in range(columns)]
    for _ in range(3000):
        vector = [sum(g * v for g, v in zip(row, vector, strict=True)) for row in gram]
        length = math.sqrt(sum(v * v for v in vector))
        if length < 1e-300:
            return 0.0
        vector = [v / length for v in vector]
    image = [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]
    return math.sqrt(sum(value * value for value in image))


def detect_and_compare(similarity: Matrix, expected: Matrix) -> float:
    n = len(expected)
    if len(similarity) != n:
        return 0.0
    unused = list(range(n))
    rows = []
    for column in range(n):
        best = unused[0]
        for row in unused:
            if similarity[row][column] > similarity[best][column]:
                best = row
        unused.remove(best)
        rows.append(similarity[best])
    return 1 - spectral_norm([[rows[i][j] - expected[i][j] for j in range(n)] for i in range(n)])


def strict_detect_and_compare(similarity: Matrix, expected: Matrix) -> float:
    n = len(expected)
    rows = [[0.0] * n for _ in range(n)]
    used = set()
    for box, subject in pairs(similarity):
        rows[subject] = similarity[box]
        used.add(box)
    extra = 0
    for box, row in enumerate(similarity):
        if box not in used:
            subject = row.index(max(row))
            extra += row[subject] >= 0.5 * expected[subject][subject]
    off = spectral_norm([[rows[i][j] - expected[i][j] for j in range(n)] for i in range(n)])
    return clip(1 - off / spectral_norm(expected) - extra / n)


def reference_similarity(vectors: list[list[list[float]]], self_pairs: bool = True) -> Matrix:
    def cosine(a: list[float], b: list[float]) -> float:
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))

    def mean(i: int, j: int) -> float:
        values = [
            cosine(a, b)
            for x, a in enumerate(vectors[i])
            for y, b in enumerate(vectors[j])
            if self_pairs or i != j or x != y
        ]
        return sum(values) / len(values) if values else 1.0

    return [[mean(i, j) for j in range(len(vectors))] for i in range(len(vectors))]


def presence(similarity: Matrix, present: float = 0.5) -> tuple[list[int], int]:
    """Copies of each subject, and strangers."""
    m, n = len(similarity), len(similarity[0])
    kept = [[value if value >= present else 0.0 for value in row] for row in similarity]
    match = {i: j for i, j in pairs(kept) if kept[i][j] > 0}
    copies = [int(i in match) for i in range(m)]
    strangers = 0
    for j in set(range(n)) - set(match.values()):
        column = [similarity[i][j] for i in range(m)]
        best = column.index(max(column))
        if column[best] >= present:
            copies[best] += 1
        else:
            strangers += 1
    return copies, strangers


def copy_paste(gt: float, gr: float, tr: float) -> float:
    value = (math.acos(gt) - math.acos(gr)) / max(math.acos(tr), 1e-4)
    return min(max(value, -1.0), 1.0)
