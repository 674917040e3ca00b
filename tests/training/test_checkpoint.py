"""A checkpoint is written whole or not at all."""

import pytest

from training.checkpoint import write_whole


def test_an_interrupted_save_leaves_the_checkpoint_before_it(tmp_path):
    checkpoint = tmp_path / "checkpoint.pth"
    write_whole(lambda path: path.write_bytes(b"whole"), checkpoint)

    def interrupted(path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(interrupted, checkpoint)

    assert checkpoint.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [checkpoint]
