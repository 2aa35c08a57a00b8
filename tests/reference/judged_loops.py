"""Second, slow and obvious implementations of what is made of a judge's answers."""

from __future__ import annotations


def agreement_by_loops(values):
    exact, difference, deviation = [], [], []
    for repeats in values:
        there = []
        for value in repeats:
            if value is not None:
                there.append(value)
        if len(there) < 2:
            continue
        same = apart = pairs = 0
        for i in range(len(there)):
            for j in range(len(there)):
                if i == j:
                    continue
                pairs += 1
                apart += abs(there[i] - there[j])
                if there[i] == there[j]:
                    same += 1
        mean = sum(there) / len(there)
        squares = 0.0
        for value in there:
            squares += (value - mean) ** 2
        exact.append(same / pairs)
        difference.append(apart / pairs)
        deviation.append((squares / (len(there) - 1)) ** 0.5)
    number = len(exact)
    return {
        "exact": sum(exact) / number if number else None,
        "difference": sum(difference) / number if number else None,
        "deviation": sum(deviation) / number if number else None,
        "num_questions": number,
    }


def dpg_by_loops(answers, parents):
    """In the order of the file, each answer overwritten where it stands."""
    scores = dict(answers)
    for name in list(parents):
        failed = False
        for parent in parents[name]:
            if scores[parent] is not None and scores[parent] == 0:
                failed = True
        if failed and scores[name] is not None:
            scores[name] = 0
    total = number = 0
    for value in scores.values():
        if value is not None:
            total += value
            number += 1
    return total / number if number else None


def strict_dpg_by_loops(answers, parents):
    """A question counts if it and all above it, however far, are yes: asked one by one."""

    def ancestors(name):
        found = set()
        for parent in parents[name]:
            found.add(parent)
            found |= ancestors(parent)
        return found

    total = 0
    for name in answers:
        above = ancestors(name)
        if any(answers[one] == 0 for one in above):
            continue
        if answers[name] is None or any(answers[one] is None for one in above):
            if answers[name] == 0:
                continue
            return None
        total += answers[name]
    return total / len(answers)


def mean_by_loops(values, lowest, highest):
    """Mean, and the means with every missing one filled in from below and from above."""
    there = [value for value in values if value is not None]
    mean = None
    if there:
        mean = 0.0
        for value in there:
            mean += value
        mean /= len(there)
    low = sum(lowest if value is None else value for value in values) / len(values)
    high = sum(highest if value is None else value for value in values) / len(values)
    return mean, low, high
