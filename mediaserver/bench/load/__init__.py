"""What runs in a process of the load generator: paced calls, each reply checked."""
