"""The tour of ``cdp demo``: the main job once, as a person would do it, with everything checked."""
