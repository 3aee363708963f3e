"""Formulas as MathML, made when the site is built, so that pages need no script."""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

_FORMULA = re.compile(
    r'<(span|div) class="arithmatex">\\(?:\((?P<inline>.*?)\\\)|\[(?P<block>.*?)\\\])</\1>', re.DOTALL
)


def on_page_content(content: str, **_: Any) -> str:
    """Return the page with each formula in TeX as MathML."""
    return re.sub(_FORMULA, _as_mathml, content)


def _as_mathml(match: re.Match[str]) -> str:
    tex = html.unescape(match["inline"] or match["block"]).strip()
    tex = tex.replace("{aligned}", "{align*}")  # which the library knows
    mathml = convert(tex, display="inline" if match["inline"] else "block")
    return mathml if match["inline"] else f'<div class="formula">{mathml}</div>'
