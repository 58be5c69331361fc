"""Steps of requests that people carry out: reported by one, confirmed by another, or answered by a processor."""
