"""Groundswell: archives of Earth-sensing records into models that can be trusted and deployed."""

from __future__ import annotations

__version__ = "0.1.0"
