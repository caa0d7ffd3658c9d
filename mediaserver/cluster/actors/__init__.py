"""What of the cluster runs in Ray, and how it is asked: the directory, each node's agent."""
