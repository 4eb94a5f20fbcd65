"""marine: simulated underwater scenes, whose animals, boxes and tracks are known exactly."""
