"""How much faster than scikit-learn and copairs are the exact scores, and in how much less memory?

    nice -n 5 python perf/retrieval.py [--proteins 20000] [--repeats 3]

Profiles are noise of 512 numbers; a protein is in two of 60 terms, so that about six pairs in a
hundred are positive. Pooled average precision: ours from vectors, scikit-learn's from scores that
are there already. Mean average precision: scikit-learn's loop over 200 queries, scaled to all;
copairs with a single label and 2,000 proteins. Every run is a process of its own, which says its
time and its highest memory less that before; contestants take turns, and ratios are medians over
rounds. Scores that differ from scikit-learn's by more than 1e-12, given the same similarities, end
the run. Prints each run, and ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np
import scipy.sparse

from deeploc_tf.benchmark.per_query import query_scores
from deeploc_tf.benchmark.pooled import pooled_curve
from deeploc_tf.benchmark.similarity import Similarities, similarities_of

FEATURES, QUERIES, COPAIRS_PROTEINS = 512, 200, 2000
LARGEST_DIFFERENCE = 1e-12


def make(count: int, single: bool) -> tuple[np.ndarray[Any, Any], Any, Any]:
    """Profiles, labels, and which proteins share one."""
    generator = np.random.default_rng(0)
    features = generator.normal(size=(count, FEATURES)).astype(np.float32)
    labels = generator.integers(0, 60, (count, 1 if single else 2))
    rows = np.repeat(np.arange(count), labels.shape[1])
    members = scipy.sparse.csr_matrix((np.ones(len(rows), np.int32), (rows, labels.ravel())))
    shared = (members @ members.T).astype(bool)
    shared.setdiag(False)
    shared.eliminate_zeros()
    return features, labels[:, 0], shared


def run(contestant: str, count: int) -> dict[str, float]:
    """Time, memory and score of one contestant."""
    from sklearn.metrics import average_precision_score

    features, labels, shared = make(count, single="single" in contestant)
    if contestant in ("sklearn pooled", "sklearn queries"):
        similarities = similarities_of(features)
    if contestant == "sklearn pooled":
        scores, true = pairs_of(similarities, shared)
    if contestant == "copairs single":
        import pandas as pd
        from copairs.map import average_precision
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, factor = time.perf_counter(), 1.0
    if contestant == "ours pooled":
        score = pooled_curve(similarities_of(features), shared).average_precision
    elif contestant == "sklearn pooled":
        score = average_precision_score(true, scores)
    elif contestant in ("ours queries", "ours single"):
        score = query_scores(similarities_of(features), shared, [1]).precision.mean()
    elif contestant == "sklearn queries":
        factor = count / QUERIES
        found = []
        for i in range(QUERIES):
            row = np.delete(similarities.block(slice(i, i + 1), slice(None))[0], i)
            found.append(average_precision_score(np.delete(shared[i].toarray()[0], i), row))
        score = float(np.mean(found))
    else:
        table = pd.DataFrame({"label": labels})
        theirs = average_precision(
            table, features, ["label"], [], [], ["label"], batch_size=20000, progress_bar=False
        )
        score = theirs["average_precision"].mean()
    seconds = (time.perf_counter() - start) * factor
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "megabytes": (after - before) / 1024, "score": float(score)}


def pairs_of(similarities: Similarities, shared: Any) -> tuple[Any, Any]:
    """Scores and labels of all pairs, row after row of the upper triangle."""
    count = len(similarities)
    scores = np.empty(count * (count - 1) // 2, np.float32)
    true = np.empty(len(scores), bool)
    start = 0
    for i in range(0, count - 1, 512):
        block = similarities.block(slice(i, min(i + 512, count)), slice(i, None))
        labels = shared[i : i + 512].toarray()
        for j in range(len(block)):
            stop = start + count - 1 - i - j
            scores[start:stop] = block[j, j + 1 :]
            true[start:stop] = labels[j, i + j + 1 :]
            start = stop
    return scores, true


def measure(contestant: str, count: int) -> dict[str, float]:
    """`run` in a process of its own."""
    command = [sys.executable, __file__, "--contestant", contestant, "--proteins", str(count)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"{contestant:16} N={count:6} " + json.dumps(result), flush=True)
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--proteins", type=int, default=20000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contestant:
        print(json.dumps(run(arguments.contestant, arguments.proteins)))
        return
    comparisons = {
        "pooled_ap_over_sklearn": ("sklearn pooled", "ours pooled", arguments.proteins),
        "map_over_sklearn": ("sklearn queries", "ours queries", arguments.proteins),
        "map_over_copairs": ("copairs single", "ours single", COPAIRS_PROTEINS),
    }
    result: dict[str, Any] = {"proteins": arguments.proteins}
    for name, (theirs, ours, count) in comparisons.items():
        rounds = [(measure(theirs, count), measure(ours, count)) for _ in range(arguments.repeats)]
        ratio = statistics.median(a["seconds"] / b["seconds"] for a, b in rounds)
        result[name] = round(ratio, 2)
        if name == "pooled_ap_over_sklearn":
            memory = statistics.median(b["megabytes"] / a["megabytes"] for a, b in rounds)
            result["pooled_ap_memory_over_sklearn"] = round(memory, 3)
            if abs(rounds[0][0]["score"] - rounds[0][1]["score"]) > LARGEST_DIFFERENCE:
                sys.exit(f"Scores must be equal. Received: {rounds[0]}.")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
