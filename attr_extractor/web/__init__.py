"""Pages and servers: Jinja2 templates, CSS and JavaScript as files, and a hardened HTTP server."""
