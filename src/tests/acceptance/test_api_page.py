"""The commands of docs/api.md, typed into one shell: each gets the answer that the page shows."""

import os
import re
import subprocess
import sys

import pytest

from tests.acceptance.service import deployment, wait_until
from tests.local import ROOT

PAGE = (ROOT / "docs/api.md").read_text()
BLOCKS = re.findall(r"^```(sh|http|json|python)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
ID = "[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
# These parts differ each time. The dots stand for what the page leaves out.
VARIABLE_PARTS = {
    r"01a1fcaf\\-a016\\-7176\\-b7af\\-bb375d1fea01": ID,
    r"2026\\-11\\-21T09:00:00\\\.123456Z": r"[\\d\\-]{10}T[\\d:.]{8,15}Z",
    "9f7c9442f8a0480ea667a57ed4c5f962": "[0-9a-f]{32}",
    r"https://payouts\\\.example\\\.com": "http://127.0.0.1:\\\\d+",
    "…": ".*",
}


@pytest.fixture(scope="module")
def shell(migrated_database):
    with deployment(migrated_database, API_AUTH="required") as service:
        service.start_api()
        service.start_worker()
        token = service.manage("create_token", "november", "--user", "payroll", "--new-account").stdout.strip()
        yield {**os.environ, "API": service.payouts, "AUTH": f"Authorization: Token {token}", "ID": ""}


def run(*command, environment):
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    return result.stdout.replace("\r\n", "\n")


def pattern_for(example):
    """A pattern for an answer without its spaces."""
    pattern = re.escape(re.sub(r"\s", "", example))
    for text, variable_part in VARIABLE_PARTS.items():
        pattern = re.sub(text, variable_part, pattern)
    return pattern


def is_like(kind, example, answer):
    if kind == "json":
        return bool(re.fullmatch(pattern_for(example), re.sub(r"\s", "", answer)))
    # The answer may have more headers than the page shows.
    head, _, body = answer.partition("\n\n")
    lines, _, example_body = example.partition("\n\n")
    headers = {re.sub(r"\s", "", line) for line in head.splitlines()}
    has_headers = all(any(re.fullmatch(pattern_for(line), header) for header in headers) for line in lines.splitlines())
    return has_headers and bool(re.fullmatch(pattern_for(example_body), re.sub(r"\s", "", body)))


def commands():
    """Each command, and the answer that the page shows after it, if any."""
    for (kind, text), (next_kind, example) in zip(BLOCKS, [*BLOCKS[1:], ("", "")], strict=True):
        is_placeholder = text.startswith(("export ", "docker "))
        if kind in ("sh", "python") and not is_placeholder:
            yield kind, text, (next_kind, example) if next_kind in ("http", "json") else None


def answer_to(kind, command, expected, environment):
    """Repeats a command that changes nothing until the answer is as expected, because a worker needs a moment."""
    program = [sys.executable, "-c"] if kind == "python" else ["bash", "-euc"]
    answers = [run(*program, command, environment=environment)]

    def is_as_expected():
        if not is_like(*expected, answers[-1]):
            answers.append(run(*program, command, environment=environment))
        return is_like(*expected, answers[-1])

    if expected and "-d '" not in command:
        wait_until(is_as_expected)
    assert not expected or is_like(*expected, answers[-1]), f"{command}\n{answers[-1]}"
    return answers[-1]


def test_each_command_of_the_page_gets_the_answer_that_the_page_shows(shell):
    examples = list(commands())
    assert len(examples) > 10
    for command in examples:
        answer = answer_to(*command, shell)
        if match := re.search(f'"id": ?"({ID})"', answer):
            shell["ID"] = match[1]
