"""Labels predicted by the nearest of earlier samples, in a metric that is learned online."""
