"""geomag: windows of minute data cut from observatory files, before events of a catalogue and at quiet times."""
