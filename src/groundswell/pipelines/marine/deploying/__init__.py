"""marine: deploying: exported ensembles, and packages for a Jetson, a container service and TensorRT."""
