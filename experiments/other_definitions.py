"""What BIONIC's evaluation and copairs define otherwise, in numbers on real profiles.

    python experiments/other_definitions.py DATA

DATA is a folder with `protein_features` and `standards`. BIONIC-evals is taken from its code
(github.com/duncster94/BIONIC-evals, 1acf2b3); copairs must be installed for what is said of it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.cluster.hierarchy
import scipy.sparse
from numpy.typing import NDArray
from sklearn.metrics import adjusted_mutual_info_score, average_precision_score

from deeploc_tf.benchmark.average_precision import shared_terms
from deeploc_tf.benchmark.benchmark import Extent, benchmark
from deeploc_tf.benchmark.clustering import LINKAGES, METRICS, NUM_THRESHOLDS, draw_modules
from deeploc_tf.benchmark.identifiers import read_identifiers
from deeploc_tf.benchmark.per_query import permutation_p_values, query_scores
from deeploc_tf.benchmark.similarity import similarities_of
from deeploc_tf.benchmark.standards import Standard, annotate, read_standard

Features = NDArray[np.float32]


def load(data: Path) -> tuple[Features, list[str], Any]:
    """Standardized profiles, their names, and the table of identifiers."""
    folder = data / "standards"
    names = read_identifiers(folder / "SGD_features.tab.gz", folder / "swissprot_cut1-5.tsv")
    path = data / "protein_features" / "WT2_averaged_features.txt.gz"
    table = pd.read_csv(path, sep="\t", index_col=0)
    table.index = pd.Index(names.map(list(table.index))[0])
    table = table[~table.index.duplicated()]
    scaled = (table - table.mean()) / table.std(ddof=0)
    return scaled.to_numpy(np.float32), table.index.tolist(), names


def drawn_by_protein(members: NDArray[np.bool_], generator: np.random.Generator) -> list[int]:
    """Terms as BIONIC draws them: one at random of each protein in turn, if it overlaps none."""
    taken, terms = np.zeros(len(members), bool), []
    for protein in generator.permutation(len(members)):
        if not taken[protein]:
            term = generator.choice(np.flatnonzero(members[protein]))
            if not taken[members[:, term]].any():
                taken |= members[:, term]
                terms.append(term)
    return terms


def clusterings(features: Features, members: scipy.sparse.csr_matrix) -> None:
    """The criterion of the cut, and the draw of terms."""
    proteins, modules = draw_modules(members, np.random.default_rng(0))
    best = {"distance": 0.0, "inconsistent": 0.0}
    for metric in METRICS:
        for method in LINKAGES:
            tree = scipy.cluster.hierarchy.linkage(features[proteins], method, metric)
            for criterion in best:
                cuts = {
                    scipy.cluster.hierarchy.fcluster(tree, height, criterion).tobytes()
                    for height in np.linspace(0, tree[-1, 2], NUM_THRESHOLDS)
                }
                labels = [np.frombuffer(cut, np.int32) for cut in cuts]
                scores = [adjusted_mutual_info_score(modules, one) for one in labels]
                best[criterion] = max(best[criterion], *scores)
    print(f"CYC2008, one draw of {modules.max() + 1} terms, best AMI by criterion: {best}")
    dense = members.toarray() > 0
    sizes = dense.sum(axis=0)
    by_protein = [drawn_by_protein(dense, np.random.default_rng(seed)) for seed in range(50)]
    by_term = []
    for seed in range(50):
        _, drawn = draw_modules(members, np.random.default_rng(seed))
        by_term.append(np.bincount(drawn))
    print(
        "mean size of a drawn term, by protein and by term: "
        f"{np.mean([sizes[terms].mean() for terms in by_protein]):.2f}, "
        f"{np.mean([counts.mean() for counts in by_term]):.2f}"
    )


def zeros(features: Features, names: list[str], standard: Standard) -> None:
    """Proteins of another method without a profile: left out, or zero."""
    missing = np.random.default_rng(0).random(len(names)) < 0.2
    kept = [name for name, gone in zip(names, missing, strict=True) if not gone]
    left_out = benchmark(features[~missing], kept, [standard], extent=Extent(0))[0].numbers
    annotation = annotate(standard, names)
    shared, rows = shared_terms(annotation).toarray(), annotation.proteins
    filled = np.where(missing[:, None], 0, features)[rows]
    lengths = np.linalg.norm(filled, axis=1, keepdims=True)
    unit = np.divide(filled, lengths, out=np.zeros_like(filled), where=lengths > 0)
    pairs = np.triu_indices(len(rows), 1)
    score = average_precision_score(shared[pairs], (unit @ unit.T)[pairs])
    print(
        "GO P, a fifth of the profiles missing, average precision left out and as zeros: "
        f"{left_out['average_precision']:.4f}, {score:.4f}"
    )


def candidates(features: Features, names: list[str], standard: Standard) -> None:
    """Candidates that share another term with the query, and ties."""
    from copairs.map import multilabel

    chosen = np.random.default_rng(0).choice(len(names), 500, replace=False)
    for title, values in (("as they are", features), ("signs", np.sign(features[:, :6]))):
        annotation = annotate(standard, [names[row] for row in chosen])
        rows = chosen[annotation.proteins]
        members = annotation.members.tocsr()
        similarities = similarities_of(values[rows])
        ours = query_scores(similarities, shared_terms(annotation), [1], members).term_precision
        labels = [
            members.indices[members.indptr[i] : members.indptr[i + 1]].tolist()
            for i in range(len(rows))
        ]
        table = pd.DataFrame({"label": labels, "n": np.arange(len(rows))})
        theirs = multilabel.average_precision(
            table, values[rows], ["label"], [], [], ["label"], "label", 1000, progress_bar=False
        )
        print(
            f"GO P, 500 proteins, {title}: mean AP of memberships {ours.mean():.4f}, "
            f"copairs {theirs['average_precision'].mean():.4f}"
        )


def ties() -> None:
    """P-values of queries of profiles that know nothing: of many values, and of few."""
    generator = np.random.default_rng(0)
    members = scipy.sparse.csr_matrix(np.eye(20, dtype=int)[np.arange(400) % 20])
    shared = (members @ members.T).astype(bool)
    shared.setdiag(False)
    shared.eliminate_zeros()
    for width in (6, 3, 2):
        values = np.sign(generator.normal(size=(400, width))).astype(np.float32)
        found = query_scores(similarities_of(values), shared, [1])
        p_values = permutation_p_values(found.precision, found.positives, 399, 1000, generator)
        print(f"{width} signs: p <= 0.05 of {(p_values <= 0.05).mean():.3f} of the queries")


def main() -> None:
    """Print all of it."""
    data = Path(sys.argv[1])
    features, names, identifiers = load(data)
    folder = data / "standards"
    go = read_standard(folder / "go_slim_mapping_2015.tab.gz", aspect="P", identifiers=identifiers)
    complexes = annotate(read_standard(folder / "cyc2008.txt", identifiers=identifiers), names)
    ties()
    zeros(features, names, go)
    candidates(features, names, go)
    clusterings(features[complexes.proteins], complexes.members.tocsr())


if __name__ == "__main__":
    main()
