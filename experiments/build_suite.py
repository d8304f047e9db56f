"""Make the suite `yeast` of the benchmark from downloads: compact files, their digests, a manifest.

    python experiments/build_suite.py DATA OUT

DATA has the folders `standards` (GO slim mappings of 2015 and 2023 and names of SGD, the OBO file
of the slim, ComplexTAB of the Complex Portal, accessions of Swiss-Prot) and `localization`, of
which only digests are taken, as of KEGG's and CYC2008's files. OUT is a new folder, to be compared
with deeploc_tf/benchmark/suites/yeast, where ATTRIBUTION.md says whose the files are. No profiles
are read: the suite is made before anything is scored.

What appears between GO slim 2015 and 2023 is of a term that both have by its GO id. A mapping that
was made anew also moves proteins, of which nobody learned anything; so a term takes part only where

- 80 of 100 of its members in 2015 are members in 2023,
- no more than half as many members came as there were in 2015, and
- five members or more came, and five or more were there.

Proteins that either year's mapping lacks are no candidates: nobody could have annotated them.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from deeploc_tf.benchmark.identifiers import IdentifierMap, read_identifiers
from deeploc_tf.benchmark.standards import Standard, read_standard

KEPT, GROWTH, FEWEST = 0.8, 0.5, 5
CC_BY = "CC BY 4.0, https://creativecommons.org/licenses/by/4.0/"
CC0 = "CC0 1.0, https://creativecommons.org/publicdomain/zero/1.0/"
SGD = "Saccharomyces Genome Database (SGD), https://www.yeastgenome.org, and the GO Consortium"
OUTSIDE = [
    ("Huh 2003", "localization/allOrfData.txt", "huh-table", "Huh et al. 2003, Nature 425:686"),
    ("LoQAtE 2013", "localization/loqate_2013.csv", "loqate", "Breker et al. 2013, JCB 200:839"),
    ("KEGG", "standards/kegg_cut1-6.tsv", "kegg-table", "KEGG pathways, by yeast-GEM"),
    ("CYC2008", "standards/cyc2008.txt", "lines", "Pu et al. 2009, Nucleic Acids Res. 37:825"),
]


def write(path: Path, lines: Iterable[str]) -> dict[str, str]:
    """Write text, the same bytes for the same lines; gives name and digest."""
    text = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(text, 9, mtime=0))
    return {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def gmt(path: Path, terms: Mapping[str, Iterable[str]], told: Mapping[str, str]) -> dict[str, str]:
    """Write terms with their descriptions and members, as GMT."""
    rows = ([t, told.get(t, "") or t, *sorted(m)] for t, m in sorted(terms.items()))
    return {**write(path, map("\t".join, rows)), "format": "gmt-described"}


def names(data: Path, out: Path) -> list[dict[str, str]]:
    """SGD's names and Swiss-Prot's accessions, in the columns that are read."""
    genes = []
    for line in gzip.decompress((data / "SGD_features.tab.gz").read_bytes()).decode().splitlines():
        sgd_id, kind, _, systematic, standard, aliases = line.split("\t")[:6]
        if systematic and (kind in ("ORF", "pseudogene") or kind.endswith("_gene")):
            genes.append([sgd_id, kind, "", systematic, standard, aliases, *[""] * 10])
    rows = (data / "swissprot_cut1-5.tsv").read_text("utf-8").splitlines()
    header = rows[0].split("\t")
    chosen = header.index("uniprot"), header.index("gene_id")
    pairs = [[row.split("\t")[column] for column in chosen] for row in rows]
    return [
        write(out / "names.tab.gz", map("\t".join, sorted(genes))),
        write(out / "accessions.tsv.gz", map("\t".join, [pairs[0], *sorted(pairs[1:])])),
    ]


def genes_of(path: Path, identifiers: IdentifierMap) -> set[str]:
    """Proteins that a GO slim mapping has, annotated or not."""
    rows = gzip.decompress(path.read_bytes()).decode().splitlines()
    fields = [row.split("\t") for row in rows]
    orfs = sorted({field[0] for field in fields if field[-1].startswith("ORF")})
    return set(identifiers.map(orfs)[0])


def appeared(before: Standard, after: Standard, candidates: set[str]) -> tuple[Any, Any, Any]:
    """Members in 2015 and those that came, of terms that keep the rule; and why others do not."""
    known, new, reasons = {}, {}, {"not in both": 0, "moved": 0, "grown": 0, "few": 0}
    for term in sorted(before.terms.keys() | after.terms.keys()):
        if term not in before.terms or term not in after.terms:
            reasons["not in both"] += 1
            continue
        old, came = before.terms[term], after.terms[term] - before.terms[term]
        if len(old & after.terms[term]) < KEPT * len(old):
            reasons["moved"] += 1
        elif len(came) > GROWTH * len(old):
            reasons["grown"] += 1
        elif min(len(came & candidates), len(old)) < FEWEST:
            reasons["few"] += 1
        else:
            known[term], new[term] = old, came & candidates
    return known, new, reasons


def main() -> None:
    """Write the suite, and say how large it is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    data, out = arguments.data / "standards", arguments.out
    out.mkdir(parents=True)
    tables = ("SGD_features.tab.gz", "swissprot_cut1-5.tsv")
    identifiers = read_identifiers(*(data / table for table in tables))
    slim = (data / "goslim_yeast.obo").read_text("utf-8")
    ids = {line.removeprefix("id: ") for line in slim.splitlines() if line.startswith("id: GO:")}
    mapping = {
        (aspect, year): read_standard(
            data / f"go_slim_mapping_{year}.tab.gz", aspect=aspect, identifiers=identifiers
        )
        for aspect in "CP"
        for year in (2015, 2023)
    }
    manifest: dict[str, Any] = {
        "schema_version": 1,
        "name": "yeast",
        "version": "1",
        "organism": "Saccharomyces cerevisiae",
        "identifiers": names(data, out),
        "standards": [],
    }
    for name, aspect, year in (("component", "C", 2023), ("process", "P", 2023)):
        one = mapping[aspect, year]
        # the mapping of 2023 has complexes among the components, which are a standard of their own
        terms = {t: m for t, m in one.terms.items() if aspect == "P" or t in ids}
        found = gmt(out / f"go_{name}_{year}.gmt.gz", terms, one.descriptions)
        entry = {"name": f"GO {name}", **found, "source": SGD, "license": CC_BY}
        manifest["standards"].append(entry)
    portal = read_standard(data / "Yeast_complex_portal_2022.tsv", identifiers=identifiers)
    several = {term: members for term, members in portal.terms.items() if len(members) > 1}
    found = gmt(out / "complex_portal_2022.gmt.gz", several, portal.descriptions)
    source = "Complex Portal, https://www.ebi.ac.uk/complexportal"
    manifest["standards"].append(
        {"name": "Complex Portal", **found, "source": source} | {"license": CC0}
    )
    old = mapping["C", 2015]
    found = gmt(out / "go_component_2015.gmt.gz", old.terms, old.descriptions)
    entry = {"name": "GO component 2015", **found, "source": SGD, "license": CC_BY, "scored": False}
    manifest["standards"].append(entry)
    for name, path, form, source in OUTSIDE:
        digest = hashlib.sha256((arguments.data / path).read_bytes()).hexdigest()
        entry = {"name": name, "file": Path(path).name, "sha256": digest, "format": form}
        manifest["standards"].append({**entry, "source": source, "outside": True})
    manifest["labels"] = ["GO component 2015", "Huh 2003", "LoQAtE 2013"]
    loqate = next(entry for entry in manifest["standards"] if entry["name"] == "LoQAtE 2013")
    abundance = {key: loqate[key] for key in ("file", "sha256", "outside")}
    manifest["abundance"] = {**abundance, "protein": "ORF", "value": "Control Median"}
    files = [data / f"go_slim_mapping_{year}.tab.gz" for year in (2015, 2023)]
    candidates = set.intersection(*(genes_of(path, identifiers) for path in files))
    listed = write(out / "candidates.tsv.gz", sorted(candidates))
    manifest["prospective"] = []
    for name, aspect in (("process", "P"), ("component", "C")):
        before, after = mapping[aspect, 2015], mapping[aspect, 2023]
        known, new, reasons = appeared(before, after, candidates)
        parts = {
            what: gmt(out / f"go_{name}_{what}.gmt.gz", terms, after.descriptions)
            for what, terms in (("known", known), ("new", new))
        }
        entry = {"name": f"GO {name}, 2015 to 2023", **parts, "candidates": listed, "neighbors": 10}
        manifest["prospective"].append({**entry, "left_out": reasons})
        print(name, len(known), "terms,", sum(map(len, new.values())), "annotations;", reasons)
    (out / "suite.json").write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")
    print(sum(path.stat().st_size for path in out.iterdir()), "bytes")


if __name__ == "__main__":
    main()
