import asyncio
import os
import sys

import pytest

from ragbench.processes.child import Child, ChildError
from ragbench.processes.family import family


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


def python(code, log, **options):
    return Child("it", [sys.executable, "-c", code], log=log, **options)


async def heard(code, log):
    """The lines of its stdout, once it has ended well."""
    lines = []
    async with python(code, log, on_line=lines.append) as child:
        await child.done(20.0, limit="of the test")
    return lines


async def test_every_line_is_heard_also_one_that_is_not_ended(log):
    assert await heard("print('a\\n\\nb'); print('c', end='')", log) == [b"a", b"b", b"c"]
    assert log.read_bytes() == b""


async def test_of_a_line_that_is_too_long_the_end_is_heard(log, monkeypatch):
    monkeypatch.setattr("ragbench.processes.child._LONGEST_LINE", 5)
    code = "import sys, time\nfor part in ('x' * 99_999, 'yy\\n', 'z\\n'): print(part, end='', flush=True)"
    first, last = await heard(code, log)
    assert (first[-5:], last) == (b"xxxyy", b"z")
    assert len(first) < 99_999


async def test_what_cannot_be_used_ends_it_and_is_raised(log):
    def refuse(line):
        raise ValueError(line)

    with pytest.raises(ValueError, match="a line"):
        async with python("import time; print('a line', flush=True); time.sleep(600)", log, on_line=refuse) as child:
            await child.ended()
    assert child.failure() == "it was killed by SIGKILL"


async def test_a_bad_end_and_a_missed_deadline_say_so_with_the_end_of_the_log(log):
    log.write_text("of another\n")
    with pytest.raises(ChildError) as caught:
        async with python("import sys; sys.exit('no memory')", log) as child:
            await child.done(20.0, limit="of the test")
    assert str(caught.value) == "it exited with code 1; its log ends:\n    no memory"
    assert child.last_line() == "no memory"
    with pytest.raises(ChildError) as caught:
        async with python("import time; time.sleep(600)", log) as child:
            await child.done(0.2, limit="of the test")
    assert str(caught.value) == "it was not done after 0.2 s (of the test); its log is empty"
    assert (child.last_line(), family(child.pid)) == ("", set())


async def test_a_command_that_does_not_exist_has_no_last_line_of_another(log):
    log.write_text("of another\n")
    child = Child("it", ["no-such-command"], log=log)
    with pytest.raises(ChildError, match="cannot start: no-such-command: there is no command 'no-such-command'"):
        await child.start()
    assert child.last_line() == ""


async def test_its_end_is_not_that_of_a_daemon_which_keeps_its_stdout_open(log):
    lines = []
    daemon = "import subprocess; print(subprocess.Popen(['sleep', '600'], start_new_session=True).pid)"
    async with python(daemon, log, on_line=lines.append) as child:
        await child.done(20.0, limit="of the test")
    pid = int(lines[0])
    assert all(process.pid != pid for process in family(pid))


async def test_it_reads_what_is_written_and_sees_its_environment(log):
    lines = []
    code = "import os; print(input(), os.environ['MINE'], os.getsid(0) == os.getpid())"
    async with python(code, log, on_line=lines.append, has_stdin=True, env={"MINE": "5"}) as child:
        child.write(b"ordered\n")
        await child.done(20.0, limit="of the test")
    assert lines == [b"ordered 5 True"]
    child.write(b"and nobody there\n")


@pytest.mark.slow
async def test_cancelled_it_leaves_nothing(log):
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    begun = asyncio.Event()

    async def run():
        async with python(deaf, log, on_line=lambda line: begun.set()) as child:
            pids.append(child.pid)
            await child.done(600.0, limit="of the test")

    pids: list[int] = []
    task = asyncio.create_task(run())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
