"""The messages and services, generated when the program starts: nothing generated is kept."""

import sys
import tempfile
from importlib import import_module
from pathlib import Path

from grpc_tools import protoc

PROTO = Path(__file__).resolve().parents[3] / "proto"


def generate():
    """Returns the modules of lobby.proto and play.proto, messages and services each."""
    with tempfile.TemporaryDirectory() as folder:
        files = [str(path) for path in sorted((PROTO / "fray" / "v1").glob("*.proto"))]
        arguments = ["protoc", f"-I{PROTO}", f"--python_out={folder}", f"--grpc_python_out={folder}"]
        if protoc.main([*arguments, *files]) != 0:
            raise SystemExit("the messages cannot be generated")
        sys.path.insert(0, folder)
        names = ("lobby_pb2", "lobby_pb2_grpc", "play_pb2", "play_pb2_grpc")
        modules = [import_module(f"fray.v1.{name}") for name in names]
        sys.path.remove(folder)
    return modules
