"""Which terms the profiles know best and worst."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deeploc_tf.benchmark.standards import Annotation


def term_table(annotation: Annotation, term_precision: NDArray[np.float64]) -> pd.DataFrame:
    """Average precision of each term, the best first.

    Each member ranks all other proteins, those of the term are positives, and the mean over
    members is the term's. Its prevalence is the share of positives.

    Args:
        annotation: of the standard.
        term_precision: as `QueryScores` has it, an AP a membership.

    Returns:
        A row a term: `standard`, `term`, `description`, `members`, `average_precision`,
        `prevalence`.
    """
    terms = annotation.members.indices
    sizes = np.bincount(terms, minlength=len(annotation.terms))
    sums = np.bincount(terms, weights=term_precision, minlength=len(annotation.terms))
    table = pd.DataFrame(
        {
            "standard": annotation.standard,
            "term": annotation.terms,
            "description": [annotation.descriptions.get(term, "") for term in annotation.terms],
            "members": sizes,
            "average_precision": sums / sizes,
            "prevalence": (sizes - 1) / (annotation.members.shape[0] - 1),
        }
    )
    return table.sort_values(
        ["average_precision", "term"], ascending=[False, True], ignore_index=True
    )
