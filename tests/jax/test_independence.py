"""The JAX half imports no PyTorch, the PyTorch half no JAX; both are found by their names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    f"hypnettorch.jax.{path.stem}" for path in (ROOT / "hypnettorch" / "jax").glob("*.py") if path.stem != "__init__"
)


def python(program: str) -> str:
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_jax_half_imports_no_torch() -> None:
    program = f"import sys, {', '.join(MODULES)}; print({{'torch', 'jax'}} & set(sys.modules))"
    assert python(program) == "{'jax'}"


@pytest.mark.parametrize("module", ["hypnettorch", "hypnettorch.hnets", "hypnettorch.utils.hnet_regularizer"])
def test_torch_half_imports_no_jax(module: str) -> None:
    assert python(f"import sys, {module}; print({{'jax', 'flax'}} & set(sys.modules))") == "set()"


def test_jax_is_not_shadowed() -> None:
    program = "import hypnettorch.jax, jax; print(jax.__name__, jax.numpy.zeros(2).shape, hypnettorch.jax.__name__)"
    assert python(program) == "jax (2,) hypnettorch.jax"


def test_a_missing_jax_is_named() -> None:
    program = (
        "import sys; sys.modules['jax'] = None\n"
        "try:\n    import hypnettorch.jax\nexcept ImportError as error:\n    print(error)"
    )
    assert python(program) == "hypnettorch.jax: needs jax, run: pip install 'hypnettorch[jax]'"
