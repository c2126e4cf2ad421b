"""Python processes that have the slow libraries already: their import is most of a command's time, and not what is
tested.

    python warm.py serve DOOR                        import them, and fork for each that enters, until stdin ends
    python -I -S warm.py enter DOOR -c TEXT ...      be what `python -c TEXT ...` would be, but for the imports
    python -I -S warm.py enter DOOR -m MODULE ...    be what `python -m MODULE ...` would be

Nothing of this repository is imported before the fork: the new process finds the code of its own folder and PYTHONPATH,
and has its own environment, streams and end. Who enters waits for it, and leaves with its exit code. Three things are
not as in a process of Python's own, and tests of these start one: a signal to who enters does not reach it, no standard
stream may be closed from the start, and a `sitecustomize` is not looked for.
"""

from __future__ import annotations

import json
import os
import socket
import sys

SLOW = ("torch", "pandas", "scipy.stats", "matplotlib.pyplot", "seaborn", "rich.live", "rich.table", "threadpoolctl")


def enter(door: str, arguments: list[str]) -> None:
    """Ask for a process with these arguments, and leave as it does."""
    with socket.socket(socket.AF_UNIX) as way:
        way.connect(door)
        socket.send_fds(way, [b"."], [0, 1, 2])
        way.sendall(json.dumps([arguments, os.getcwd(), dict(os.environ)]).encode())
        way.shutdown(socket.SHUT_WR)
        code = int(way.recv(16))
    if code < 0:
        os.kill(os.getpid(), -code)
    sys.exit(code)


def serve(door: str) -> socket.socket:
    """Fork for each that enters; it is the forked process that comes back, with its way to who entered."""
    import gc
    import importlib
    import select
    import signal

    for name in SLOW:
        importlib.import_module(name)
    from matplotlib.figure import Figure

    figure = Figure()
    figure.text(0, 0, "a $10^0$")
    figure.savefig(os.devnull, format="svg")  # finds fonts, and makes a parser of formulas
    gc.freeze()  # so that the forked processes share it
    with socket.socket(socket.AF_UNIX) as entrance:
        entrance.bind(door)
        entrance.listen()
        print("open", flush=True)
        while True:
            ready, _, _ = select.select([entrance, sys.stdin], [], [])
            if sys.stdin in ready:
                os.killpg(0, signal.SIGKILL)  # whatever has not ended
            guest, _ = entrance.accept()
            if os.fork() == 0:
                return guest
            guest.close()
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def become(guest: socket.socket) -> list[str]:
    """Fork once more, to wait for the end; the new process comes back, as it was asked for, with its arguments."""
    _, streams, _, _ = socket.recv_fds(guest, 1, 3)
    with guest.makefile("rb") as file:
        arguments, folder, environment = json.load(file)
    if process := os.fork():
        _, status = os.waitpid(process, 0)
        guest.sendall(str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)
    guest.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    ours = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:1] = ["" if arguments[0] == "-c" else folder, *filter(None, ours)]
    return list(arguments)


def run(arguments: list[str]) -> None:
    """What `python` does with these arguments."""
    how, what, *rest = arguments
    sys.argv = [how, *rest]
    if how == "-m":
        import runpy

        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["enter", door, *arguments]:
            enter(door, arguments)
        case ["serve", door]:
            run(become(serve(door)))
