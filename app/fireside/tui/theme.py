"""The colours: embers on charcoal, and the same on paper. Everything else takes its colours from here."""

from __future__ import annotations

import os
from typing import ClassVar

from pygments.token import Token  # type: ignore[import-untyped]
from textual.color import Color
from textual.highlight import HighlightTheme, TokenType
from textual.theme import Theme

DARK = Theme(
    name="fireside",
    primary="#e58e4f",
    secondary="#9c8371",
    accent="#efb36b",
    warning="#e0b45c",
    error="#e0705f",
    success="#93b56f",
    foreground="#e6ded5",
    background="#151210",
    surface="#1d1917",
    panel="#28221e",
    dark=True,
    variables={
        "border": "#5a4636",
        "border-blurred": "#3a312b",
        "faint": "#8b7d71",
        "rule": "#362d27",
        "code-background": "#1b1714",
        "scrollbar": "#3a312b",
        "scrollbar-hover": "#5a4636",
        "scrollbar-active": "#e58e4f",
        "scrollbar-background": "#151210",
        "scrollbar-background-hover": "#151210",
        "scrollbar-background-active": "#151210",
        "input-selection-background": "#e58e4f 35%",
        "screen-selection-background": "#e58e4f 30%",
        "block-cursor-background": "#3b2c20",
        "block-cursor-foreground": "#f3e9df",
        "block-cursor-text-style": "none",
        "footer-key-foreground": "#efb36b",
    },
)

LIGHT = Theme(
    name="fireside-light",
    primary="#b4551c",
    secondary="#8a705c",
    accent="#a85b12",
    warning="#946200",
    error="#b23a2c",
    success="#4f7a35",
    foreground="#2c2520",
    background="#faf7f2",
    surface="#f3eee6",
    panel="#eae2d7",
    dark=False,
    variables={
        "border": "#cdb49d",
        "border-blurred": "#ddd2c4",
        "faint": "#84766a",
        "rule": "#e0d6c9",
        "code-background": "#f4efe7",
        "scrollbar": "#d9ccbc",
        "scrollbar-hover": "#c7b39d",
        "scrollbar-active": "#b4551c",
        "scrollbar-background": "#faf7f2",
        "scrollbar-background-hover": "#faf7f2",
        "scrollbar-background-active": "#faf7f2",
        "input-selection-background": "#b4551c 25%",
        "screen-selection-background": "#b4551c 22%",
        "block-cursor-background": "#f0dcc6",
        "block-cursor-foreground": "#2c2520",
        "block-cursor-text-style": "none",
        "footer-key-foreground": "#b4551c",
    },
)


class CodeColours(HighlightTheme):
    """Code in the theme's colours, without the underlines and backgrounds that make a block restless."""

    STYLES: ClassVar[dict[TokenType, str]] = {  # type: ignore[misc]
        **HighlightTheme.STYLES,
        Token.Comment: "$faint italic",
        Token.Error: "$foreground",
        Token.Keyword: "$primary",
        Token.Keyword.Constant: "$accent",
        Token.Keyword.Namespace: "$primary",
        Token.Keyword.Type: "$accent",
        Token.Literal.Number: "$warning",
        Token.Literal.String: "$success",
        Token.Literal.String.Backtick: "$success",
        Token.Literal.String.Doc: "$success italic",
        Token.Literal.String.Double: "$success",
        Token.Name: "$foreground",
        Token.Name.Attribute: "$foreground",
        Token.Name.Builtin: "$accent",
        Token.Name.Builtin.Pseudo: "$accent italic",
        Token.Name.Class: "$foreground bold",
        Token.Name.Constant: "$foreground",
        Token.Name.Decorator: "$secondary",
        Token.Name.Function: "$foreground bold",
        Token.Name.Function.Magic: "$foreground bold",
        Token.Name.Tag: "$primary",
        Token.Name.Variable: "$foreground",
        Token.Number: "$warning",
        Token.Operator: "$secondary",
        Token.Operator.Word: "$primary",
        Token.Punctuation: "$secondary",
        Token.String: "$success",
    }


def preferred() -> str:
    """The name of the theme that suits the terminal, where it says what its background is."""
    background = os.environ.get("COLORFGBG", "").rpartition(";")[2]
    return LIGHT.name if background in ("7", "15") else DARK.name


def defaults(theme: Theme) -> dict[str, str]:
    """Values for the names that only our themes define."""
    foreground = Color.parse(theme.foreground or ("#e0e0e0" if theme.dark else "#202020"))
    background = Color.parse(theme.background or ("#121212" if theme.dark else "#e0e0e0"))
    return {
        "faint": background.blend(foreground, 0.55).hex,
        "rule": background.blend(foreground, 0.2).hex,
        "code-background": background.blend(foreground, 0.04).hex,
    }
