"""symae: simulated earthquakes, whose sources and paths are known exactly."""
