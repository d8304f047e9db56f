"""How much faster than scikit-learn and copairs are the exact scores, and in how much less memory?

    nice -n 5 python perf/retrieval.py [--proteins 20000] [--repeats 3]

Profiles are noise of 512 numbers; a protein is in two of 60 terms, so that about six pairs in a
hundred are positive. Pooled average precision: ours from vectors, scikit-learn's from scores that
are there already. Mean average precision: scikit-learn's loop over 200 queries, scaled to all;
copairs with a single label and 2,000 proteins. Every run is a process of its own, which says its
time and its highest memory less that before; contestants take turns, and ratios are medians over
rounds. Scores that differ from scikit-learn's by more than 1e-12, given the same similarities, end
the run. "ours bounded" is pooled average precision with `--memory 1GB`. Beside them, at 4,049
proteins: every point score but the clusterings of four standards, with ten shuffled rankings each,
and the clusterings of one, ten draws. A busy machine stretches seconds; the processor's, of all
threads, hardly. Prints each run, and ends with one line of JSON.
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

from deeploc_tf.benchmark.benchmark import Extent, benchmark
from deeploc_tf.benchmark.clustering import cluster_scores
from deeploc_tf.benchmark.per_query import query_scores
from deeploc_tf.benchmark.pooled import Positives, pooled_curve, scores_by_rows
from deeploc_tf.benchmark.similarity import Similarities, similarities_of
from deeploc_tf.benchmark.standards import Standard

FEATURES, QUERIES, COPAIRS_PROTEINS, YEAST_PROTEINS = 512, 200, 2000, 4049
LARGEST_DIFFERENCE = 1e-12
MEMORY = 10**9


def make(count: int, single: bool) -> tuple[np.ndarray[Any, Any], Any, Any, Any]:
    """Profiles, labels, members of terms, and which proteins share one."""
    generator = np.random.default_rng(0)
    features = generator.normal(size=(count, FEATURES)).astype(np.float32)
    labels = generator.integers(0, 60, (count, 1 if single else 2))
    rows = np.repeat(np.arange(count), labels.shape[1])
    members = scipy.sparse.csr_matrix((np.ones(len(rows), np.int32), (rows, labels.ravel())))
    shared = (members @ members.T).astype(bool)
    shared.setdiag(False)
    shared.eliminate_zeros()
    return features, labels[:, 0], members, shared


def all_scores(features: np.ndarray[Any, Any], members: Any) -> float:
    """Point scores of four standards of the same sizes; the mean of their average precisions."""
    names = [f"P{i}" for i in range(len(features))]
    terms = {
        f"T{t}": frozenset(names[i] for i in column.indices)
        for t, column in enumerate(members.T.tocsr())
    }
    standards = [Standard(str(k), terms) for k in range(4)]
    results = benchmark(features, names, standards, extent=Extent(num_permutations=0))
    return float(np.mean([result.numbers["average_precision"] for result in results]))


def run(contestant: str, count: int) -> dict[str, float]:
    """Time, memory and score of one contestant."""
    from sklearn.metrics import average_precision_score

    features, labels, members, shared = make(count, single="single" in contestant)
    if contestant in ("sklearn pooled", "sklearn queries"):
        similarities = similarities_of(features)
    if contestant == "sklearn pooled":
        scores, true = pairs_of(similarities, shared)
    if contestant == "copairs single":
        import pandas as pd
        from copairs.map import average_precision
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, busy, factor = time.perf_counter(), time.process_time(), 1.0
    if contestant == "ours pooled":
        score = pooled_curve(similarities_of(features), shared).average_precision
    elif contestant == "ours bounded":
        score = pooled_curve(similarities_of(features), shared, MEMORY).average_precision
    elif contestant == "ours all":
        score = all_scores(features, members)
    elif contestant == "ours clusters single":
        found = cluster_scores(features, members, 10, np.random.default_rng(0))
        score = found["adjusted_mutual_information"]
    elif contestant == "sklearn pooled":
        score = average_precision_score(true, scores)
    elif contestant in ("ours queries", "ours single"):
        precision = query_scores(similarities_of(features), shared, [1]).precision
        score = precision[: QUERIES if contestant == "ours queries" else None].mean()
    elif contestant == "sklearn queries":
        factor = count / QUERIES
        rows = np.array(similarities.block(slice(0, 256), slice(None)))  # a block of ours
        start, busy = time.perf_counter(), time.process_time()
        score = np.mean(
            [
                average_precision_score(np.delete(shared[i].toarray()[0], i), np.delete(rows[i], i))
                for i in range(QUERIES)
            ]
        )
    else:
        table = pd.DataFrame({"label": labels})
        theirs = average_precision(
            table, features, ["label"], [], [], ["label"], batch_size=20000, progress_bar=False
        )
        score = theirs["average_precision"].mean()
    seconds = (time.perf_counter() - start) * factor
    of_processor = (time.process_time() - busy) * factor
    megabytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {
        "seconds": seconds,
        "processor_seconds": of_processor,
        "megabytes": megabytes,
        "score": float(score),
    }


def pairs_of(similarities: Similarities, shared: Any) -> tuple[Any, Any]:
    """Scores and labels of all pairs; in our blocks, as the last bit of a product depends on it."""
    count = len(similarities)
    scores = np.empty(count * (count - 1) // 2, np.float32)
    true = np.zeros(len(scores), bool)
    start = row = 0
    positives = Positives(shared)
    for block, _ in scores_by_rows(similarities, [positives]):
        scores[start : start + len(block)] = block
        first, end = row, start + len(block)
        begin = start
        while begin < end:  # whole rows
            begin, row = begin + count - 1 - row, row + 1
        rows = np.arange(first, row)
        begins = start + np.cumsum(count - 1 - rows) - (count - 1 - rows)
        of_row, of_column = positives.in_rows(first, row)
        true[begins[of_row] + of_column - of_row - 1] = True
        start = end
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
    scores: dict[str, float] = {}
    for name, (theirs, ours, count) in comparisons.items():
        rounds = [(measure(theirs, count), measure(ours, count)) for _ in range(arguments.repeats)]
        ratio = statistics.median(a["seconds"] / b["seconds"] for a, b in rounds)
        result[name] = round(ratio, 2)
        if name == "pooled_ap_over_sklearn":
            memory = statistics.median(b["megabytes"] / a["megabytes"] for a, b in rounds)
            result["pooled_ap_memory_over_sklearn"] = round(memory, 3)
        scores[theirs], scores[ours] = (run["score"] for run in rounds[0])
        # copairs computes its own similarities
        check(scores, theirs, ours, 1e-6 if "copairs" in theirs else LARGEST_DIFFERENCE)
    bounded = measure("ours bounded", arguments.proteins)
    scores["ours bounded"] = bounded["score"]
    check(scores, "ours pooled", "ours bounded", LARGEST_DIFFERENCE)
    result["bounded_seconds"] = round(bounded["seconds"], 1)
    result["bounded_megabytes"] = round(bounded["megabytes"])
    for name, contestant in (("all_scores", "ours all"), ("clusters", "ours clusters single")):
        runs = [measure(contestant, YEAST_PROTEINS) for _ in range(arguments.repeats)]
        for unit in ("seconds", "processor_seconds"):
            result[f"{name}_{unit}"] = round(min(run[unit] for run in runs), 1)
    print(json.dumps(result))


def check(scores: dict[str, float], first: str, second: str, largest: float) -> None:
    """Stop where two scores that must be equal are not."""
    if abs(scores[first] - scores[second]) > largest:
        sys.exit(f"Scores of {first!r} and {second!r} must be equal. Received: {scores}.")


if __name__ == "__main__":
    main()
