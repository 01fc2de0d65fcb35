"""Make the CUDA build of torch of this environment run without the libraries of CUDA.

Versions of torch other than the pinned one come from the package index as CUDA builds, which ask for gigabytes of
libraries that tests on a CPU never call. Run this after ``pip install --no-deps torch``. The missing libraries are put
beside those of torch, each of them empty; the functions that torch looks for stand in one more library and answer 100,
"no CUDA-capable device is detected". The installed torch does not ask for the libraries.
"""

from __future__ import annotations

import re
import subprocess
import sysconfig
from pathlib import Path

PACKAGES = Path(sysconfig.get_path("purelib"))
LIBRARIES = PACKAGES / "torch" / "lib"

SUBSTITUTE = "libno_cuda.so"

ANSWERS = {
    "cudaGetDevice": "int cudaGetDevice(int *number) { *number = 0; return 0; }",
    "cudaGetDeviceCount": "int cudaGetDeviceCount(int *count) { *count = 0; return 0; }",
    "cudaGetErrorName": 'char *cudaGetErrorName(int error) { return "cudaErrorNoDevice"; }',
    "cudaGetErrorString": 'char *cudaGetErrorString(int error) { return "no CUDA-capable device is detected"; }',
    "cudaStreamIsCapturing": "int cudaStreamIsCapturing(void *stream, int *status) { *status = 0; return 0; }",
}
"""Functions that answer something else."""


def output(*command: str | Path) -> str:
    """What a command prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def build(name: str, source: str, *options: str) -> None:
    """Compile C source to a shared library beside those of torch."""
    command = ["cc", "-shared", "-nostdlib", f"-Wl,-soname,{name}", "-o", str(LIBRARIES / name), "-x", "c", "-"]
    subprocess.run([*command, *options], input=source, text=True, check=True)


def main() -> None:
    """Find what is missing, and build it."""
    present = [path for path in sorted(LIBRARIES.glob("*.so*")) if path.name != SUBSTITUTE]
    on_system = output("/sbin/ldconfig", "-p")
    needed = {name for path in present for name in re.findall(r"\(NEEDED\).*\[(.+)\]", output("readelf", "-d", path))}
    missing = sorted(name for name in needed if name not in on_system and not (LIBRARIES / name).exists())
    symbols = [re.findall(r"([A-Z]) (\w+)", output("nm", "-D", path)) for path in present]
    called = {name for table in symbols for kind, name in table if kind == "U" and re.match("_*(cu|nccl|nv)", name)}
    defined = {name for table in symbols for kind, name in table if kind != "U"}
    answers = [ANSWERS.get(name, f"int {name}(void) {{ return 100; }}") for name in sorted(called - defined)]
    build(SUBSTITUTE, "\n".join(answers), "-w")
    for name in missing:
        build(name, "", f"-L{LIBRARIES}", "-Wl,--no-as-needed", "-lno_cuda", "-Wl,-rpath,$ORIGIN")
    for path in PACKAGES.glob("torch-*.dist-info/METADATA"):
        path.write_text(re.sub(r"Requires-Dist: (nvidia|cuda|triton).*\n", "", path.read_text()))
    print("in the place of libraries of CUDA:", ", ".join(missing) or "nothing, none is missing")


if __name__ == "__main__":
    main()
