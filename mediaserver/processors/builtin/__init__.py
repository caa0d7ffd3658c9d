"""The processors that come with the package."""
