"""What NVIDIA's compiler says of CUDA code, which it compiles without a GPU."""

import re

import pytest


def report(code, architecture, options):
    """Return the log of the compiler, with what `ptxas` says of registers; the code must compile."""
    nvrtc = pytest.importorskip("cuda.bindings.nvrtc", exc_type=ImportError)

    def ask(function, *args):
        status, *results = function(*args)
        return status, results[0] if results else None

    try:
        _, program = ask(nvrtc.nvrtcCreateProgram, code.encode(), b"kernel.cu", 0, [], [])
    except RuntimeError as e:
        pytest.skip(f"NVRTC cannot be loaded: {e}")
    options = [*options, "-ftz=true", f"-arch={architecture}", "--ptxas-options=-v"]
    status, _ = ask(nvrtc.nvrtcCompileProgram, program, len(options), [o.encode() for o in options])
    log = bytearray(ask(nvrtc.nvrtcGetProgramLogSize, program)[1])
    ask(nvrtc.nvrtcGetProgramLog, program, log)
    ask(nvrtc.nvrtcDestroyProgram, program)
    text = log.decode().strip("\0\n ")
    assert status == 0, text
    return text


def registers_and_spills(log):
    """Return the registers of a thread and the bytes that do not fit in them, given the log of one kernel."""
    (registers,) = re.findall(r"Used (\d+) registers", log)
    (local,) = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", log)
    return int(registers), sum(map(int, local))


def warnings(log):
    """Return the lines of a log that are not only information."""
    return [line for line in log.splitlines() if line and not re.match(r"ptxas +(info|\.) ", line)]
