"""Arithmetic expressions: a seeded generator, a small exact parser, and decimal text of exact values."""

from __future__ import annotations

import random
from dataclasses import dataclass
from fractions import Fraction

MAX_LENGTH = 1_000  # characters of an expression
MAX_BRACKETS = 100  # they bound the parser's depth
MAX_BITS = 100_000  # size of a power


@dataclass(frozen=True)
class Expression:
    """The text of an expression with its exact value; `level` is the number of operations between atoms."""

    text: str
    value: Fraction
    level: int


def evaluate(text: str) -> Fraction:
    """The exact value of an expression of numbers, + - * / ^ and brackets.

    Precedence is that of arithmetic: ^ (its exponent a whole number, no chains) before a sign, before * and /, before
    + and -, each from left to right; spaces do not count. Raises ValueError naming the place where the text is not
    an expression, for a division by zero, and for text or powers that are too large.
    """
    text = text.replace(" ", "")
    if len(text) > MAX_LENGTH or text.count("(") > MAX_BRACKETS:
        raise ValueError(f"expression must have at most {MAX_LENGTH} characters and {MAX_BRACKETS} brackets")
    value, at = _sum(text, 0)
    if at < len(text):
        raise _unexpected(text, at)
    return value


def _sum(text: str, at: int) -> tuple[Fraction, int]:
    value, at = _product(text, at)
    while text[at : at + 1] in ("+", "-"):
        right, end = _product(text, at + 1)
        value = value + right if text[at] == "+" else value - right
        at = end
    return value, at


def _product(text: str, at: int) -> tuple[Fraction, int]:
    value, at = _signed(text, at)
    while text[at : at + 1] in ("*", "/"):
        right, end = _signed(text, at + 1)
        if text[at] == "/" and right == 0:
            raise ValueError(f"expression must not divide by zero, got {text!r} at character {at + 1}")
        value = value * right if text[at] == "*" else value / right
        at = end
    return value, at


def _signed(text: str, at: int) -> tuple[Fraction, int]:
    sign = 1
    while text[at : at + 1] == "-":
        sign, at = -sign, at + 1
    value, at = _atom(text, at)
    if text[at : at + 1] == "^":
        exponent, at = _digits(text, at + 1)
        if exponent * max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
            raise ValueError(f"expression must have smaller powers, got exponent {exponent} in {text!r}")
        value = value**exponent
    return sign * value, at


def _atom(text: str, at: int) -> tuple[Fraction, int]:
    if text[at : at + 1] != "(":
        whole, end = _digits(text, at)
        if text[end : end + 1] != ".":
            return Fraction(whole), end
        _, end = _digits(text, end + 1)
        return Fraction(text[at:end]), end
    value, at = _sum(text, at + 1)
    if text[at : at + 1] != ")":
        raise _unexpected(text, at)
    return value, at + 1


def _digits(text: str, at: int) -> tuple[int, int]:
    end = at
    while end < len(text) and text[end] in "0123456789":
        end += 1
    if end == at:
        raise _unexpected(text, at)
    return int(text[at:end]), end


def _unexpected(text: str, at: int) -> ValueError:
    found = repr(text[at]) if at < len(text) else "the end"
    return ValueError(f"expression {text!r} must not have {found} at character {at + 1}")


ATOMS = ("integer", "fraction", "square", "cube")


def random_expression(
    rng: random.Random, level: int, atoms: tuple[str, ...] = ("integer",), operators: str = "+-*/", max_integer: int = 9
) -> Expression:
    """A random expression of `level` operations and level + 1 atoms, with its exact value.

    It starts as an atom and grows by an operation and an atom, put to the left or to the right with what is there in
    brackets; a division by zero is drawn again. Atoms are whole numbers from 0 to `max_integer`, their squares and
    cubes, and fractions of two of them (`ATOMS` has the names). RandomCalculation, arXiv 2507.10532.
    """
    text, value = _random_atom(rng, atoms, max_integer)
    for step in range(level):
        inner = f"({text})" if step else text
        while True:
            operator, (atom, number) = rng.choice(operators), _random_atom(rng, atoms, max_integer)
            texts, values = ((inner, atom), (value, number)) if rng.random() < 0.5 else ((atom, inner), (number, value))
            if not (operator == "/" and values[1] == 0):
                break
        text, value = operator.join(texts), _apply(operator, *values)
    return Expression(text, value, level)


def _random_atom(rng: random.Random, atoms: tuple[str, ...], max_integer: int) -> tuple[str, Fraction]:
    kind, number = rng.choice(atoms), rng.randint(0, max_integer)
    if kind == "fraction":
        under = rng.randint(1, max_integer)
        return f"({number}/{under})", Fraction(number, under)
    if kind == "integer":
        return str(number), Fraction(number)
    power = 2 if kind == "square" else 3
    return f"{number}^{power}", Fraction(number**power)


def _apply(operator: str, left: Fraction, right: Fraction) -> Fraction:
    if operator == "+":
        return left + right
    if operator == "-":
        return left - right
    return left * right if operator == "*" else left / right


def rounded(value: Fraction, decimals: int) -> Fraction:
    """The nearest fraction with `decimals` decimal places (ties to even)."""
    return Fraction(round(value * 10**decimals), 10**decimals)


def decimal_text(value: Fraction, decimals: int) -> str:
    """`value` rounded to `decimals` places, as text without trailing zeros: "-2.5", "7", "0.33"."""
    digits = str(abs(round(value * 10**decimals))).rjust(decimals + 1, "0")
    whole, part = (digits[:-decimals], digits[-decimals:].rstrip("0")) if decimals else (digits, "")
    sign = "-" if value < 0 and digits.strip("0") else ""
    return f"{sign}{whole}.{part}" if part else sign + whole
