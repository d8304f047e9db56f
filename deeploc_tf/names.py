"""When two names are the same name: the one place that decides, for every kind of name.

Names come from files, tables and people, who type spaces that nobody sees and write one word in two
Unicode forms. What differs in nothing a person could see is one name and is matched. What a person
could mean as another name (case, leading zeros) is matched only where its kind allows no other
meaning; elsewhere two such names in one data set are refused, because they would silently be two
plates, two proteins or two classes.

=================  =====================================  ==============  =====================
kind               spaces, Unicode form, zero-width       case            leading zeros
=================  =====================================  ==============  =====================
channel, split     matched                                matched         refused
well               matched                                matched         matched
field              matched                                refused         matched
plate, label,      matched                                refused         refused
protein, group
key                matched                                two names       two names
=================  =====================================  ==============  =====================

Splits have further spellings: `val`, `valid` and `dev` are `validation`. Wells `A1`, `A01` and
`r01c01` are one. Proteins that differ in case alone may be alleles: `distinct_case` lets them be.
Letters of another alphabet that look like Latin ones, and whole numbers with and without a sign or
a decimal point (`1`, `+1`, `1.0`), are refused for every kind beside those but keys, which name
files as often as not.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

logger = logging.getLogger(__name__)

Kind = Literal["channel", "split", "well", "field", "plate", "label", "protein", "group", "key"]

_MATCHES_CASE = frozenset({"channel", "split", "well"})
_MATCHES_ZEROS = frozenset({"well", "field"})
_TELLS_APART = frozenset({"key"})  # whatever can be seen makes another name
_SPLITS = {
    **dict.fromkeys(("val", "valid", "dev"), "validation"),
    "training": "train",
    "testing": "test",
}
USUAL_SPLITS = ("train", "validation", "test")
EVALUATED_SPLITS = USUAL_SPLITS[1:]  # by `fit` when it ends, where they are there
_KIND_OF_COLUMN: dict[str, Kind] = {
    name: name for name in ("split", "well", "field", "plate", "label", "protein", "key")
}
_TYPOGRAPHIC = {
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212"), "-"),
    **dict.fromkeys(map(ord, "\u2018\u2019\u02bc"), "'"),
}
# Unicode calls these letters or marks, but nothing is drawn: joiners, fillers, variation selectors.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
# Cyrillic, then Greek letters, and the Latin ones that they look like.
_LOOKALIKES = str.maketrans(
    "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423\u0425\u0405\u0406\u0408"
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0455\u0456\u0458"
    "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7\u03bf",
    "ABEKMHOPCTYXSIJaeopcyxsijABEZHIKMNOPTYXo",
)
# A zero that begins a whole number; those of 1.05 are behind a decimal point and mean something.
# Controls, and marks that change lines or the direction of writing: what stands behind them is read
# as something else. Then what is no character: neither UTF-8 nor XML can hold all of it.
_STEERING = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
_LEADING_ZEROS = re.compile(r"(?<![\d.,])0+(?=\d)")
_WHOLE = re.compile(r"\+?([0-9]+)(?:\.0*)?")
# As spreadsheets in English or German write the dates that they made of SEPT1, MARCH1 or OCT1.
_MONTH = "(?:jan|feb|m[a\u00e4]r|mrz|apr|ma[iy]|jun|jul|aug|sep|o[ck]t|nov|de[cz])"
_DATE = re.compile(
    rf"(?i:\d{{1,2}}[-/. ]{{1,2}}{_MONTH}[a-z]*(?:[-/. ]\d{{2,4}})?)"
    rf"|(?i:{_MONTH}[a-z]*)-(?:\d\d){{1,2}}"
    r"|\d{4}[-/]\d{1,2}[-/]\d{1,2}(?:[T ].*)?|\d{1,2}[/.]\d{1,2}[/.](?:\d\d){1,2}"
)
_WELL = re.compile(r"([A-Za-z]{1,2})0*([0-9]{1,2})")
_ROW_AND_COLUMN = re.compile(r"[Rr]0*([0-9]{1,2})[Cc]0*([0-9]{1,2})")
_WELL_ROWS, _WELL_COLUMNS = 32, 48  # of a plate of 1,536 wells, the largest
_NAMED = 3  # pairs in a message
_DRAWN_OTHERWISE = ("<super>", "<sub>", "<fraction>", "<circle>", "<square>")
_NOT_DRAWN = ("Cf", "Cc")  # formats and controls


ALLELES = "Where case tells alleles apart, pass distinct_case=True (--distinct-case)."


class NameConflictError(ValueError):
    """Two spellings that may or may not be one name."""


def printable(text: str, keep: str = "") -> str:
    r"""A text whose control characters are shown as escapes, as JSON has them.

    Args:
        text: to be shown to a person.
        keep: control characters that stay, such as the ends of our own lines.

    Example:
        >>> printable("P\x1b[2J1")
        'P\\u001b[2J1'
    """
    return _STEERING.sub(lambda c: c[0] if c[0] in keep else f"\\u{ord(c[0]):04x}", text)


def tidy(name: str) -> str:
    """The name without what nobody sees: outer and double spaces, zero-width characters, NFD.

    >>> tidy(" P1\u200b  b ")
    'P1 b'
    """
    return " ".join(_trimmed(name).split())


def same_form(name: str, kind: Kind) -> str:
    """What two spellings of one name have in common; compare names of one kind by it.

    >>> same_form("r01c02", "well"), same_form("a2", "well"), same_form("Val", "split")
    ('A02', 'A02', 'validation')
    """
    form = _visible_form(name)
    if kind in _MATCHES_CASE:
        form = form.casefold() if form.isascii() else _one_form(form.casefold())
    if kind in _MATCHES_ZEROS:
        form = _LEADING_ZEROS.sub("", form)
    if kind == "well":
        return well_name(name) or form
    return _SPLITS.get(form, form) if kind == "split" else form


def loose_form(name: str, kind: Kind, *, distinct_case: bool = False) -> str:
    """What two names have in common that may or may not be one; compare names to refuse by it.

    >>> loose_form("Act01", "protein"), loose_form("Act01", "protein", distinct_case=True)
    ('act1', 'Act1')
    """
    if kind in _TELLS_APART:
        return same_form(name, kind)
    if not name.isascii():
        name = unicodedata.normalize("NFKC", tidy(name)).translate(_LOOKALIKES)
    form = same_form(name, kind)
    form = _LEADING_ZEROS.sub("", form if distinct_case else form.casefold())
    whole = _WHOLE.fullmatch(form)  # programs write 1 as 1.0 where a number is missing elsewhere
    return whole[1] if whole else form


def date_hint(names: Iterable[str]) -> str:
    """A sentence about names of proteins that look like dates, or "".

    >>> date_hint(["SEC61", "1-Sep"])
    "'1-Sep' looks like a date, which spreadsheets make of names such as SEP1: restore the name."
    """
    dates = [name for name in names if _DATE.fullmatch(name)]
    if not dates:
        return ""
    more = f" (and {len(dates) - 1} more)" if len(dates) > 1 else ""
    return (
        f"{dates[0]!r}{more} looks like a date, which spreadsheets make of names such as SEP1: "
        "restore the name."
    )


def kind_of_column(name: str) -> Kind:
    """The kind of the names in a column, by what it is called; "group" for all others.

    >>> kind_of_column("Metadata_Well"), kind_of_column("batch")
    ('well', 'group')
    """
    bare = tidy(name).casefold().removeprefix("image_").removeprefix("metadata_")
    return _KIND_OF_COLUMN.get(bare, "group")


def known_split(name: str, known: Iterable[str]) -> str:
    """The one of the splits `known` that a person means by `name`; `name` itself if there is none.

    >>> known_split("val", ["train", "validation"]), known_split("val", ["train", "val"])
    ('validation', 'val')
    """
    known = list(known)
    if name in known:
        return name
    form = same_form(name, "split")
    return next((split for split in known if same_form(split, "split") == form), name)


def same_channels(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether channels are the same in the same order, however they are spelled."""
    forms = [[same_form(name, "channel") for name in names] for names in (one, other)]
    return forms[0] == forms[1]


def respelled_channels(found: Sequence[str], ours: Sequence[str]) -> str:
    """A sentence about channels of `same_channels` that two data sets spell in two ways.

    >>> respelled_channels(["GFP", "rfp"], ["gfp", "rfp"])
    "Channels are matched whatever their case: 'GFP' is 'gfp'."
    """
    pairs = [f"{a!r} is {b!r}" for a, b in zip(found, ours, strict=True) if a != b]
    return f"Channels are matched whatever their case: {', '.join(pairs)}."


def unused_splits(names: Iterable[str]) -> str:
    """A sentence about the splits that no training looks at, or "": another may have been meant.

    >>> unused_splits(["train", "test"])
    ''
    """
    unused = sorted({*names} - {*USUAL_SPLITS})
    if not unused:
        return ""
    return (
        f"No command uses the split {', '.join(map(repr, unused))} unless it is named: `fit` takes "
        f"{', '.join(USUAL_SPLITS)} alone."
    )


def well_name(name: str) -> str | None:
    """A well of a plate of up to 1,536 as `A01`, or None where the name is none.

    >>> well_name("a1"), well_name("R02C12"), well_name("AF48"), well_name("control")
    ('A01', 'B12', 'AF48', None)
    """
    form = _visible_form(name)
    if match := _WELL.fullmatch(form):
        row = 0
        for letter in match[1].upper():
            row = row * 26 + ord(letter) - ord("A") + 1
        column = int(match[2])
    elif match := _ROW_AND_COLUMN.fullmatch(form):
        row, column = int(match[1]), int(match[2])
    else:
        return None
    if not (1 <= row <= _WELL_ROWS and 1 <= column <= _WELL_COLUMNS):
        return None
    return f"{'A' * (row > 26)}{chr(ord('A') + (row - 1) % 26)}{column:02d}"


def unified(
    names: Iterable[str], kind: Kind, what: str, *, distinct_case: bool = False
) -> dict[str, str]:
    """The one spelling of each of the names of a data set.

    A name that is spelled in one way only keeps it, but for what nobody sees around and within it;
    `train`, `validation` and `test` are always written so. Of several spellings of one name the
    first in alphabetical order is taken and made tidy, so that the result does not depend on the
    order of the names.

    Args:
        names: as they came, with or without repetition; empty texts stand for themselves.
        kind: of name, which decides what is matched and what is refused.
        what: the names in words, for messages: "Plates", "Values of column 'plate'".
        distinct_case: let names that differ in case be two names; only where case would be refused.

    Returns:
        Every name as it came -> its spelling.

    Raises:
        NameConflictError: two names differ only in what this kind neither matches nor allows.

    Example:
        >>> unified(["P1", "P1 ", "P2"], "plate", "Plates")
        {'P1': 'P1', 'P1 ': 'P1', 'P2': 'P2'}
    """
    different = sorted(set(names))
    forms = [same_form(name, kind) for name in different]
    spellings: dict[str, str] = {}
    by_loose: dict[str, str] = {}
    conflicts = []
    for name, form in zip(different, forms, strict=True):
        is_usual = kind == "split" and form in USUAL_SPLITS
        own = form if is_usual else _trimmed(name)
        spelling = spellings.setdefault(form, own)
        if spelling != own:
            spelling = spellings[form] = tidy(spelling)
        loose = loose_form(name, kind, distinct_case=distinct_case)
        if (first := by_loose.setdefault(loose, form)) != form:
            conflicts.append((spellings[first], spelling))
    if conflicts:
        pairs = ", ".join(" and ".join(told_apart(*pair)) for pair in conflicts[:_NAMED])
        more = f" ({len(conflicts)} such pairs)" if len(conflicts) > 1 else ""
        msg = (
            f"{what} must differ in more than case, leading zeros, a decimal .0 and letters that "
            "look alike. "
            f"Received: {pairs}{more}. Spell what is one name in one way, and name what are two "
            "names clearly."
        )
        if kind == "protein" and any(one.casefold() == two.casefold() for one, two in conflicts):
            msg += f" {ALLELES}"
        raise NameConflictError(msg)
    return {name: spellings[form] for name, form in zip(different, forms, strict=True)}


def matched(
    names: Iterable[str], kind: Kind, what: str, *, distinct_case: bool = False
) -> dict[str, str]:
    """As `unified`; logs what is matched, and proteins that look like dates."""
    spelling = unified(names, kind, what, distinct_case=distinct_case)
    if sentence := respelled(spelling, what):
        logger.info("%s", sentence)
    if kind == "protein" and (hint := date_hint(spelling)):
        logger.warning("%s: %s", what, hint)
    return spelling


def respelled(spelling: Mapping[str, str], what: str) -> str:
    """A sentence about the names that `unified` spells otherwise than they came, or "".

    >>> respelled({"P1": "P1", "P1 ": "P1"}, "Plates")
    "Plates that are spelled in several ways are matched: 'P1 ' is 'P1'."
    """
    changed = [(name, to) for name, to in spelling.items() if name != to]
    if not changed:
        return ""
    pairs = ", ".join(" is ".join(told_apart(*pair)) for pair in changed[:_NAMED])
    more = f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
    return f"{what} that are spelled in several ways are matched: {pairs}{more}."


def told_apart(one: str, other: str) -> tuple[str, str]:
    """Both names in quotation marks, spelled out in ASCII where they would look alike."""
    look_alike = one.isascii() != other.isascii() or _one_form(one) == _one_form(other)
    return (ascii(one), ascii(other)) if look_alike else (repr(one), repr(other))


def _trimmed(name: str) -> str:
    """The name without what nobody sees, but with all its inner spaces."""
    if name.isascii() and name.isprintable():
        return name.strip()
    visible = (
        " " if letter.isspace() else letter
        for letter in _UNSEEN.sub("", name)
        if letter.isspace() or unicodedata.category(letter) not in _NOT_DRAWN
    )
    return unicodedata.normalize("NFC", "".join(visible)).strip()


def _visible_form(name: str) -> str:
    """The name as a person sees it: one form for full-width letters, ligatures and dashes."""
    return tidy(name) if name.isascii() else _one_form(tidy(name))


def _one_form(name: str) -> str:
    """NFKC, but for what is drawn smaller or higher: `x\u00b2` is not `x2`."""
    compatible = (
        c
        if unicodedata.decomposition(c).startswith(_DRAWN_OTHERWISE)
        else unicodedata.normalize("NFKC", c)
        for c in name
    )
    form = unicodedata.normalize("NFC", "".join(compatible)).translate(_TYPOGRAPHIC)
    return " ".join(form.split())
