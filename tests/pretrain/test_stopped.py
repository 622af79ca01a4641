"""`mug pretrain` stopped by signals, in real processes."""

from __future__ import annotations

from pathlib import Path

import yaml

from mug.run.settings import to_plain
from tests.pretrain.tiny import tiny
from tests.signalled import run


def test_a_run_stopped_by_signals_saves_its_last_step_and_ends_as_the_undisturbed_one(
    runs: tuple[Path, str], videos: Path, tmp_path: Path
) -> None:
    options = tiny(videos, tmp_path / "run")
    options.save_every, options.workers = 100, 1
    config = tmp_path / "tiny.yaml"
    config.write_text(yaml.safe_dump(to_plain(options)))
    for step, name, status in ((1, "SIGINT", 130), (0, "SIGINT", 0)):
        child = run("pretrain.train", step, name, "pretrain", "--config", config)
        said = child.communicate(timeout=240).splitlines()
        assert child.returncode == status, said
        if status:
            assert f"{name}: ends after this step; Ctrl-C again ends at once" in said
            assert said[-1] == (
                f"{tmp_path / 'run'}: stopped after step {step + 1}, which is saved; the same command goes on"
            )
            assert (tmp_path / f"run/checkpoints/step{step + 1:07d}.pt").is_file()
    assert (tmp_path / "run/metrics.csv").read_bytes() == (runs[0] / "whole/metrics.csv").read_bytes()
