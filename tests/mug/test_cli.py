"""The command line as a user types it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mug import cli
from mug.cli import COMMANDS, Command, main

OPTIONS = "commands_under_test:Options"
MODULE = '''
from __future__ import annotations

import errno
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mug.errors import InputError, RunError

CALLS = []


@dataclass
class Backbone:
    """Which network."""

    depth: int = 18
    """How many layers it has."""


@dataclass
class Model:
    """What is learned."""

    backbone: Backbone = field(default_factory=Backbone)
    beta: float = 0.1
    """How much the second loss weighs."""


@dataclass
class Options:
    """How to run."""

    videos: Path
    """A video or a folder of videos."""
    out: Path
    """Where the results go."""
    weights: Path | None = None
    """What was learned before."""
    kind: Literal["motion", "saliency"] = "motion"
    """Which prior."""
    overlay: bool = False
    """Whether to write a video, too."""
    batch_size: int = 4
    """Clips to a step."""
    sizes: list[int] = field(default_factory=lambda: [1, 2])
    """Some sizes."""
    limits: tuple[float, float] | None = None
    """Two limits."""
    model: Model = field(default_factory=Model)
    other: Model = field(default_factory=lambda: Model(beta=0.5))


def work(options: Options) -> None:
    """Works on videos.

    And does nothing else.
    """
    CALLS.append(options)


def plain() -> None:
    """Takes nothing."""
    CALLS.append(None)


def refuse(options: Options) -> None:
    raise InputError(f"{options.videos}: no such video;\\n give one that is there")


def interrupt() -> None:
    raise KeyboardInterrupt


def diverge() -> None:
    raise RunError("step 7: total is nan")


def full() -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "results")


def broken() -> None:
    raise OSError("something else")
'''


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """A table of commands of our own, and what its functions were called with."""
    (tmp_path / "commands_under_test.py").write_text(MODULE)
    (tmp_path / "bad_build.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    (tmp_path / "needy.py").write_text("import package_nobody_has")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "commands_under_test", raising=False)
    rows = [
        Command("work", "commands_under_test:work", OPTIONS, "work", ("videos",)),
        *(Command(n, f"commands_under_test:{n}", "", n) for n in ("plain", "interrupt", "diverge", "full", "broken")),
        Command("refuse", "commands_under_test:refuse", OPTIONS, "refuse", ("videos",)),
        Command("mismatch", "bad_build:run", "", "built wrongly"),
        Command("needy", "needy:run", "", "needs more"),
    ]
    monkeypatch.setattr(cli, "COMMANDS", tuple(rows))
    import commands_under_test  # type: ignore[import-not-found]

    return commands_under_test.CALLS  # type: ignore[no-any-return]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line on standard error that a refused command leaves."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("mug: error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


def test_options_reach_the_function_typed(calls: list) -> None:
    typed = "work clip.mp4 --out masks --weights w.safetensors --kind saliency --batch_size 2 --sizes [3,4]"
    assert main(typed.split()) == 0
    (options,) = calls
    assert (options.videos, options.out, options.weights) == (Path("clip.mp4"), Path("masks"), Path("w.safetensors"))
    assert (options.kind, options.batch_size, options.sizes, options.overlay) == ("saliency", 2, [3, 4], False)
    assert type(options.model.backbone).__name__ == "Backbone"
    assert (options.model.backbone.depth, options.model.beta) == (18, 0.1)


def test_nested_fields_are_reached_with_dots(calls: list) -> None:
    assert main(["work", "v", "--out", "o", "--model.backbone.depth", "50", "--model.beta=1e-3"]) == 0
    assert (calls[0].model.backbone.depth, calls[0].model.beta) == (50, 0.001)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("--overlay", True),
        ("--overlay true", True),
        ("--overlay=false", False),
        ("--no-overlay", False),
        ("--overlay --no-overlay", False),
    ],
)
def test_truth_values_need_no_argument(calls: list, typed: str, expected: bool) -> None:
    assert main(["work", *typed.split(), "clip.mp4", "--out", "o"]) == 0
    assert calls[0].overlay is expected
    assert calls[0].videos == Path("clip.mp4")


def test_dashes_may_stand_for_underscores(calls: list) -> None:
    assert main(["work", "v", "--out", "o", "--batch-size", "9"]) == 0
    assert calls[0].batch_size == 9


def test_nested_defaults_are_those_of_the_field(calls: list) -> None:
    assert main(["work", "v", "--out", "o", "--other.backbone.depth", "34"]) == 0
    assert (calls[0].other.beta, calls[0].other.backbone.depth) == (0.5, 34)
    assert calls[0].model.beta == 0.1


def test_null_takes_an_optional_value_away(calls: list) -> None:
    assert main(["work", "v", "--out", "o", "--weights", "null", "--limits", "[0.5, 1]"]) == 0
    assert calls[0].weights is None
    assert calls[0].limits == (0.5, 1.0)


def test_single_values_override_the_config_wherever_it_stands(calls: list, tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("out: from_config\nbatch_size: 7\nmodel:\n  backbone: {depth: 34}\n  beta: 1e-3\n")
    assert main(["work", "v", "--model.backbone.depth", "50", "--config", str(config)]) == 0
    assert main(["work", "v", f"--config={config}", "--out", "typed"]) == 0
    first, second = calls
    assert (first.out, first.batch_size) == (Path("from_config"), 7)
    assert (first.model.backbone.depth, first.model.beta) == (50, 0.001)
    assert (second.out, second.model.backbone.depth) == (Path("typed"), 34)


def test_command_without_options(calls: list) -> None:
    assert main(["plain"]) == 0
    assert calls == [None]


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("work v --out o --batch_sise 3", ["--batch_sise", "did you mean --batch_size?"]),
        ("work v --out o --weig w", ["--weig", "no option"]),
        ("work v --out o --model.backbone.dept 3", ["did you mean --model.backbone.depth?"]),
        ("work v --out o --batch_size many", ["--batch_size", "'many'", "a whole number"]),
        ("work v --out o --batch_size 2.5", ["--batch_size", "'2.5'"]),
        ("work v --out o --model.backbone.depth x", ["--model.backbone.depth", "'x'", "a whole number"]),
        ("work v --out o --limits 3", ["--limits", "a list such as [a number, a number] or null"]),
        ("work v --out o --kind colour", ["--kind", "'colour'", "motion, saliency"]),
        ("work v --out o --overlay=perhaps", ["--overlay", "'perhaps'", "true or false"]),
        ("work v --out", ["--out"]),
        ("work v --out o --model absent.yaml", ["--model", "'absent.yaml' is no config file"]),
        ("work v", ["missing --out", "mug work --help"]),
        ("work --out o", ["missing VIDEOS"]),
        ("work v w --out o", ["w: too many arguments"]),
        ("work v --out o --config", ["--config: no file given"]),
        ("work v --out o --config absent.yaml", ["absent.yaml", "cannot be read", "no such file"]),
        ("plain --fast", ["--fast is no option of `mug plain`"]),
        ("plain quickly", ["quickly", "too many"]),
        ("wrok v", ["'wrok' is no command", "did you mean `mug work`?"]),
        ("zzz", ["`mug --help` lists"]),
        ("refuse v --out o", ["v: no such video; give one that is there"]),
        ("mismatch", ["torch and torchvision do not fit", "mug doctor"]),
        ("needy", ["'package_nobody_has'", "mug doctor"]),
        ("full", ["results", "disk is full"]),
    ],
)
def test_what_cannot_be_used_gets_one_line(
    calls: list, capsys: pytest.CaptureFixture[str], typed: str, says: list[str]
) -> None:
    line = refused(capsys, *typed.split())
    assert calls == []
    for part in says:
        assert part in line


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("modle: 3\n", ["'modle' is no option", "did you mean model?"]),
        ("model: {backbone: {dept: 3}}\n", ["'model.backbone.dept'", "did you mean model.backbone.depth?"]),
        ("batch_size: many\n", ["batch_size: 'many'", "a whole number"]),
        ("model: {backbone: {depth: deep}}\n", ["model.backbone.depth: 'deep'"]),
        ("- 3\n", ["option: value"]),
        ("", ["option: value"]),
        ("out: [\n", ["no valid YAML at line"]),
    ],
)
def test_bad_config_is_named(
    calls: list, capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str, says: list[str]
) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(content)
    line = refused(capsys, "work", "v", "--out", "o", "--config", str(config))
    assert calls == []
    for part in [str(config), *says]:
        assert part in line


def test_binary_config_is_refused(calls: list, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = tmp_path / "weights.safetensors"
    config.write_bytes(bytes([0x80, 0xFF, 0x00]))
    assert "no text" in refused(capsys, "work", "v", "--out", "o", "--config", str(config))


def test_help_of_a_command_tells_every_option(calls: list, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["work", "--help"])
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith("usage: mug work VIDEOS [--config FILE.yaml]")
    for part in (
        "VIDEOS [--config FILE.yaml] [--option VALUE ...] work",
        "A video or a folder of videos.",
        "Where the results go. (required)",
        "Clips to a step. (default: 4)",
        "--model.backbone.depth DEPTH How many layers it has. (default: 18)",
    ):
        assert part in text
    assert "<class" not in text


def test_interrupt_ends_quietly(calls: list, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["interrupt"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_run_that_cannot_go_on_ends_with_one_line(calls: list, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diverge"]) == 1
    assert capsys.readouterr().err == "mug: error: step 7: total is nan\n"


def test_errors_of_our_own_are_not_hidden(calls: list) -> None:
    with pytest.raises(OSError, match="something else"):
        main(["broken"])


def test_overview_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for command in COMMANDS:
        assert f"  {command.name} " in text


def test_no_command_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--help" in refused(capsys)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_row_of_the_table_can_be_called(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command.name, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert f"usage: mug {command.name}" in text
    for name in command.positional:
        assert name.upper() in text


def test_as_a_process() -> None:
    """Nothing heavy is imported for `mug --help`, and a refusal ends the process with 2."""
    code = (
        "import sys; from mug.cli import main; status = main(['--help'])\n"
        "heavy = {'torch', 'numpy', 'cv2', 'jsonargparse', 'yaml', 'rich'} & set(sys.modules)\n"
        "sys.exit(status or len(heavy))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
    done = subprocess.run([sys.executable, "-m", "mug", "evaluat"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "mug: error: 'evaluat' is no command; did you mean `mug evaluate`?\n"
    done = subprocess.run([sys.executable, "-m", "mug", "--version"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("mug ")


def test_a_file_that_hides_a_package_is_named(tmp_path: Path) -> None:
    (tmp_path / "pretrain.py").write_text("")
    command = [sys.executable, "-m", "mug", "pretrain", "--videos", "clips", "--out", "run"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert (
        done.stderr == f"mug: error: {tmp_path / 'pretrain.py'}: hides the package of mug with this name; rename it\n"
    )
