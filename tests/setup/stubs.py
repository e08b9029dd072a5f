"""A machine made of stubs for the shell scripts: a PATH with chosen programs only, and a pip that installs nothing."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
# fmt: off
TOOLS = [
    "awk", "basename", "bash", "cat", "cksum", "cp", "date", "df", "dirname", "env", "find", "flock", "grep",
    "hostname", "mv", "paste", "rm", "sed", "sh", "sort", "tail", "tee", "touch", "uname",
]
# fmt: on

# Writes down its arguments; PIP_SAYS is its output, PIP_EXIT its exit code, PIP_KILLS=1 ends the script that called it.
PIP = """
import json, os, signal, sys
from pathlib import Path

with Path(os.environ["CALLS"]).open("a") as calls:
    calls.write(json.dumps(["pip", *sys.argv[1:]]) + "\\n")
if sys.argv[1] != "install":
    sys.exit()
if os.environ.get("PIP_KILLS"):
    os.kill(os.getppid(), signal.SIGKILL)
print("Collecting torch==0")
print(os.environ.get("PIP_SAYS", ""))
if "--report" in sys.argv:
    report = {"install": [{"metadata": {"name": name}} for name in os.environ.get("PIP_BRINGS", "torch").split()]}
    Path(sys.argv[sys.argv.index("--report") + 1]).write_text(json.dumps(report, indent=2))
if sys.argv[-1] == "uv":
    uv = Path(sys.prefix, "bin", "uv")
    uv.write_text('#!/bin/sh\\necho "[\\\\"uv\\\\", \\\\"$*\\\\"]" >>"$CALLS"\\n')
    uv.chmod(0o755)
sys.exit(int(os.environ.get("PIP_EXIT", "0")))
"""


@dataclass
class Machine:
    """A copy of the scripts in `root`, a PATH of its own in `bin`, and the calls that its pip and uv received."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Lay out the folder: the scripts as they are, no interpreter yet."""
        self.root, self.bin, self.calls_file = self.folder / "clone", self.folder / "bin", self.folder / "calls"
        self.bin.mkdir()
        for tool in TOOLS:
            if found := shutil.which(tool):
                (self.bin / tool).symlink_to(found)
        for name in ("scripts/setup.sh", "run_all.sh", "pyproject.toml", "constraints.txt"):
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.root / name)
        self.environ |= {"PATH": str(self.bin), "HOME": str(self.folder), "CALLS": str(self.calls_file)}

    def program(self, name: str, script: str) -> Path:
        """Put a shell script on PATH."""
        path = self.bin / name
        path.write_text("#!/bin/sh\n" + textwrap.dedent(script))
        path.chmod(0o755)
        return path

    def python(self, name: str = "python3.11") -> None:
        """Put this interpreter on PATH; environments that it makes get the stub instead of pip."""
        stub = self.folder / "pip.py"
        stub.write_text(PIP)
        self.program(
            name,
            f"""
            if [ "$1 $2" != "-m venv" ]; then exec {sys.executable} "$@"; fi
            for env in "$@"; do :; done
            {sys.executable} "$@" --without-pip || exit
            for packages in "$env"/lib/python*/site-packages; do cp {stub} "$packages/pip.py"; done
            """,
        )

    def environment(self, name: str) -> Path:
        """Make a virtual environment with the stub pip outside the clone."""
        self.python("python-for-environment")
        path = self.folder / name
        subprocess.run([self.bin / "python-for-environment", "-m", "venv", path], env=self.environ, check=True)
        return path

    def start(self, *command: str, **environ: str) -> subprocess.Popen[str]:
        """Start a command of the clone with nothing but this machine's environment."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, cwd=self.root, env=self.environ | environ, text=True, **pipes)

    def run(self, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the clone to its end."""
        with self.start(*command, **environ) as process:
            out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def calls(self, program: str = "pip") -> list[list[str]]:
        """Return the arguments of every install so far, in order."""
        lines = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        calls = [json.loads(line) for line in lines]
        return [call[1:] for call in calls if call[0] == program and "install" in call[1]]

    def installed(self) -> list[str]:
        """Return what pip was asked to install, in order, without its flags and without dry runs."""
        return [call[-1].replace(str(self.root), ".") for call in self.calls() if "--dry-run" not in call]


def present_environment() -> dict[str, str]:
    """Return the variables of the environment that the tests run in, for scripts that are to find it active."""
    return {"PATH": os.pathsep.join([str(Path(sys.prefix, "bin")), os.environ["PATH"]]), "VIRTUAL_ENV": sys.prefix}
