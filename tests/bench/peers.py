"""Make the peers' environments under .bench/, each once, by pip: `python tests/bench/peers.py`."""

import argparse
import shutil
import subprocess
import sys
import venv
from pathlib import Path

BENCH_DIR = Path(__file__).parents[2] / ".bench"
# The newest of each that could be installed when these were chosen.
PINS = {"aiohttp": "3.14.5", "litellm": "1.106.2", "flexllm": "0.17.10", "saturate": "0.2.0"}
BESIDES = {"aiohttp": ["uvloop==0.23.0", "orjson==3.13.0"]}
"""What a peer's loop imports besides the peer."""
INSTALL_LIMIT_S = 900


def peer_python(peer: str) -> Path:
    """The interpreter of `peer`'s environment; it exists only once the install has succeeded."""
    bin_dir = "Scripts" if sys.platform == "win32" else "bin"
    return BENCH_DIR / f"{peer}-{PINS[peer]}" / bin_dir / "python"


def install(peer: str) -> None:
    """Make `peer`'s environment if it is not there. A half-made one is taken away again.

    Raises subprocess.CalledProcessError or TimeoutExpired when pip does.
    """
    python = peer_python(peer)
    if python.exists():
        return
    print(f"{peer} {PINS[peer]}: installing ...", file=sys.stderr, flush=True)
    home = python.parents[1]
    venv.create(home, with_pip=True)
    command = [str(python), "-m", "pip", "install", "--quiet", f"{peer}=={PINS[peer]}"]
    command += BESIDES.get(peer, [])
    try:
        subprocess.run(command, check=True, timeout=INSTALL_LIMIT_S)
    except BaseException:
        shutil.rmtree(home)
        raise


def main() -> int:
    """Make every peer's environment; exit status 1 when one of them cannot be made."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "peers", nargs="*", default=list(PINS), metavar="PEER", help="of: " + " ".join(PINS)
    )
    failed = 0
    for peer in parser.parse_args().peers:
        try:
            install(peer)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            print(f"{peer} {PINS[peer]}: not installed: {error}", file=sys.stderr)
            failed = 1
        else:
            print(f"{peer} {PINS[peer]}: {peer_python(peer)}")
    if failed:
        print("make bench measures beside those that are there", file=sys.stderr)
    return failed


if __name__ == "__main__":
    sys.exit(main())
