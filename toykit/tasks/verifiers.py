"""Verifiers: does a completion's text give the right answer?"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from toykit._checks import one_of

Verifier = Callable[[str, str], float]

MAX_DIGITS = 300  # a longer number counts as no answer

_WHOLE = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)"
_DECIMAL = rf"(?:{_WHOLE}(?:\.[0-9]+)?|\.[0-9]+)"
_NUMBER = re.compile(
    r"(?P<sign>(?<![\w.)\]}])-)?"  # a minus right after a word or number is a hyphen or a subtraction
    rf"(?:(?P<mixed>[0-9]+) +(?=[0-9]+/[0-9]))?(?P<over>{_DECIMAL})(?: ?/ ?(?P<under>{_DECIMAL}))?"
)
_FRACTION = re.compile(r"\\[dt]?frac *\{([^{}]*)\} *\{([^{}]*)\}")
_ITEM = re.compile(r"[^\s,;{}\[\]()$\\]+")


def verifier(name: str | Verifier) -> Verifier:
    """The verifier of that name ("exact", "number", "set"), or the callable itself.

    A verifier is called with the completion and the right answer and returns a reward. Raises ValueError for an
    unknown name, with the nearest one.
    """
    return VERIFIERS[one_of("verifier", name, VERIFIERS)] if isinstance(name, str) else name


def exact(completion: str, answer: str) -> float:
    """1 where the texts are equal up to white space, else 0."""
    return float(completion.split() == answer.split())


def number(completion: str, answer: str) -> float:
    """1 where the last number of the completion equals that of the answer, else 0; see `last_number`.

    Raises ValueError for an answer without a number.
    """
    wanted = last_number(answer)
    if wanted is None:
        raise ValueError(f"answer must hold a number, got {answer!r}")
    return float(last_number(completion) == wanted)


def set_of(completion: str, answer: str) -> float:
    """1 where both texts hold the same set of items, separated by commas, semicolons or spaces, else 0.

    Brackets do not count; of a completion with \\boxed{...} or "####" only that part is read.
    """
    return float(set(_ITEM.findall(_final(completion))) == set(_ITEM.findall(_final(answer))))


VERIFIERS: dict[str, Verifier] = {"exact": exact, "number": number, "set": set_of}


def last_number(text: str) -> Fraction | None:
    """The last number in the text, exactly, or None where there is none.

    Read are signs, thousands separators (1,234), decimals (.5), fractions (3/4, 2 1/2, \\frac{3}{4}) and currency
    signs; percent signs and units are ignored. Where the text has \\boxed{...} or "#### ..." only the content of the
    last of these is read.
    """
    text = _final(text).replace("\u2212", "-").replace("{,}", ",")
    text = re.sub(r"\\[!, ]|\\?\$", "", text)
    text = _FRACTION.sub(r"\1/\2", re.sub(r"(?<=[0-9]) *(?=\\[dt]?frac)", " ", text))
    every = list(_NUMBER.finditer(text))
    if not every or len(every[-1][0]) > MAX_DIGITS:
        return None
    found = every[-1]
    over, under = (Fraction(found[part].replace(",", "")) if found[part] else Fraction(1) for part in ("over", "under"))
    if under == 0:
        return None
    size = int(found["mixed"] or 0) + over / under
    return -size if found["sign"] else size


def _final(text: str) -> str:
    """The content of the last \\boxed{...}, or the line after the last "####", whichever comes later; else the text."""
    box, hashes = text.rfind("\\boxed{"), text.rfind("####")
    if box > hashes:
        return _braced(text[box + len("\\boxed{") :])
    return text[hashes + 4 :].strip().split("\n")[0] if hashes >= 0 else text


def _braced(text: str) -> str:
    """The text up to the closing brace that matches an opening one before it (all of it where there is none)."""
    depth = 1
    for i, character in enumerate(text):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0:
            return text[:i]
    return text
