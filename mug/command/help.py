"""The help of a command: five common options first, the others by group."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import MISSING, fields
from typing import Any

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from mug.command.names import full, typed

FEW = 5
COMMON = (
    "out", "pred", "weights", "device", "mask", "overlay", "system", "steps", "split", "kind", "seed", "workers",
)  # fmt: skip
"""Options of many calls, the most common first; those that a command requires come before them."""


class Help(DefaultHelpFormatter):
    """Shows the purpose and default of an option, but not the name of its type."""

    def _get_help_string(self, action: Any) -> str:
        text: str = action.help or ""
        if not action.option_strings or action.dest in ("help", "config") or "(default: " in text:
            return text
        if action.required:
            return f"{text} (required)"
        if action.default in (None, "==SUPPRESS=="):
            return text
        shown = {True: "on", False: "off"}.get(action.default, "%(default)s") if _is_switch(action) else "%(default)s"
        return f"{text} (default: {shown})"

    def _format_action_invocation(self, action: Any) -> str:
        if _is_switch(action):
            return f"--{action.dest}, --no-{action.dest}"
        if f"--{action.dest}+" in action.option_strings:  # the parser's word for another element of a list
            return f"--{action.dest} {action.dest.upper()} ..."
        shown: str = super()._format_action_invocation(action)
        return shown.replace(f"--{action.dest} ", f"--{typed(action.dest)} ")


class Parser(ArgumentParser):
    """Shows its options by group, the common ones first."""

    def show(self, options: type, positional: Sequence[str]) -> None:
        """Says whose fields the options are, and which are positional."""
        self._shown = options, positional

    def format_help(self, *arguments: Any, **named: Any) -> str:
        """The text of `--help`."""
        groups = self._action_groups  # parsing needs them as they are
        if hasattr(self, "_shown"):
            self._action_groups = list(arranged(self, *self._shown))
        try:
            text: str = super().format_help(*arguments, **named)
        finally:
            self._action_groups = groups
        return text


def arranged(parser: ArgumentParser, options: type, positional: Sequence[str]) -> Iterator[Any]:
    """The groups of a parser's help."""
    every = [action for group in parser._action_groups for action in group._group_actions]
    actions = {action.dest: action for action in every if action.help != argparse.SUPPRESS}
    always = [actions.pop(name) for name in ("config", "help")]
    arguments = [actions.pop(name) for name in positional]
    for name in [name for name in actions if _heads_group(name, actions)]:
        actions.pop(name)  # a file for a whole group; --config does the same
    required = {f.name for f in fields(options) if f.default is MISSING and f.default_factory is MISSING}
    few = common(list(actions), required)
    groups = [
        ("arguments", arguments),
        ("common options", [actions.pop(name) for name in few]),
        *((title, [actions[name] for name in names if name in actions]) for title, names in _by_class(options)),
    ]
    for group in parser._action_groups:
        members = [action for action in group._group_actions if "." in action.dest and action.dest in actions]
        groups.append((group.title or "", members))
    for title, members in (*groups, ("every command", always)):
        if members:
            shown = argparse._ArgumentGroup(parser, title)
            shown._group_actions = members
            yield shown


def common(names: Sequence[str], required: Collection[str]) -> list[str]:
    """The names of the few options that come first: what a command requires, then what many calls give."""
    single = [name for name in names if "." not in name]
    usual = [name for short in COMMON if (name := full(short, names)) in names]
    return list(dict.fromkeys((*(name for name in single if name in required), *usual, *single)))[:FEW]


def attribute_doc(options: type, name: str) -> str:
    """The docstring below a field, in the class that declares it."""
    source = inspect.getsource(_owner(options, name))
    match = re.search(rf'^    {name}\s*:[^\n]*\n    """(.*?)"""', source, re.DOTALL | re.MULTILINE)
    return " ".join(match[1].split()) if match else ""


def _owner(options: type, name: str) -> type:
    return next(kind for kind in options.__mro__ if name in inspect.get_annotations(kind))


def _by_class(options: type) -> Iterator[tuple[str, list[str]]]:
    """Title and fields of each class of options, the most general first."""
    for kind in reversed(options.__mro__):
        own = [name for name in inspect.get_annotations(kind) if _owner(options, name) is kind]
        title = (kind.__doc__ or kind.__name__).strip().splitlines()[0].rstrip(".")
        yield title, own


def _heads_group(name: str, actions: Collection[str]) -> bool:
    # an optional group has but one option besides itself, which lists its own
    return any(other.startswith(f"{name}.") for other in actions if other != f"{name}.help")


def _is_switch(action: Any) -> bool:
    return getattr(action, "_typehint", None) is bool
