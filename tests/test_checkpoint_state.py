"""TensorFlow's note of a folder's checkpoints, read from where nobody vouches for it."""

import pytest

from launcher.checkpoint_state import CheckpointState, data_of, index_of, parse

INSIDE = "/data/checkpoints"
NOTE = (
    'model_checkpoint_path: "ckpt-15"\n'
    'all_model_checkpoint_paths: "ckpt-10"\n'
    'all_model_checkpoint_paths: "ckpt-15"\n'
    "all_model_checkpoint_timestamps: 1795775866.0128384\n"
    "all_model_checkpoint_timestamps: 1795775866.0185835\n"
    "last_preserved_timestamp: 1795775864.9652932\n"
)
#: The first bytes of what TensorFlow 2.21 writes for one data file.
INDEX = b"\0\0\x06\x08\x01\x1a\x02\x08\x01\0\x1c\x0e_CHECKPOINTABLE_OBJECT_GRAPH"


def read(text: str) -> CheckpointState:
    state = parse(text, INSIDE)
    assert state is not None
    return state


def test_what_a_checkpoint_manager_writes() -> None:
    """It is read whole, and written as it was."""
    state = read(NOTE)
    assert (state.latest, state.names, state.number) == ("ckpt-15", ("ckpt-10", "ckpt-15"), 15)
    assert state.text() == NOTE


def test_paths_below_the_folder() -> None:
    """The whole path of a checkpoint in the folder names it too; one that is not kept is."""
    state = read(f'model_checkpoint_path: "{INSIDE}/model-7"')
    assert (state.latest, state.names) == ("model-7", ("model-7",))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no note",
        'all_model_checkpoint_paths: "ckpt-1"',
        'model_checkpoint_path: "../ckpt-1"',
        'model_checkpoint_path: "/etc/passwd"',
        'model_checkpoint_path: "below/ckpt-1"',
        'model_checkpoint_path: ".ckpt-1"',
        'model_checkpoint_path: ""',
        'model_checkpoint_path: "ckpt-2"\nall_model_checkpoint_paths: "/tmp/ckpt-1"',
        'model_checkpoint_path: "ckpt\\"-2"',
    ],
)
def test_what_is_no_note(text: str) -> None:
    """What names nothing in the folder, or something elsewhere, is none."""
    assert parse(text, INSIDE) is None


def test_a_note_of_what_is_there() -> None:
    """What has gone meanwhile is left out, with its time; the latest of the rest is the latest."""
    state = read(NOTE)
    only = state.only({"ckpt-10"})
    assert only is not None
    assert (only.latest, only.names, only.times) == ("ckpt-10", ("ckpt-10",), state.times[:1])
    assert state.only({"ckpt-10", "ckpt-15"}) == state
    assert state.only({"ckpt-9"}) is None


def test_names_without_a_step() -> None:
    """A checkpoint may have any name."""
    assert read('model_checkpoint_path: "best"').number == -1


@pytest.mark.parametrize(
    ("head", "count"),
    [
        (INDEX, 1),
        (b"\0\0\x07\x08\x03\x1a\x02\x08\x01", 3),
        (b"\0\0\x08\x08\xac\x02\x1a\x02\x08\x01", 300),
        (b"", 1),
        (b"\0\0\x07\x08\0", 1),
        (b"\0\0\x09\x08\xff\xff\xff\xff\xff", 1),
        (b"something else", 1),
    ],
)
def test_the_files_of_a_checkpoint(head: bytes, count: int) -> None:
    """As many data files as the index says; one where it does not tell."""
    files = data_of("c-1", head)
    assert len(set(files)) == len(files) == count
    assert files[0] == f"c-1.data-00000-of-{count:05d}"
    assert index_of("c-1") == "c-1.index"
