"""One module or package for each command; each has ``register(commands)``."""
