"""geomag: a physics-based generator of labelled windows with known truth; import its modules, e.g. ``.simulating``."""
