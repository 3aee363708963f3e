"""The fuzzers' counters, printed at the end."""

import pytest
from fuzzing import Fuzzer, Tally

TALLIES = pytest.StashKey()


@pytest.fixture
def fuzzer(request):
    """Return a function that returns the fuzzer of a subject, limited by `--fuzz-seconds`."""
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
    rows = [
        ("what was fuzzed", "inputs", "accepted", "refused", "by class of error"),
        ("---", "---:", "---:", "---:", "---"),
        *((subject, *tally.cells()) for subject, tally in tallies.items()),
    ]
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    terminalreporter.write(table)
    page = config.getoption("fuzz_page")
    if page is not None:
        page.write_text(replaced(page.read_text(), f"Seed {seed}, {seconds:g} s each.\n\n{table}"))


def replaced(text, made):
    """Return the text of a page with the part between its markers replaced."""
    begin, end = "<!-- fuzz: begin -->\n", "<!-- fuzz: end -->"
    before, _, rest = text.partition(begin)
    _, mark, after = rest.partition(end)
    assert mark, f"the page has no {begin!r} and {end!r}"
    return f"{before}{begin}{made}{end}{after}"
