"""data: what exists and how it is read: sample tables, sources, the order and the loader, predictions. May use core."""
