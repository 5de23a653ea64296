"""What a person runs from the project's folder: each script is a few lines of shell. None of this is part of the installed package.

`environment/` prepares `.venv` and runs a program in it; `local/` holds clusters on this machine, `load/` what measures and shows
them. `pay` is `node/cli/`; `chaos` and `simulate` are in `tests/`.
"""
