"""The admin pages for whoever runs the server, and who may see them."""
