"""The demo in miniature: every step, its resumption and its page."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from html import escape
from pathlib import Path

import numpy as np
import pytest
import torch

from downstream import calibrate as calibration
from downstream import demo as module
from downstream.backbones.features import PhiFeatures
from downstream.demo import QUICK, demo, perform, script, take_up
from downstream.options import DemoOptions
from downstream.pages.affinity import affinity, middle_cell
from downstream.pages.demo import COMPETITORS, Folders
from mug.checkpoint import load_weights
from mug.cli import main
from mug.errors import InputError
from mug.model import MuG
from mug.options import BackboneConfig, ModelConfig
from tests.downstream.pages.players import players_in


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A miniature that was stopped in its middle and started again, and the commands that were run."""
    out = tmp_path_factory.mktemp("demo") / "out"
    called: list[str] = []
    stop_at = ["propagate"]

    def in_this_process(arguments: tuple[str, ...]) -> int:
        called.append(arguments[0])
        if stop_at and arguments[0] == stop_at[0]:
            stop_at.clear()
            return 137
        alone = ("--workers", "1") if arguments[0] in ("prior", "evaluate") else ()
        return main([*arguments, *alone])

    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "run_command", in_this_process)
        patch.setattr(calibration, "CLIP_FRAMES", 2)
        patch.setattr(calibration, "CLIP_SIZE", (48, 64))
        with pytest.raises(InputError, match=r"propagate .* ended with status 137"):
            demo(DemoOptions(out, quick=True))
        demo(DemoOptions(out, quick=True))
        first = list(called)
        demo(DemoOptions(out, quick=True))
        assert called == first, "a finished demo does nothing again"
    torch.use_deterministic_algorithms(deterministic)
    torch.set_num_threads(threads)
    return out, called


def test_stopped_demo_goes_on_where_it_was(finished: tuple[Path, list[str]]) -> None:
    out, called = finished
    commands = [step.work[0] for step in script(Folders(out), QUICK) if not callable(step.work)]
    stopped = commands.index("propagate")
    assert called == commands[: stopped + 1] + commands[stopped:]


def test_every_step_leaves_its_result_and_its_time(finished: tuple[Path, list[str]]) -> None:
    out, _ = finished
    record = json.loads((out / "demo.json").read_text())
    for step in script(Folders(out), QUICK):
        assert step.result.exists(), step.title
        assert record["steps"][step.title]["seconds"] >= 0


def test_page_shows_scores_pictures_curves_and_affinity(finished: tuple[Path, list[str]]) -> None:
    out, _ = finished
    html = (out / "report.html").read_text()
    for name, words in COMPETITORS.items():
        score = json.loads(Folders(out).scores(name).read_text())["J"]["mean"]
        name_cell = rf"<td>{re.escape(escape(words))}</td>"
        assert re.search(rf"{name_cell}<td>(one|zero)-shot</td><td[^>]*>{100 * score:.1f}</td>", html)
    assert "its numbers mean nothing" in html
    assert html.count('class="chart"') >= 8
    (shown,) = players_in(html).values()
    assert [layer["name"] for layer in shown["layers"]] == ["truth", *COMPETITORS.values()]
    assert all(mask is not None for layer in shown["layers"] for mask in layer["masks"])
    assert [entry["name"] for entry in shown["features"]] == ["untrained phi", "trained phi"]
    assert "Tracking: a patch" in html
    assert not re.search(r'(?:src|href)="(?!data:)', html)
    data = json.loads(html.partition('id="affinity-data">')[2].partition("</script>")[0])
    assert 0 <= data["start"] < data["rows"] * data["columns"]
    assert len(data["maps"]) == 2


def test_untrained_phi_has_the_trained_one_s_architecture_and_nothing_else(finished: tuple[Path, list[str]]) -> None:
    at = Folders(finished[0])
    (trained, _), (untrained, note) = load_weights(at.trained), load_weights(at.untrained)
    assert trained.config.backbone == untrained.config.backbone
    assert not torch.equal(trained.phi.match_head.weight, untrained.phi.match_head.weight)
    frames = torch.rand(1, 3, 48, 64)
    spread = untrained.phi(frames).trunk.std()
    assert 0.05 < spread < 20, "its batch norm fits frames"
    assert "one_shot_temperature" in note


def test_script_never_lets_the_test_videos_teach() -> None:
    at = Folders(Path("demo"))
    commands = [step.work for step in script(at) if not callable(step.work)]
    learning = [command for command in commands if command[0] in ("pretrain", "calibrate")]
    assert len(learning) == 3
    kept_back = (str(at.test), str(at.priors("test")))
    assert not any(argument.startswith(kept_back) for command in learning for argument in command)
    seeds = {command[command.index("--seed") + 1] for command in commands if command[0] == "synth"}
    assert len(seeds) == 2


def test_commands_run_in_a_process_of_their_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert module.run_command(("--version",)) == 0
    assert capfd.readouterr().out.startswith("mug ")
    with pytest.raises(InputError, match=r"`mug synth .* --videos 0` ended with status 2"):
        perform(module.Step("draw", ("synth", str(tmp_path / "videos"), "--videos", "0"), tmp_path))
    assert "mug: error: --videos: 0 is too small" in capfd.readouterr().err


def test_commands_are_started_as_if_typed_where_nothing_can_be_forked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    class Done:
        returncode = 3

    monkeypatch.setattr(module.multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    monkeypatch.setattr(module.subprocess, "run", lambda command, check: asked.append(command) or Done())
    with pytest.raises(InputError, match="`mug doctor` ended with status 3"):
        perform(module.Step("look", ("doctor",), tmp_path))
    assert asked == [[sys.executable, "-m", "mug", "doctor"]]


def test_what_is_preloaded_exists() -> None:
    for name in module.PRELOADED:
        assert importlib.util.find_spec(name), name


def test_folder_with_something_else_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    assert main(["demo", "--out", str(tmp_path)]) == 2
    assert "already holds" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_quick_and_full_do_not_mix(tmp_path: Path) -> None:
    take_up(tmp_path / "demo", quick=True)
    with pytest.raises(InputError, match="holds a quick demo"):
        take_up(tmp_path / "demo", quick=False)


@pytest.mark.parametrize("text", ["{", "[1]", '{"steps": 3}'])
def test_damaged_record_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "demo.json").write_text(text)
    with pytest.raises(InputError, match=r"demo\.json: is no"):
        take_up(tmp_path, quick=False)


def test_affinity_is_the_softmax_of_matching_features() -> None:
    torch.manual_seed(0)
    model = MuG(ModelConfig(BackboneConfig(stages=2))).eval()
    query, source = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), dtype=np.uint8)
    maps = affinity(model, {"one_shot_temperature": "0.02"}, query, source)
    extract = PhiFeatures(model.phi)
    with torch.no_grad():
        q, s = (extract(torch.from_numpy(x).permute(2, 0, 1)[None] / 255)[0].double() for x in (query, source))
    weights = torch.exp(torch.einsum("cyx,cuv->yxuv", q, s) / 0.02)
    expected = 255 * weights / weights.amax((2, 3), keepdim=True)
    np.testing.assert_allclose(maps, expected.numpy(), atol=0.6)


def test_middle_of_an_object_is_inside_it() -> None:
    mask = np.zeros((40, 60), np.uint8)
    mask[24:40, 40:60] = 2
    mask[0, 0] = 255
    assert middle_cell(mask, (5, 6)) == (4, 5)
