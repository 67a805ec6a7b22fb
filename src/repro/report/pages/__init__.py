"""What the report writes: Markdown, HTML, terminal."""
