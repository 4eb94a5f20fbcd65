"""models: networks as plain torch modules; no training, no input or output. May use core."""
