"""Build the source distribution and the wheel, and use the wheel as somebody who has just installed it: `make test-wheel`.

Checks what is in both, installs the wheel into an empty environment with the versions of constraints.txt, and fills in exported
sections with the model in the box, from a directory outside of the repository. Says how long installing, starting and filling in
take.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IN_SOURCE = ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "configs/vqvae_default.yaml")
NOT_WANTED = re.compile(r"__pycache__|\.pyc$|(^|/)(tests|runs|data_sets|benchmarks|\.git)/|\.db$|\.DS_Store")
LARGEST = 8 * 2**20
"""Bytes of either file."""


def main() -> None:
    """Build, check, install, use."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="Directory of the two files.")
    parser.add_argument("--only-build", action="store_true", help="Build and check the two files, and leave the rest out.")
    parser.add_argument("--index-url", help="Where pip finds torch, such as an index of builds for the CPU; else as all the rest.")
    arguments = parser.parse_args()
    source, wheel = build(arguments.out)
    check_contents(source, wheel)
    print(f"Built {source.name} ({source.stat().st_size:,} bytes) and {wheel.name} ({wheel.stat().st_size:,} bytes).")
    if not arguments.only_build:
        with tempfile.TemporaryDirectory() as folder:
            use(wheel, Path(folder), arguments.index_url)


def build(out: Path) -> tuple[Path, Path]:
    """The source distribution, and the wheel that is built from it, as files in `out`."""
    with tempfile.TemporaryDirectory() as folder:
        run([sys.executable, "-m", "build", "--outdir", folder, str(ROOT)], ROOT)
        out.mkdir(parents=True, exist_ok=True)
        built = [Path(shutil.copy(path, out)) for path in Path(folder).iterdir()]
    return next(path for path in built if path.suffix == ".gz"), next(path for path in built if path.suffix == ".whl")


def check_contents(source: Path, wheel: Path) -> None:
    """Leave with a sentence when something is missing, or there that should not be."""
    with tarfile.open(source) as archive:
        in_source = {name.partition("/")[2] for name in archive.getnames()}
    with zipfile.ZipFile(wheel) as packed:
        in_wheel = set(packed.namelist())
    package = (path for path in (ROOT / "src" / "vqkit").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    expected = {path.relative_to(ROOT / "src").as_posix() for path in package}
    lacking = sorted(expected - in_wheel) + sorted(set(IN_SOURCE) - in_source)
    unwanted = [name for name in sorted(in_source | in_wheel) if NOT_WANTED.search(name)]
    large = [path.name for path in (source, wheel) if path.stat().st_size > LARGEST]
    for what, names in (("are missing", lacking), ("do not belong there", unwanted), ("are too large", large)):
        if names:
            sys.exit(f"{len(names)} files {what}: {', '.join(names[:10])}")


def use(wheel: Path, folder: Path, index: str | None) -> None:
    """Install the wheel into an empty environment and fill in sections with it."""
    run([sys.executable, "-m", "venv", "environment"], folder)
    programs = folder / "environment" / "bin"
    pip = [str(programs / "python"), "-m", "pip"]
    constrained = ["-q", "--disable-pip-version-check", "-c", str(ROOT / "constraints.txt")]
    began = time.perf_counter()
    if index:
        run([*pip, "install", *constrained, "--index-url", index, "torch", "torchvision"], folder)
    run([*pip, "install", *constrained, str(wheel.resolve())], folder)
    print(f"Installed in {time.perf_counter() - began:.0f} s.")
    run([*pip, "check"], folder)
    vqkit = str(programs / "vqkit")
    print(f"vqkit --help: {run([vqkit, '--help'], folder):.1f} s")
    run([vqkit, "data", "export", "tyre", "--split", "test", "--num", "4", "--out", "sections"], folder)
    filled = ["inpaint", "sections", "--keep", "group_nc", "--out", "filled"]
    print(f"vqkit inpaint with the model in the box: {run([vqkit, *filled], folder):.1f} s")
    print(f"and once more: {run([vqkit, *filled], folder):.1f} s")
    check_filled(folder, programs / "python")


CHECK = """
from pathlib import Path
import numpy as np
from PIL import Image
def read(folder, component, name):
    return np.asarray(Image.open(Path(folder) / component / f"{name}_{component}.png"))
names = sorted(path.name.removesuffix("_group_nc.png") for path in Path("sections/group_nc").iterdir())
assert len(names) == 4, names
for name in names:
    assert (read("filled", "group_nc", name) == read("sections", "group_nc", name)).all(), name
overlaps = []
for component in ("group_km", "bt", "fpu", "tpc"):
    found = [(read("filled", component, name) > 127, read("sections", component, name) > 127) for name in names]
    overlaps += [(one & other).sum() / max((one | other).sum(), 1) for one, other in found]
assert np.mean(overlaps) > 0.4, overlaps
print(f"mean intersection over union of what was filled in: {np.mean(overlaps):.2f}")
"""
"""Run by the new environment: what was given is as it was, and what was filled in resembles the truth."""


def check_filled(folder: Path, python: Path) -> None:
    """Compare what was filled in with the exported sections."""
    subprocess.run([python, "-c", CHECK], cwd=folder, check=True)
    if not list((folder / "filled" / "before_after").glob("*.png")):
        sys.exit("No picture of before and after was written.")


def run(words: Sequence[str], folder: Path) -> float:
    """Run a program in a directory; leave with what it printed if it fails. Returns seconds."""
    began = time.perf_counter()
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(words)} failed:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
