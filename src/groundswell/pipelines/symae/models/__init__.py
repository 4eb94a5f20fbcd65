"""symae: networks and their losses."""
