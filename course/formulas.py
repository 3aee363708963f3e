"""Formulas of the lessons, written so that a terminal can show them, as LaTeX for a notebook."""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"""
    (?P<space>\ +)
    | (?P<derivative>d(?P<above>[A-Za-z]\w*)/d(?P<below>[A-Za-z]\w*))
    | (?P<number>\d+(?:\.\d+)?)
    | (?P<name>[A-Za-z]\w*'*)
    | (?P<sign>\.\.\.|\*\*|\^T|<=|>=|[-+*/=~<>()\[\],.|])
    """,
    re.VERBOSE,
)
_GREEK = {"alpha", "beta", "gamma", "delta", "epsilon", "sigma"}
_OPERATORS = {"log", "max", "min"}
_WORDS = {"if", "else", "with", "for", "and"}
_SIGNS = {
    "*": r"\cdot ", ".": r"\cdot ", "~": r"\sim ", "...": r"\dots ", "<=": r"\le ", ">=": r"\ge ", ",": ",\\ "
}  # fmt: skip
_CLOSING = {"(": ")", "[": "]"}


def typeset(formulas: str) -> str:
    """Return LaTeX for lines of formulas; three or more spaces separate formulas on one line."""
    lines = [re.split(r" {3,}(?![ =])", line.strip()) for line in formulas.strip().splitlines()]
    if len(lines) == 1:
        return r" \qquad ".join(map(inline, lines[0]))
    rows = [r" & \quad ".join(_aligned(formula) for formula in line) for line in lines]
    return "\\begin{aligned}\n" + " \\\\[0.5em]\n".join(rows) + "\n\\end{aligned}"


def inline(formula: str) -> str:
    """Return LaTeX for one formula; words without an equals sign are text.

    Raises
    ------
    ValueError
        If a character has no meaning in a formula.
    """
    if _is_text(formula):
        return rf"\text{{{formula}}}"
    return _Reader(formula).read()


def _aligned(formula: str) -> str:
    if _is_text(formula) or formula.startswith("with "):
        return f"& {inline(formula)}"
    return re.sub(r" (=|\\sim) ", r" &\1 ", inline(formula), count=1)


def _is_text(formula: str) -> bool:
    return " " in formula and re.fullmatch(r"[A-Za-z ]+", formula) is not None


class _Reader:
    """Reads a formula from left to right; a fraction takes the factor before and the one after its slash."""

    def __init__(self, formula: str) -> None:
        self.formula = formula
        self.tokens = list(self._split())
        self.place = 0

    def _split(self) -> list[re.Match[str]]:
        place, found = 0, []
        while place < len(self.formula):
            token = _TOKEN.match(self.formula, place)
            if token is None:
                raise ValueError(f"{self.formula!r} has {self.formula[place]!r}, which no formula may have")
            found.append(token)
            place = token.end()
        return found

    def read(self, end: str = "") -> str:
        """Return what comes before the bracket `end`, which is passed over."""
        factors: list[str] = []
        while self.place < len(self.tokens):
            text = self.tokens[self.place].group()
            if text == end:
                self.place += 1
                break
            if text == "/":
                self.place += 1
                above, below = _bare(factors.pop()), _bare(self.factor())
                factors.append(rf"\frac{{{above}}}{{{below}}}")
            elif text.isspace():
                self.place += 1
            else:
                factors.append(self.factor())
        return " ".join(factor.strip() for factor in factors)

    def factor(self) -> str:
        """Return one factor with its arguments, indices and powers."""
        while self.tokens[self.place].group().isspace():
            self.place += 1
        token = self.tokens[self.place]
        text = token.group()
        self.place += 1
        if text in _CLOSING:
            found = self.read(_CLOSING[text])
            is_fraction = re.fullmatch(r"\\frac\{\w+\}\{\w+\}", found)
            found = found if is_fraction else _bracketed(text, found)
        elif token["derivative"]:
            found = rf"\frac{{\partial {_name(token['above'])}}}{{\partial {_name(token['below'])}}}"
        elif token["name"]:
            found = self._named(text)
        else:
            found = _SIGNS.get(text, text)
        return found + self._powers()

    def _named(self, name: str) -> str:
        if name == "sum" or name.startswith("sum_"):
            return rf"\sum{_below(name[4:])} {self.factor()}"
        if self._follows("("):
            argument = self.read(")")
            special = {"exp": "e^{%s}", "sqrt": r"\sqrt{%s}", "floor": r"\left\lfloor %s \right\rfloor"}
            return special[name] % argument if name in special else _name(name) + _bracketed("(", argument)
        if self._follows("["):
            return f"{_name(name)}_{{{self.read(']')}}}"
        return _name(name)

    def _powers(self) -> str:
        if self._follows("^T"):
            return r"^\top"
        return f"^{{{_bare(self.factor())}}}" if self._follows("**") else ""

    def _follows(self, text: str) -> bool:
        """Return whether `text` comes next; if so, pass over it."""
        follows = self.place < len(self.tokens) and self.tokens[self.place].group() == text
        self.place += follows
        return follows


def _bracketed(opening: str, inside: str) -> str:
    if r"\frac" in inside or r"\sum" in inside:
        return rf"\left{opening} {inside} \right{_CLOSING[opening]}"
    return f"{opening}{inside}{_CLOSING[opening]}"


def _bare(factor: str) -> str:
    """Return a factor without the round brackets around all of it."""
    if re.fullmatch(r"\([^()]*(\([^()]*\)[^()]*)*\)", factor):
        return factor[1:-1]
    return factor


def _below(letters: str) -> str:
    return f"_{{{','.join(letters)}}}" if letters else ""


def _name(name: str) -> str:
    """Return a name as mathematics writes it: ``y_hat``, ``w1``, ``p_k``, ``delta2``, ``lr``."""
    bare, primes = name.rstrip("'"), "'" * (len(name) - len(name.rstrip("'")))
    if bare in _OPERATORS:
        return f"\\{bare}"
    if bare in _WORDS:
        return rf"\ \text{{{bare}}}\ "
    if bare == "normal":
        return r"\mathcal{N}"
    head, _, below = bare.partition("_")
    if below == "hat":
        return rf"\hat{{{_name(head)}}}{primes}"
    if below and len(head) == 1:
        return f"{head}_{{{below if below.isdigit() else _name(below)}}}{primes}"
    letters, digits = bare.rstrip("0123456789"), re.search(r"\d*$", bare).group()
    return _letters(letters) + (f"_{{{digits}}}" if digits else "") + primes


def _letters(letters: str) -> str:
    if letters in _GREEK:
        return f"\\{letters}"
    return letters if len(letters) == 1 else rf"\text{{{letters.replace('_', '-')}}}"
