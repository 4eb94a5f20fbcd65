"""Lets ``python -m groundswell`` do what ``groundswell`` does."""

from __future__ import annotations

from groundswell.cli.main import run

if __name__ == "__main__":
    run()
