"""The fake's REST interface and webhooks."""
