"""Which part of the work is this process's: the option, the variables of launchers, and what they divide."""

from __future__ import annotations

import pytest

from mug.errors import InputError
from mug.run.shard import Shard, is_first_process, place_on_node, process_rank, shard_of

VARIABLES = (
    "RANK", "WORLD_SIZE", "LOCAL_RANK", "NODE_RANK", "SLURM_LOCALID", "SLURM_PROCID", "SLURM_NTASKS",
    "SLURM_STEP_NUM_TASKS",
    *(f"SLURM_ARRAY_TASK_{part}" for part in ("ID", "COUNT", "MIN", "MAX", "STEP")),
)  # fmt: skip
TORCHRUN = {"RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "0"}
SRUN = {"SLURM_PROCID": "1", "SLURM_NTASKS": "3", "SLURM_STEP_NUM_TASKS": "3"}
ARRAY = {"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_COUNT": "8"}


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def given(monkeypatch: pytest.MonkeyPatch, *parts: dict[str, str]) -> None:
    for name, value in (entry for part in parts for entry in part.items()):
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("parts", "option", "shard"),
    [
        ((), None, (0, 1)),
        ((), "1/4", (0, 4)),
        ((), "4/4", (3, 4)),
        ((TORCHRUN,), None, (2, 4)),
        ((SRUN,), None, (1, 3)),
        ((ARRAY,), None, (5, 8)),
        ((TORCHRUN, SRUN), None, (2, 4)),  # torchrun's ranks are over all nodes, on each of which srun starts it
        ((ARRAY, SRUN), None, (5 * 3 + 1, 24)),
        ((ARRAY, TORCHRUN), None, (5 * 4 + 2, 32)),
        ((ARRAY, TORCHRUN, SRUN), "2/3", (1, 3)),
    ],
)
def test_the_option_overrides_the_launcher(
    monkeypatch: pytest.MonkeyPatch, parts: tuple[dict[str, str], ...], option: str | None, shard: tuple[int, int]
) -> None:
    given(monkeypatch, *parts)
    found = shard_of(option)
    assert (found.index, found.count) == shard


def test_a_batch_script_is_no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """SLURM says 0 of 8 there, and nobody does the other seven parts."""
    given(monkeypatch, {"SLURM_PROCID": "0", "SLURM_NTASKS": "8"})
    assert shard_of().count == 1 and process_rank() is None


@pytest.mark.parametrize(
    ("task", "count", "least", "most", "step", "shard"),
    [(1, 4, 1, 4, 1, (0, 4)), (7, 3, 3, 7, 2, (2, 3)), (6, 1, 6, 6, 1, (0, 1))],
)
def test_arrays_may_begin_anywhere(
    monkeypatch: pytest.MonkeyPatch, task: int, count: int, least: int, most: int, step: int, shard: tuple[int, int]
) -> None:
    names = ("ID", "COUNT", "MIN", "MAX", "STEP")
    values = map(str, (task, count, least, most, step))
    given(monkeypatch, {f"SLURM_ARRAY_TASK_{name}": value for name, value in zip(names, values, strict=True)})
    assert (shard_of().index, shard_of().count) == shard


@pytest.mark.parametrize(
    ("variables", "option", "message"),
    [
        ({}, "0/4", "--shard 0/4: parts are numbered from 1"),
        ({}, "5/4", "--shard 5/4: parts are numbered from 1"),
        ({}, "1/0", "--shard 1/0: parts are numbered from 1"),
        ({}, "3", "--shard 3: is not i/n"),
        ({}, "-1/4", "--shard -1/4: is not i/n"),
        ({"RANK": "4", "WORLD_SIZE": "4"}, None, "RANK: 4 in the environment is none of 4 parts"),
        ({"RANK": "x", "WORLD_SIZE": "4"}, None, "RANK: 'x' in the environment is no whole number"),
        (
            ARRAY | {"SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "9"},
            None,
            "SLURM_ARRAY_TASK_ID: 3 tasks from 1 to 9 are not evenly numbered",
        ),
    ],
)
def test_what_is_no_part_is_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], option: str | None, message: str
) -> None:
    given(monkeypatch, variables)
    with pytest.raises(InputError, match=message):
        shard_of(option)


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_every_item_is_in_one_shard_and_in_order(count: int) -> None:
    sizes = [3, 50, 7, 7, 1, 0, 20]
    parts = [Shard(i, count).of(list(enumerate(sizes)), lambda item: item[1]) for i in range(count)]
    assert sorted(item for part in parts for item in part) == list(enumerate(sizes))
    assert all(part == sorted(part) for part in parts)
    if count <= len(sizes):
        assert all(parts)


def test_shards_are_about_equal() -> None:
    sizes = list(range(20, 100))
    totals = [sum(Shard(i, 7).of(sizes, float)) for i in range(7)]
    assert max(totals) - min(totals) < 20


def test_items_without_a_size_are_dealt_out_too() -> None:
    assert [len(Shard(i, 3).of("abcdef", lambda item: 0.0)) for i in range(3)] == [2, 2, 2]


def test_a_shard_says_what_it_has(capsys: pytest.CaptureFixture[str]) -> None:
    Shard(1, 3, "--shard").share("ab", lambda item: 1.0, "videos")
    Shard(2, 3, "RANK").share("ab", lambda item: 1.0, "videos")
    Shard(0, 1).share("ab", lambda item: 1.0, "videos")
    assert capsys.readouterr().err.splitlines() == [
        "shard 2 of 3 (--shard): 1 of 2 videos", "shard 3 of 3 (RANK): none of 2 videos",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("variables", "first"),
    [
        ({}, True),
        ({"LOCAL_RANK": "1"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}, True),
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "GROUP_RANK": "1"}, False),  # on the second node
        (SRUN, False),
        (SRUN | {"SLURM_PROCID": "0"}, True),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "2"}, True),
    ],
)
def test_one_process_is_the_first(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], first: bool) -> None:
    given(monkeypatch, variables)
    assert is_first_process() is first


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({"LOCAL_RANK": "3"}, 0),
        (TORCHRUN | {"LOCAL_RANK": "3"}, 3),
        (SRUN | {"SLURM_LOCALID": "2"}, 2),
        (TORCHRUN | SRUN | {"SLURM_LOCALID": "2"}, 0),
    ],
)
def test_processes_are_numbered_on_their_machine(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], place: int
) -> None:
    given(monkeypatch, variables)
    assert place_on_node() == place
