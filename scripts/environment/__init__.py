"""The environment that scripts run in: `start.sh` is what every script begins with, `prepare.py` makes `.venv` and runs a program in it."""
