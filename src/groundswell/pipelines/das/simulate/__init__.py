"""das: a physics-based generator of labelled fibre records; import what you need from its modules, e.g. ``.archive``."""
