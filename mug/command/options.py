"""Options of a command: the fields of a dataclass, set on the command line or in a YAML file."""

from __future__ import annotations

import difflib
import itertools
import json
import re
import sysconfig
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser, set_parsing_settings
from jsonargparse.typing import register_type

from mug.command.help import Help, Parser, attribute_doc
from mug.command.names import RENAMED, advice, full, renamed
from mug.errors import InputError
from mug.media.address import Address
from mug.media.plain import read_yaml

register_type(Address, serializer=lambda address: address.url)
BOOLEAN_WORDS = ("true", "false", "yes", "no")


def spelt(option: str, arguments: Sequence[str], place: int | None = None) -> str | None:
    """The value of one option, read before the set of options is known; the command line overrides files.

    Args:
        option: Its name.
        arguments: The words after the command.
        place: Position of a positional option among the words before the first named option.
    """
    files: list[str] = []
    found: str | None = None
    words = _values(arguments)
    if place is not None and place < len(words):
        found = words[place]
    for argument, following in itertools.zip_longest(arguments, arguments[1:]):
        name, equals, value = argument.partition("=")
        value = value if equals else following
        if value is not None and name == f"--{option}":
            found = value
        elif value is not None and name == "--config":
            files.append(value)
    for file in files if found is None else ():
        content = _read_config(Path(file))
        found = str(content[option]) if option in content else found
    return found


def parse(
    command: str, options: type | None, positional: Sequence[str], arguments: Sequence[str], summary: str | None = None
) -> Any:
    """Makes an instance of `options` from the user's arguments.

    Files given with `--config` are read first, in any position; options on the command line override them. Dots reach
    into nested dataclasses (`--model.backbone.depth 18`), booleans need no argument (`--overlay`, `--no-overlay`), and
    dashes may replace underscores.

    `options` may have a method `unused()` that maps names of options, or prefixes of dotted ones, that have no effect
    given the others to the reason. They are rejected if they are typed, or if a file sets them to a value other than
    the default although its own options leave them without effect: a typed option may switch off a part of the file's.

    Args:
        command: The command as the user called it, for messages.
        options: A dataclass with a docstring per attribute; None if the command has no options.
        positional: Fields that are positional.
        arguments: The words after the command.
        summary: What the command does; its first paragraph heads the help.

    Raises:
        InputError: unknown, unused or missing options, values of a wrong type, an unreadable config file.
    """
    known = dict(leaves(options)) if options else {}
    described = bool({"-h", "--help"} & set(arguments))
    parser = _parser(command, options, positional, known, summary, described)
    configs, rest = _split(command, positional, list(arguments), known)
    in_files = [key for config in configs for key in _checked_keys(config, known)]
    words = [f"--config={config}" for config in configs] + rest
    try:
        values = parser.parse_args(words)
    except ArgumentError as error:
        raise InputError(_explain(str(error), command, positional, known, configs, rest)) from None
    if options is None:
        return None
    made = _instance(options, parser, values)
    _refuse_unused(made, {_option(word) for word in rest})
    defaults = parser.get_defaults()
    changed = {key for key in in_files if values.get(key) != defaults.get(key)}
    if _unused(made, changed):
        needed = [word for word in rest if not word.startswith("--") or defaults.get(_option(word)) is None]
        try:
            alone = parser.parse_args([word for word in words if word.startswith("--config=")] + needed)
        except ArgumentError:  # the file does not stand alone
            return made
        _refuse_unused(_instance(options, parser, alone), changed)
    return made


def _option(word: str) -> str:
    """The name of the option that an argument sets."""
    return word[2:].partition("=")[0].removesuffix("+")


def _instance(options: type, parser: ArgumentParser, values: Any) -> Any:
    made = parser.instantiate(values)
    return options(**{field.name: made[field.name] for field in fields(options)})


def _unused(options: Any, given: set[str]) -> Mapping[str, str]:
    """Those of the given options that have no effect, with the reason."""
    unused: Mapping[str, str] = options.unused() if hasattr(options, "unused") else {}
    return {
        key: reason
        for name, reason in unused.items()
        for key in sorted(given)
        if key == name or key.startswith(f"{name}.")
    }


def _refuse_unused(options: Any, given: set[str]) -> None:
    for key, reason in _unused(options, given).items():
        raise InputError(f"--{key}: has no effect here: {reason}")


def _parser(
    command: str,
    options: type | None,
    positional: Sequence[str],
    known: dict[str, Any],
    summary: str | None,
    described: bool,
) -> Parser:
    if find_spec("docstring_parser"):  # without it the help lacks descriptions, whose reading takes long
        set_parsing_settings(docstring_parse_attribute_docstrings=described)
    places = f" {_places(positional)}" if positional else ""
    parser = Parser(
        prog=command,
        usage=f"{command}{places} [--config FILE.yaml] [--option VALUE ...]" if options else command,
        description=" ".join((summary or "").strip().split("\n\n")[0].split()),
        epilog="Every command also takes --quiet (only errors and results) and --verbose (more messages).",
        formatter_class=Help,
        exit_on_error=False,
        print_config=None,
    )
    if options is None:
        return parser
    parser.add_argument("--config", action="config", metavar="FILE.yaml", help="Options to start from.")
    for name in positional:
        several = _takes_list(known[name])
        kind = _listed(known[name]) if several else known[name]
        parser.add_argument(
            name, type=kind, nargs="+" if several else None, metavar=name.upper(), help=attribute_doc(options, name)
        )
    parser.add_class_arguments(options, skip=set(positional), fail_untyped=True)
    parser.show(options, positional)
    return parser


def leaves(options: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and type of every field, including those of nested dataclasses."""
    hints = typing.get_type_hints(options)
    for field in fields(options):
        kind = hints[field.name]
        yield prefix + field.name, kind
        for nested in (kind, *typing.get_args(kind)):
            if isinstance(nested, type) and is_dataclass(nested):
                yield from leaves(nested, f"{prefix}{field.name}.")


def _split(
    command: str, positional: Sequence[str], arguments: list[str], known: dict[str, Any]
) -> tuple[list[Path], list[str]]:
    """Separates the config files from the other arguments, which are rewritten for the parser.

    If a command has no positional options, all words after an option that takes a list belong to it (`--pred a b`). If
    it has, the option is repeated (`--box a --box b`).
    """
    configs: list[Path] = []
    rest: list[str] = []
    lists: dict[str, list[str]] = {}
    while arguments:
        argument = arguments.pop(0)
        if not argument.startswith("--") or argument == "--help":
            rest.append(argument)
            continue
        written, equals, value = argument[2:].partition("=")
        name = full(written.replace("-", "_"), known)
        if name == "config" and known:
            if not equals:
                if not arguments:
                    raise InputError("--config: no file given")
                value = arguments.pop(0)
            configs.append(_config(Path(value)))
            continue
        if name in positional:
            raise InputError(f"--{written}: {name.upper()} goes without a name: `{command} {_places(positional)}`")
        if name.startswith("no_") and known.get(name[3:]) is bool and not equals:
            rest.append(f"--{name[3:]}=false")
        elif name.removesuffix("+") not in known:
            raise InputError(f"--{written} is no option of `{command}`{advice(name, known, positional, command)}")
        elif known.get(name) is bool and not equals and not (arguments and arguments[0].lower() in BOOLEAN_WORDS):
            rest.append(f"--{name}=true")
        elif not positional and not equals and _takes_list(known.get(name)) and len(values := _values(arguments)) > 1:
            del arguments[: len(values)]
            rest.append(f"--{name}={json.dumps(values)}")
        elif positional and _takes_list(known.get(name)) and (equals or arguments):
            lists.setdefault(name, []).append(value if equals else arguments.pop(0))
        else:
            rest.append(f"--{name}{equals}{value}")
    for name, entries in lists.items():
        whole = len(entries) == 1 and entries[0].startswith("[")
        rest.append(f"--{name}={entries[0] if whole else json.dumps(entries)}")
    return configs, rest


def _config(path: Path) -> Path:
    """A configuration file; one that is not here may be of the clone or of the wheel that mug was installed from."""
    ours = (Path(__file__).parents[2], Path(sysconfig.get_path("data")) / "share" / "mug-vos")
    return next((at for at in (path, *(root / path for root in ours)) if at.is_file()), path)


def _places(positional: Sequence[str]) -> str:
    return " ".join(name.upper() for name in positional)


def _takes_list(kind: Any) -> bool:
    return typing.get_origin(kind) is list or any(typing.get_origin(part) is list for part in typing.get_args(kind))


def _listed(kind: Any) -> Any:
    """The element type of a list type."""
    lists = [part for part in (kind, *typing.get_args(kind)) if typing.get_origin(part) is list]
    return typing.get_args(lists[0])[0]


def _values(arguments: Sequence[str]) -> list[str]:
    """The arguments before the next option."""
    return list(itertools.takewhile(lambda argument: not argument.startswith("--"), arguments))


def _read_config(path: Path) -> dict[Any, Any]:
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: a config file holds `option: value` lines, and this one does not")
    return content


def _checked_keys(path: Path, known: dict[str, Any]) -> list[str]:
    """Dotted names of the options that a config file sets."""
    keys = list(_keys(_read_config(path), known))
    for key in keys:
        if key not in known:
            now = renamed(key, known)
            raise InputError(f"{path}: {key!r} is " + (f"now {now!r}" if now else f"no option{_nearest(key, known)}"))
    return keys


def _keys(content: dict[Any, Any], known: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in content.items():
        name = f"{prefix}{key}"
        yield name
        if isinstance(value, dict) and (name in dict(RENAMED) or any(other.startswith(f"{name}.") for other in known)):
            yield from _keys(value, known, f"{name}.")


def _nearest(name: str, known: dict[str, Any]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _takes(positional: Sequence[str], known: Mapping[str, Any]) -> str:
    """What a command takes, in words."""
    if not known:
        return "none"
    if positional:
        return f"{_places(positional)} and named options"
    return f"named options alone, such as {' and '.join(f'--{name}' for name in list(known)[:2])}"


def _explain(
    message: str,
    command: str,
    positional: Sequence[str],
    known: dict[str, Any],
    configs: Sequence[Path],
    arguments: Sequence[str],
) -> str:
    """Rewrites the parser's message, which may have several lines and name Python types, as one line."""
    message = " ".join(message.split())
    if match := re.search(r"arguments are required: (.*)", message):
        names = [name.strip() for name in match[1].split(",")]
        missing = [name.upper() if name.lower() in positional else f"--{name.lstrip('-')}" for name in names]
        return f"missing {', '.join(missing)}; see `{command} --help`"
    if match := re.search(r"unrecognized arguments: (.*)", message):
        return f"{match[1]}: too many arguments; `{command}` takes {_takes(positional, known)}; see `{command} --help`"
    if match := re.match(r'Parser key "([^"]+)"', message):
        key = match[1]
        value = re.search(r"(?:Given|Got) value: (.*?)$", message)
        if key in known and value:
            typed = key in positional or any(a.partition("=")[0] == f"--{key}" for a in arguments)
            place = f"--{key}" if typed or not configs else f"{configs[-1]}: {key}"
            return f"{place}: {value[1]!r} will not do; it takes {type_in_words(known[key])}"
    if match := re.match(r'Parser key "([^"]+)": Unable to load config [\'"](.*?)[\'"]', message):
        return f"--{match[1]}: {match[2]!r} is no config file that can be read"
    return f"{message}; see `{command} --help`"


def type_in_words(kind: Any) -> str:
    """A type in words, for messages.

    >>> type_in_words(int | None)
    'a whole number or null'
    """
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}
    if kind in words:
        return words[kind]
    if kind is Address:
        return "the address of a stream"
    if kind in (None, type(None)):
        return "null"
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_in_words(part) for part in inner)
    if origin is typing.Literal:
        return ", ".join(str(value) for value in inner)
    if origin in (list, tuple):
        return f"a list such as [{', '.join('...' if part is Ellipsis else type_in_words(part) for part in inner)}]"
    if isinstance(kind, type) and is_dataclass(kind):
        required = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]
        return f"a mapping of {kind.__name__}" + (f" with {', '.join(required)}" if required else "")
    return str(kind)
