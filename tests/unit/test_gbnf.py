"""GBNF to Lark: the same language, or a clear refusal."""

from __future__ import annotations

import re

import llguidance
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fireside_engine.core.gbnf import gbnf_to_lark
from fireside_engine.errors import InvalidConstraint

BYTES = llguidance.LLTokenizer("byte")

JSON = r"""
root   ::= value
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws ( string ":" ws value ("," ws string ":" ws value)* )? "}" ws   # a comment
array  ::=
  "[" ws (
            value
    ("," ws value)*
  )? "]" ws
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9]+)? ws
ws     ::= | " " | "\n" [ \t]{0,20}
"""


def accepts(grammar: str, text: str) -> bool:
    matcher = llguidance.LLMatcher(BYTES, llguidance.LLMatcher.grammar_from_lark(gbnf_to_lark(grammar)), log_level=0)
    assert not matcher.get_error(), matcher.get_error()
    tokens = list(text.encode())
    return bool(matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting())


@pytest.mark.parametrize(
    ("grammar", "yes", "no"),
    [
        ('root ::= "a" | b\nb ::= "x"+', ["a", "x", "xxx"], ["", "ax", "b"]),
        ("root ::= [^a-c]{2,3}", ["xy", "\n\n", "é😀z"], ["x", "xa", "wxyz"]),
        (r'root ::= "\x41\u00e9\U0001F600\t\"\\"', ['Aé😀\t"\\'], ["A"]),
        (r"root ::= [\]\-\[^a-]+", ["]-[^a-"], ["b"]),
        ("root ::= .. ", ["ab", "\n😀"], ["a", "abc"]),
        ('root ::= "" | "a"', ["", "a"], ["aa"]),
        ("root ::= fooBar foo-bar foo_bar\nfooBar ::= [a]\nfoo-bar ::= [b]\nfoo_bar ::= [c]", ["abc"], ["cba"]),
        ('root ::= ( "a"\n  | "b" )?\n  \n# comment\n', ["", "a", "b"], ["c"]),
        # What a greedy terminal would swallow.
        ('root ::= [a-z]* "end"', ["end", "endend", "eend", "enend"], ["en", "ending"]),
        ('root ::= "(" root ")" | [a-z]* "end"', ["enend", "((eend))"], ["(end", "en"]),
        # Left recursion, which llama.cpp refuses.
        ('root ::= root "+" [0-9] | [0-9]', ["1", "1+2+3"], ["+", "1+"]),
        (JSON, ['{"a": [1, -2.5e3, "x\\n", null]}', "[]", '"é"'], ['{"a" 1}', "[1,]", "{", '"\n"']),
    ],
)
def test_the_language_is_kept(grammar: str, yes: list[str], no: list[str]) -> None:
    assert all(accepts(grammar, text) for text in yes)
    assert not any(accepts(grammar, text) for text in no)


atoms = st.sampled_from(['"a"', '"ab"', '"b"', "[ab]", "[^a]", "."])
grammars = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(" ".join),
        st.builds(lambda a, b: f"({a} | {b})", inner, inner),
        st.builds(lambda a, q: f"({a}){q}", inner, st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{1,}"])),
    ),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(grammars, st.text(alphabet="abc\n", max_size=6))
def test_without_recursion_and_with_it_the_language_is_that_of_the_regex(body: str, text: str) -> None:
    # Inside quotes nothing but letters stands, so the rest of the syntax is that of Python's patterns.
    regex = re.sub(r"[\" ]", "", body)
    expected = re.fullmatch(regex, text, re.DOTALL) is not None
    assert accepts(f"root ::= {body}", text) is expected
    assert accepts(f'root ::= {body} | "<" root ">"', text) is expected
    wrapped = expected or re.fullmatch(regex, f"<{text}>", re.DOTALL) is not None
    assert accepts(f'root ::= {body} | "<" root ">"', f"<{text}>") is wrapped


@pytest.mark.parametrize(
    ("grammar", "words"),
    [
        ("", "root"),
        ('start ::= "a"', "root"),
        ("root ::= other", "other"),
        ('root ::= "a"\nb = "c"', "line 2"),
        ('root ::= "a', "not closed"),
        ("root ::= [a", "not closed"),
        ('root ::= ("a"', "not closed"),
        ('root ::= "a")', "out of place"),
        ("root ::= []", "empty"),
        ("root ::= [z-a]", "below"),
        ('root ::= "a"{3,2}', "below"),
        ('root ::= "a"{x}', "repetition"),
        ('root ::= "a"**', "out of place"),
        ('root ::= "a"{99999}', "10000"),
        ('root ::= (("a"{0,999}){0,999}){0,999}', "elements"),
        ("root ::= " + "(" * 60_000, "deeper"),
        ("root ::= <think>", "tokens"),
        (r'root ::= "\q"', "escape"),
        (r'root ::= "\ud800"', "character"),
        ("root ::= a0\n" + "".join(f"a{i} ::= a{i + 1}\n" for i in range(2100)) + 'a2100 ::= "x"', "rules"),
        ("root ::= " + '"a" ' * 20_000, "characters"),
    ],
)
def test_what_is_refused_and_why(grammar: str, words: str) -> None:
    with pytest.raises(InvalidConstraint, match=words):
        gbnf_to_lark(grammar)


def test_a_deep_grammar_within_the_limit() -> None:
    assert accepts("root ::= " + "(" * 100 + '"a"' + ")" * 100, "a")


@given(st.text(alphabet='rot:=|()[]{}"\\*+?.^-, \n#0129ax', max_size=80))
def test_any_text_is_translated_or_refused(text: str) -> None:
    for grammar in (text, f"root ::= {text}"):
        try:
            assert gbnf_to_lark(grammar).startswith("start: ")
        except InvalidConstraint as error:
            assert len(error.message) < 200
