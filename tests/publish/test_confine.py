"""What a process that opens a stranger's file gets to see: no credentials, and no network where that can be had."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tensorlet.publish.confine import ended, network_open, run_confined, without_credentials

confined = pytest.mark.skipif(bool(network_open()), reason=f"this system cannot confine: {network_open()}")


def run(code, home, **options):
    """The status of a confined Python that runs `code`, and what it wrote to stderr."""
    done = run_confined([sys.executable, "-c", code], home, timeout_s=60, **options)
    return done.returncode, done.stderr.decode()


@pytest.mark.parametrize(
    "name", ["AWS_SESSION_TOKEN", "AWS_PROFILE", "HF_TOKEN", "DB_PASSWORD", "some_api_key"]
)
def test_no_credentials_are_in_the_environment(name):
    assert without_credentials({name: "secret", "PATH": "/bin"}) == {"PATH": "/bin"}


def test_the_home_is_a_folder_of_its_own(tmp_path):
    assert run("import os, pathlib; assert os.environ['HOME'] == str(pathlib.Path.home())", tmp_path)[0] == 0
    assert run(f"import os; assert os.environ['HOME'] == {str(tmp_path)!r}", tmp_path)[0] == 0


def test_code_of_the_users_own_keeps_the_home_and_still_gets_no_credentials(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    home = f"assert os.environ['HOME'] == {os.environ['HOME']!r}"
    code = f"import os; {home}; assert 'AWS_SECRET_ACCESS_KEY' not in os.environ"

    assert run(code, tmp_path, own_home=False) == (0, "")


@confined
def test_no_address_can_be_reached(tmp_path):
    code = "import socket; socket.create_connection(('127.0.0.1', 80), timeout=2)"

    assert "Network is unreachable" in run(code, tmp_path)[1]


@confined
def test_folders_with_credentials_are_empty_and_stay_so(tmp_path, monkeypatch):
    """Not even a process that may mount (root of its own namespace) finds them under the mount."""
    home = tmp_path / "home of the user"
    secret = home / ".aws" / "credentials"
    secret.parent.mkdir(parents=True)
    secret.write_text("secret")
    monkeypatch.setenv("HOME", str(home))
    code = f"import os, subprocess; subprocess.run(['umount', {str(secret.parent)!r}]); open({str(secret)!r})"

    assert "No such file or directory" in run(code, tmp_path)[1]
    assert secret.read_text() == "secret"


@confined
def test_the_environment_of_the_publisher_cannot_be_read_through_proc(tmp_path):
    assert "Permission denied" in run(f"open('/proc/{os.getpid()}/environ').read()", tmp_path)[1]


def test_where_it_cannot_be_confined_the_reason_is_told(tmp_path, monkeypatch):
    """And the process runs nevertheless, with a clean environment."""
    unshare = tmp_path / "unshare"
    unshare.write_text("#!/bin/sh\necho 'unshare: unshare failed: Operation not permitted' >&2\nexit 1\n")
    unshare.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    network_open.cache_clear()
    try:
        assert network_open() == "unshare: unshare failed: Operation not permitted"
        assert run("import os; assert 'AWS_SECRET_ACCESS_KEY' not in os.environ", tmp_path)[0] == 0
    finally:
        network_open.cache_clear()


def test_a_process_that_takes_too_long_is_ended(tmp_path):
    with pytest.raises(subprocess.TimeoutExpired):
        run_confined([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, timeout_s=0.5)


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crashed (SIGSEGV)"),
        ("raise SystemExit('no such thing')", "failed: no such thing"),
        ("raise SystemExit(3)", "failed: exit status 3"),
    ],
)
def test_how_it_ended_is_told_in_one_line(tmp_path, code, how):
    assert ended(run_confined([sys.executable, "-c", code], Path(tmp_path), timeout_s=60)) == how
