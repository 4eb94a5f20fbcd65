"""das: a physics-based generator of labelled fibre records; import its modules, e.g. ``.archive``."""
