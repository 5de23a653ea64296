"""The command line: `pay`, the client as a command.

Thin: each command reads its words, calls the client, prints. It runs as `scripts/pay` in the project's folder, and as `ringpay` or
`python -m node.cli` where the package is installed; what it says names whichever it is.

`pay.py` is the program, `options.py` puts together what its commands declare, `commands.py` connects and runs a command; `accounts.py`,
`payments.py`, `legs.py`, `allowances.py`, `questions.py`, `events.py`, `auditing.py`, `tracing.py` and `holding.py` are those, `guard.py`
is the process between a lock and what runs under it. `program.py` (begin, interrupt, end), `arguments.py`, `output.py`, `shown.py`,
`failing.py` and `health.py` are how programs read and speak; those in `scripts/` use them as well.

Invariants
- What was asked for is done where the exit code is 0 or 6. 3 says that it may have happened, on standard output too, and how to settle it.
- Standard output has results alone: a table, or with `-o json` a list of rows for programs. Complaints go to standard error.
- Nothing that a stranger has named commands the terminal; nothing is cut off.
"""
