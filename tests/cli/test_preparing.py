import os
import shutil

import pytest

from cli.errors import UpError
from cli.homes import Home
from cli.preparing import prepare


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a folder to somebody else needs root")
def test_a_sockets_folder_of_somebody_else_is_refused_and_left_alone(tmp_path, free_port):
    home = Home(tmp_path / "home")
    home.state.mkdir(parents=True)
    home.sockets.mkdir()
    try:
        (home.sockets / "theirs").write_text("x")
        os.chown(home.sockets, 12345, 12345)
        with pytest.raises(UpError, match="is not ours"):
            prepare(home, free_port)
        assert (home.sockets / "theirs").exists()
    finally:
        shutil.rmtree(home.sockets)
