"""The sessions of docs/cli.md, as they stand there: "$ command", what it prints, [exit code]."""

from __future__ import annotations

import os
import re
import subprocess

from harness import CLI, ROOT, SECONDS, Case, main


class Docs(Case):
    def test_every_session_goes_as_the_page_says(self) -> None:
        page = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
        sessions = re.findall(r"^```console\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        steps = [step for session in sessions for step in re.split(r"^\$ ", session, flags=re.M)[1:]]
        self.assertGreater(len(steps), 15)
        for step in steps:
            command, _, expected = step.partition("\n")
            self.assertRegex(self.run_shell(command), self.pattern(expected), command)

    def run_shell(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", f'pgqrs() {{ "$0" "$@"; }}; {command}', CLI],
            env=os.environ | self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return done.stdout + (f"[{done.returncode}]\n" if done.returncode != 0 else "")

    @staticmethod
    def pattern(expected: str) -> str:
        """A line that is "…" alone is any number of lines."""
        lines = [
            r"(.*\n)*" if line == "…" else re.escape(line).replace("…", ".*") + r"\n"
            for line in expected.splitlines()
        ]
        return rf"\A{''.join(lines)}\Z"


if __name__ == "__main__":
    main()
