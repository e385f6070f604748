"""What kind of prompt it is, by simple rules on the words of the last question. Pure.

Kinds serve to tell where a small model is enough; a prompt in the wrong one makes its kind less sharp, not wrong.
"""

from __future__ import annotations

import re

KINDS = ("extraction", "rewriting", "classification", "code", "arithmetic", "open")

_CODE = (
    r"```|\b(?:python|javascript|typescript|rust|golang|java|sql|bash|regex|unit tests?|function|refactor|debug|"
    r"compile[rs]?|stack ?trace|traceback|code|script|class method)\b|\bdef \w+\(|\bimport \w+|#include"
)
_CLASSIFICATION = (
    r"\b(?:classif\w*|categor(?:y|ise|ize)\w*|sentiment|label|spam|positive|negative|true or false|yes or no|"
    r"(?:which|what) (?:category|class|language|team|type))\b"
)
_REWRITING = (
    r"\b(?:rewrite|rephrase|reword|paraphrase|translate|summari[sz]e|shorten|correct|proofread|polite|tone|tl;?dr|"
    r"improve (?:this|the|my)|(?:put|turn) (?:this|these|it)|fix (?:the )?(?:grammar|spelling))\b"
)
_EXTRACTION = (
    r"\b(?:extract|json|list all|find all|name all|pull out|parse|which (?:date|name|number|person)|"
    r"(?:from|in) (?:the|this) (?:text|email|e-mail|document|log|invoice))\b"
)
_ARITHMETIC = r"\b(?:calculate|compute|how (?:many|much)|percent\w*|sum of|average|total)\b|\d\s*[-+*/×÷%^]\s*\d"
_RULES = (
    ("code", _CODE),
    ("classification", _CLASSIFICATION),
    ("rewriting", _REWRITING),
    ("extraction", _EXTRACTION),
    ("arithmetic", _ARITHMETIC),
)
"""The first rule that is found decides; what no rule finds is open."""
_COMPILED = tuple((kind, re.compile(pattern, re.IGNORECASE)) for kind, pattern in _RULES)
_LOOKED_AT = 4000
"""Characters; the rest is material."""


def kind_of(question: str, *, has_schema: bool = False) -> str:
    """One of KINDS."""
    if has_schema:
        return "extraction"
    # What is asked stands at the beginning or at the end; between lies the material.
    text = question if len(question) <= _LOOKED_AT else question[: _LOOKED_AT // 2] + question[-_LOOKED_AT // 2 :]
    if re.search(r"\d\s*[-+*/×÷]\s*\d", text) and len(text) < 200 and "```" not in text:
        return "arithmetic"
    return next((kind for kind, pattern in _COMPILED if pattern.search(text)), "open")
