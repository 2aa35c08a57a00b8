"""Second, slow and obvious implementations of the metrics: loops, and every permutation tried."""

from __future__ import annotations

import itertools
import math

import numpy as np


def pairs_of_best_assignment(similarity):
    """Pairs (i, j) of a one-to-one assignment with the largest sum, all of them tried."""
    num_rows, num_columns = len(similarity), len(similarity[0]) if len(similarity) else 0
    if num_rows * num_columns == 0:
        return []
    best, best_pairs = -math.inf, []
    if num_rows <= num_columns:
        options = (
            list(enumerate(chosen))
            for chosen in itertools.permutations(range(num_columns), num_rows)
        )
    else:
        options = (
            [(i, j) for j, i in enumerate(chosen)]
            for chosen in itertools.permutations(range(num_rows), num_columns)
        )
    for pairs in options:
        total = sum(similarity[i][j] for i, j in pairs)
        if total > best:
            best, best_pairs = total, pairs
    return best_pairs


def clip(value, low=0.0, high=1.0):
    return min(max(value, low), high)


def id_similarity(similarity):
    return [max(row) if len(row) else 0.0 for row in similarity]


def id_confusion(similarity):
    values = []
    for row in similarity:
        ordered = sorted(row, reverse=True)
        if len(ordered) < 2:
            values.append(math.nan)
        elif ordered[0] > 0:
            values.append(min(1.0, (ordered[0] - ordered[1]) / ordered[0]))
        else:
            values.append(0.0)
    return values


def clipped(similarity):
    return [[clip(cell) for cell in row] for row in similarity]


def strict_id_similarity(similarity):
    values = [0.0] * len(similarity)
    for i, j in pairs_of_best_assignment(clipped(similarity)):
        values[i] = clip(similarity[i][j])
    return values


def strict_id_confusion(similarity, present=0.5):
    values = [0.0] * len(similarity)
    for i, j in pairs_of_best_assignment(clipped(similarity)):
        rivals = [0.0]
        rivals += [similarity[i][other] for other in range(len(similarity[i])) if other != j]
        rivals += [similarity[other][j] for other in range(len(similarity)) if other != i]
        own = max(similarity[i][j], 0.0)
        values[i] = clip((own - max(rivals)) / max(own, present))
    return values


def matching_reward(similarity, positive=1.0, negative=-1.0, validity=None):
    num_rows, num_columns = np.shape(similarity)
    if num_rows * num_columns == 0:
        return 0.0
    pairs = set(pairs_of_best_assignment(similarity))
    total = 0.0
    for i in range(num_rows):
        for j in range(num_columns):
            weight = positive if (i, j) in pairs else negative
            trust = 1.0 if validity is None else validity[i][j]
            total += weight * trust * similarity[i][j]
    return total / (num_rows * num_columns)


def claims(similarity, margin=0.3, references=None):
    """Credit c and claim w of the strict matching reward, cell by cell."""
    num_rows, num_columns = np.shape(similarity)
    credit = [[clip((cell - margin) / (1 - margin)) for cell in row] for row in similarity]
    claim = [[0.0] * num_columns for _ in range(num_rows)]
    for i in range(num_rows):
        for j in range(num_columns):
            cost, most_alike = 0.0, True
            for k in range(num_rows):
                if k == i:
                    continue
                spared = 0.0
                if references is not None:
                    spared = clip((references[i][k] - margin) / (1 - margin))
                cost += max(credit[k][j] - spared, 0.0)
                most_alike = most_alike and credit[i][j] > credit[k][j]
            claim[i][j] = max(credit[i][j] - cost, 0.0) if most_alike else 0.0
    return credit, claim


def strict_matching_reward(similarity, margin=0.3, references=None):
    num_rows, num_columns = np.shape(similarity)
    if num_rows * num_columns == 0:
        return 0.0
    credit, claim = claims(similarity, margin, references)
    rewards = []
    for i in range(num_rows):
        claimants = [j for j in range(num_columns) if claim[i][j] > 0]
        if not claimants:
            rewards.append(0.0)
            continue
        first = min(claimants, key=lambda j, i=i: (-credit[i][j], claim[i][j]))
        others = sum(claim[i][j] for j in claimants if j != first)
        rewards.append(max(claim[i][first] - others, 0.0))
    return sum(rewards) / num_rows


def largest_singular_value(matrix):
    """By power iteration on the Gram matrix, from several starts."""
    matrix = np.asarray(matrix, dtype=float)
    gram = matrix.T @ matrix
    best = 0.0
    for start in np.vstack([np.eye(len(gram)), np.ones(len(gram))]):
        vector = start
        for _ in range(500):
            vector = gram @ vector
            norm = math.sqrt(float(vector @ vector))
            if norm == 0:
                break
            vector = vector / norm
        best = max(best, math.sqrt(max(float(vector @ gram @ vector), 0.0)))
    return best


def detect_and_compare(similarity, expected, assignment="greedy"):
    similarity, expected = np.asarray(similarity, float), np.asarray(expected, float)
    count = expected.shape[0]
    if similarity.shape[0] != count:
        return 0.0
    if assignment == "greedy":
        left, order = list(range(count)), []
        for column in range(count):
            order.append(max(left, key=lambda row, column=column: similarity[row, column]))
            left.remove(order[-1])
    else:
        order = [row for _, row in sorted(pairs_of_best_assignment(similarity.T))]
    return 1 - largest_singular_value(similarity[order] - expected)


def strict_detect_and_compare(similarity, expected, duplicate=0.5):
    similarity, expected = np.asarray(similarity, float), np.asarray(expected, float)
    count = expected.shape[0]
    rows, used = np.zeros((count, count)), set()
    for subject, box in pairs_of_best_assignment(similarity.T):
        rows[subject] = similarity[box]
        used.add(box)
    doubles = 0
    for box in range(similarity.shape[0]):
        likeness = similarity[box].tolist()
        best = likeness.index(max(likeness))
        reaches = likeness[best] >= duplicate * expected[best, best] and likeness[best] > 0
        doubles += box not in used and reaches
    relative = largest_singular_value(rows - expected) / largest_singular_value(expected)
    return clip(1 - relative - doubles / count)


def mean_similarity(first, second, skip_diagonal=False):
    values = []
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            if not (skip_diagonal and i == j):
                values.append(float(a @ b) / math.sqrt(float(a @ a) * float(b @ b)))
    return sum(values) / len(values)


def presence(similarity, present=0.5):
    """(copies, match, strangers)."""
    num_rows, num_columns = len(similarity), len(similarity[0]) if len(similarity) else 0
    eligible = [[cell if cell >= present else 0.0 for cell in row] for row in similarity]
    match = [None] * num_rows
    for i, j in pairs_of_best_assignment(eligible):
        if eligible[i][j] > 0:
            match[i] = j
    copies, strangers = [int(j is not None) for j in match], []
    for j in range(num_columns):
        column = [similarity[i][j] for i in range(num_rows)]
        if j in match:
            continue
        if column and max(column) >= present:
            copies[column.index(max(column))] += 1
        else:
            strangers.append(j)
    return copies, match, strangers


def copy_paste(to_target, to_reference, target_reference):
    theta = [math.acos(clip(c, -1, 1)) for c in (to_target, to_reference, target_reference)]
    return clip((theta[0] - theta[1]) / max(theta[2], 1e-6), -1, 1)


def copy_paste_reference(to_references, between):
    means = []
    for r in range(len(to_references)):
        values = [
            copy_paste(to_references[t], to_references[r], between[t][r])
            for t in range(len(to_references))
            if t != r
        ]
        means.append(sum(values) / len(values))
    return max(means)


def bootstrap(values, clusters, num_resamples, rng):
    """The cluster bootstrap, cluster by cluster."""
    groups = {}
    for value, cluster in zip(values, clusters, strict=True):
        groups.setdefault(cluster, []).append(value)
    names, means = list(groups), []
    for _ in range(num_resamples):
        drawn = [x for pick in rng.integers(0, len(names), len(names)) for x in groups[names[pick]]]
        means.append(sum(drawn) / len(drawn))
    return np.percentile(means, [2.5, 97.5])


def ip_similarity(similarity, boxes, width):
    """The most similar of the first three boxes that are large enough; 0 without one."""
    least, kept = width // 20, []
    for value, (left, top, right, bottom) in zip(similarity, boxes, strict=True):
        wide, high = round(right) - round(left), round(bottom) - round(top)
        if wide * high < least * least or min(wide, high) < least // 4:
            continue
        if len(kept) < 3:
            kept.append(value)
    return max(kept) if kept else 0.0
