"""The fuzzers' counters, which are printed in the end."""

import pytest
from fuzzing import Fuzzer, Tally

TALLIES = pytest.StashKey()


@pytest.fixture
def fuzzer(request):
    """Give a function that returns the fuzzer of a subject, for the time that `--fuzz-seconds` sets."""
    tallies = request.config.stash.setdefault(TALLIES, {})

    def make(subject):
        seconds, seed = (request.config.getoption(name) for name in ("fuzz_seconds", "fuzz_seed"))
        return Fuzzer(seconds, f"{seed} {subject}", tallies.setdefault(subject, Tally()))

    return make


def pytest_terminal_summary(terminalreporter, config):
    tallies = config.stash.get(TALLIES, {})
    if not tallies:
        return
    seconds, seed = config.getoption("fuzz_seconds"), config.getoption("fuzz_seed")
    terminalreporter.section(f"fuzzers: seed {seed}, {seconds:g} s each")
    for row in [
        ("what was fuzzed", "inputs", "accepted", "refused", "by class of error"),
        ("---", "---:", "---:", "---:", "---"),
        *((subject, *tally.cells()) for subject, tally in tallies.items()),
    ]:
        terminalreporter.write_line(f"| {' | '.join(row)} |")
