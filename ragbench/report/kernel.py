"""Which interpreter runs a notebook: this one, whatever kernels the user has installed. Starts nothing by itself."""

import os
from pathlib import Path

from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from traitlets import default

from ragbench.results.paths import PACKAGE

CHECKOUT = PACKAGE.parent


def own_kernel(scratch: Path) -> type[AsyncKernelManager]:
    """A kernel manager that starts this interpreter with this ragbench, and keeps what a kernel writes in `scratch`.

    Left to itself jupyter takes the first kernel named python3 it finds, which may be another environment's, and
    writes connection files and a profile into the user's home.
    """
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)  # seen from here, not from the kernel's folder
    path = os.pathsep.join([str(CHECKOUT), *(os.path.abspath(folder) for folder in given if folder)])
    # It starts in a folder of results, where anybody's modules may lie: none is imported, by Python or by IPython.
    spec = get_kernel_dict(["--log-level=ERROR", "--InteractiveShellApp.ignore_cwd=True"])
    environment = {"IPYTHONDIR": str(scratch / "ipython"), "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}

    class OwnKernel(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(argv=spec["argv"], language="python", metadata=spec["metadata"], env=environment)

        @default("connection_file")
        def _connection_file(self) -> str:
            return str(scratch / "kernel.json")

    return OwnKernel
